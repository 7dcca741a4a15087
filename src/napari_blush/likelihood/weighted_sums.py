"""What the E-step of one half leaves for the M-step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_blush.numerics.slice_insertion import SliceAccumulator


@dataclass(slots=True)
class WeightedSums:
    """Sums over images and poses, weighted by the posterior; adding two is adding their fields.

    Parameters
    ----------
    accumulator : SliceAccumulator
        ``data``: sum of ``w C X / sigma^2``; ``weight``: sum of ``w C^2 / sigma^2``, in the
        units of ``HalfModel``.
    residual : (optics groups, shells) float64
        Sum of ``w |X - C P|^2`` by shell.
    n_images : (optics groups,) float64
        Sum of weights.
    offset_squared : float
        Sum of ``w |origin|^2`` in square angstrom.
    direction : (pixels,) float64
        Sum of weights by viewing direction.
    scale_cross, scale_power : (scale groups,) float64
        ``sum w Re <X, C P>`` and ``sum w |C P|^2`` without the group's own scale, over shells
        where the signal is strong.
    """

    accumulator: SliceAccumulator
    residual: Tensor
    n_images: Tensor
    offset_squared: float
    direction: Tensor
    scale_cross: Tensor
    scale_power: Tensor

    def add(self, other: "WeightedSums") -> None:
        """Add another part of the same half."""
        self.accumulator.add(other.accumulator)
        self.residual += other.residual
        self.n_images += other.n_images
        self.offset_squared += other.offset_squared
        self.direction += other.direction
        self.scale_cross += other.scale_cross
        self.scale_power += other.scale_power


@dataclass(slots=True)
class ImageOutcomes:
    """Per-image results of an E-step, row ``i`` for the ``i``-th image of the half; CPU.

    ``rotations (m, 3, 3)`` and ``shifts_px (m, 2)`` are the most probable pose,
    ``residual_power (m,)`` is the sum over the half spectrum of ``w |X - C P|^2``.
    """

    rotations: Tensor
    shifts_px: Tensor
    p_max: Tensor
    log_likelihood: Tensor
    n_significant: Tensor
    residual_power: Tensor

    @classmethod
    def empty(cls, n: int) -> "ImageOutcomes":
        """Return ``n`` rows of zeros."""
        return cls(
            torch.zeros(n, 3, 3, dtype=torch.float64),
            torch.zeros(n, 2, dtype=torch.float64),
            torch.zeros(n),
            torch.zeros(n, dtype=torch.float64),
            torch.zeros(n, dtype=torch.int64),
            torch.zeros(n, dtype=torch.float64),
        )
