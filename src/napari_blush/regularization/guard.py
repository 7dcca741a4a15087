"""Holds what a regularizer gives back to what was asked of it, whoever wrote it."""

from dataclasses import replace

import torch
from torch import Tensor

from napari_blush.errors import RefinementError
from napari_blush.regularization.regularizer import RegularizationInput, Regularized, Regularizer


def regularized(regularizer: Regularizer, given: RegularizationInput) -> Regularized:
    """Return the references that a regularizer makes, float32 on the CPU.

    Raises
    ------
    RefinementError
        When they are not two finite maps in the box of what was given.
    """
    made = regularizer.regularize(given)
    first, second = (_checked(reference, regularizer.name, given) for reference in made.references)
    return replace(made, references=(first, second))


def _checked(reference: Tensor, name: str, given: RegularizationInput) -> Tensor:
    wanted = given.wiener.half1.shape
    if reference.shape != wanted or not bool(torch.isfinite(reference).all()):
        raise RefinementError(
            f"The regularizer {name!r} returned a reference of {tuple(reference.shape)} with "
            f"{int((~torch.isfinite(reference)).sum())} values that are not numbers; wanted finite "
            f"maps of {tuple(wanted)}; correct it or choose another one."
        )
    return reference.to("cpu", torch.float32)
