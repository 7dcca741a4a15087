"""Holds what a regularizer gives back to what was asked of it, whoever wrote it."""

import operator
from collections.abc import Generator
from dataclasses import replace

import torch
from torch import Tensor

from napari_blush.errors import RefinementError
from napari_blush.regularization.regularizer import (
    RegularizationInput,
    RegularizationProgress,
    Regularized,
    Regularizer,
)

_version = operator.attrgetter("_version")  # PyTorch's own count of changes in place


def regularized(
    regularizer: Regularizer, given: RegularizationInput
) -> Generator[RegularizationProgress, None, Regularized]:
    """Pass on a regularizer's progress; return its references, float32 on the CPU.

    Raises
    ------
    RefinementError
        When ``regularize`` is no generator, its references are not two finite maps in the box of
        what was given, or it changed what it was given.
    """
    versions = _versions(given)
    steps: object = regularizer.regularize(given)
    if not isinstance(steps, Generator):
        raise RefinementError(
            f"The regularizer {regularizer.name!r} returned a {type(steps).__name__}; wanted a "
            "generator of progress that ends with the references; write regularize() with yield."
        )
    made: Regularized = yield from steps
    if _versions(given) != versions:
        raise RefinementError(
            f"The regularizer {regularizer.name!r} changed the maps that it was given; wanted them "
            "as they were, for they are the result of the run; let it work on copies."
        )
    first, second = (_checked(reference, regularizer.name, given) for reference in made.references)
    return replace(made, references=(first, second))


def _versions(given: RegularizationInput) -> list[int]:
    """Return how often each tensor of the run was changed in place (inference tensors: unknown)."""
    maps = (given.unfiltered.half1, given.unfiltered.half2, given.wiener.half1, given.wiener.half2)
    masks = (() if given.mask is None else (given.mask,)) + (given.reference_masks or ())
    return [
        0 if tensor.is_inference() else int(_version(tensor))
        for tensor in (*maps, given.fsc, *masks)
    ]


def _checked(reference: Tensor, name: str, given: RegularizationInput) -> Tensor:
    wanted = given.wiener.half1.shape
    if reference.shape != wanted or not bool(torch.isfinite(reference).all()):
        raise RefinementError(
            f"The regularizer {name!r} returned a reference of {tuple(reference.shape)} with "
            f"{int((~torch.isfinite(reference)).sum())} values that are not numbers; wanted finite "
            f"maps of {tuple(wanted)}; correct it or choose another one."
        )
    return reference.to("cpu", torch.float32)
