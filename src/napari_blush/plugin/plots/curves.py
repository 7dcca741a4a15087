"""What the plots draw: numbers, without a toolkit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FscOfIteration:
    """Curves by name, one value per shell, of a box in voxels of so many angstrom."""

    curves: Mapping[str, Sequence[float]]
    voxel_size: float

    @property
    def n_shells(self) -> int:
        """Number of the last shell."""
        return len(self.curves["corrected"]) - 1

    @property
    def step(self) -> float:
        """Spatial frequency from shell to shell, in reciprocal angstrom."""
        return 1 / (2 * self.n_shells * self.voxel_size)

    def resolution(self, shell: float) -> float:
        """Return the length in angstrom that a shell stands for."""
        return 1 / (shell * self.step) if shell > 0 else math.inf

    def shell(self, frequency: float) -> int | None:
        """Return the shell at a spatial frequency, None for none."""
        found = round(frequency / self.step)
        return found if 1 <= found <= self.n_shells else None


@dataclass(frozen=True, slots=True)
class Limits:
    """Shells at which something ends.

    Parameters
    ----------
    cutoff : int or None
        Where the last references end.
    automatic : int or None
        Where spectral trailing alone would end them.
    nyquist : float or None
        The denoiser's Nyquist frequency; it may lie outside the box.
    asked : int or None
        Cut-off that was asked for and is not yet in ``cutoff``.
    """

    cutoff: int | None = None
    automatic: int | None = None
    nyquist: float | None = None
    asked: int | None = None
