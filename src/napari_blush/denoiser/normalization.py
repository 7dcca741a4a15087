"""Levels and scales of a map, and the way back."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import Volume

_LEAST_SOLVENT = 0.01  # of the voxels: below it the mean of the map stands for the solvent


class Standardized(NamedTuple):
    """A map as ``values * scale + level``."""

    values: Float[Tensor, "n n n"]
    level: float
    scale: float


def about_solvent(volume: Volume, mask: Volume) -> Standardized:
    """Subtract the level of the solvent and divide by the deviation inside the mask.

    With the solvent at zero, masking is a fade into solvent and padding is solvent.
    """
    outside = 1 - mask
    amount = float(outside.sum(dtype=torch.float64))
    if amount < _LEAST_SOLVENT * volume.numel():
        level = float(volume.mean(dtype=torch.float64))
    else:
        level = float((volume * outside).sum(dtype=torch.float64)) / amount
    centered = volume - level
    power = float((centered.square() * mask).sum(dtype=torch.float64))
    scale = (power / max(float(mask.sum(dtype=torch.float64)), 1.0)) ** 0.5
    return Standardized(centered / (scale or 1.0), level, scale or 1.0)
