"""What a denoiser touched: amplitudes and phases of denoised maps against those of the raw ones."""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from torch import Tensor

from napari_blush.conventions import Spectrum, Volume
from napari_blush.numerics.fft import rfftn_centered
from napari_blush.numerics.shells import shell_sum

NOTHING_LEFT = 1e-3
"""Amplitude ratio below which a shell holds rounding errors, whose phases mean nothing."""


@dataclass(frozen=True, slots=True)
class TouchedByDenoiser:
    """Denoised maps against raw ones, one value per shell, both halves together.

    Parameters
    ----------
    iteration : int
    voxel_size : float
        Angstrom.
    amplitude_ratio : tuple of float
        Root of the power of the denoised maps over that of the raw ones; NaN without power.
    phase_change_deg : tuple of float
        Mean absolute difference of phase, 0 to 180; NaN where one of the two has nothing. Without
        any relation it is 90.
    cutoff_shell : int or None
        Where the references end: what is beyond aligns nothing.
    """

    iteration: int
    voxel_size: float
    amplitude_ratio: tuple[float, ...]
    phase_change_deg: tuple[float, ...]
    cutoff_shell: int | None = None

    def __post_init__(self) -> None:
        if len(self.amplitude_ratio) != len(self.phase_change_deg):
            raise ValueError("amplitudes and phases must have the same shells")


def touched_steps(
    raw: Sequence[Volume],
    denoised: Sequence[Volume],
    voxel_size: float,
    *,
    iteration: int = 0,
    cutoff_shell: int | None = None,
) -> Generator[None, None, TouchedByDenoiser]:
    r"""Compare maps shell by shell; yields after each pair, to be left in between.

    Parameters
    ----------
    raw, denoised
        Pairs of ``(n, n, n)``, the halves.
    voxel_size
        Angstrom.
    iteration, cutoff_shell
        Handed on.

    Notes
    -----
    With :math:`R` and :math:`D` the transforms, sums over a shell and the halves, the ratio is
    :math:`\sqrt{\sum |D|^2 / \sum |R|^2}` and the change of phase
    :math:`\sum |R| |D| |\arg (D \bar R)| / \sum |R| |D|`: weighted, because phases of small
    coefficients are noise.
    """
    totals: list[Tensor] | None = None
    for first, second in zip(raw, denoised, strict=True):
        sums = _sums(first, second)
        totals = sums if totals is None else [a + b for a, b in zip(totals, sums, strict=True)]
        yield
    if totals is None:
        raise ValueError("no maps to compare")
    power_raw, power_denoised, weight, turned = (total.tolist() for total in totals)
    ratio = [
        math.sqrt(after / before) if before > 0 else math.nan
        for before, after in zip(power_raw, power_denoised, strict=True)
    ]
    phase = [
        math.degrees(sum_ / by) if by > 0 and left > NOTHING_LEFT else math.nan
        for sum_, by, left in zip(turned, weight, ratio, strict=True)
    ]
    return TouchedByDenoiser(iteration, voxel_size, tuple(ratio), tuple(phase), cutoff_shell)


def _sums(raw: Volume, denoised: Volume) -> list[Spectrum]:
    """Return power of both, weights, and weighted angles (radians) of each shell."""
    n = raw.shape[-1]
    before, after = rfftn_centered(raw.float()), rfftn_centered(denoised.float())
    weight = before.abs() * after.abs()
    angle = (after * before.conj()).angle().abs()
    # Doubles, that no shell of a large box loses its last coefficients; one grid at a time.
    parts = (before.abs() ** 2, after.abs() ** 2, weight, weight * angle)
    return [shell_sum(part.double(), n, 3) for part in parts]
