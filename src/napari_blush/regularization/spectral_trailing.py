"""Spectral trailing: a denoised map goes no further in Fourier space than the data vouch for it.

What a denoiser leaves beyond the resolution may be right, and it may be made up; images aligned to
it would then confirm it, and the FSC rise by itself. So the denoised map is cut off short of where
the halves agree, and the cut-off *trails* the resolution (Kimanius et al. 2024, Methods). The FSC
is that of the half-maps before they were denoised; nothing here computes one.
"""

import math
from dataclasses import dataclass, replace

from napari_blush.conventions import Spectrum, Volume
from napari_blush.numerics.correlation import resolution_shell
from napari_blush.numerics.fft import irfftn_centered, rfftn_centered
from napari_blush.numerics.filters import crossover
from napari_blush.numerics.shells import radius_grid, resolution_to_shell

SHELLS_SHORT = 2
"""Shells by which the cut-off falls short of the first shell without agreement (paper)."""

EDGE_SHELLS = 2.0
"""Width of the cosine edge: from one shell before the cut-off to one after it (release)."""

LEAST_AGREEMENT = 5
"""Shell that is kept even when no shell agrees: the Wiener filter leaves as many alone."""

ROUNDING = 1e-6
"""Of a shell: a resolution that was computed from a shell means that shell."""

LEAST_CUTOFF = LEAST_AGREEMENT + 1 - SHELLS_SHORT
"""Cut-off that nothing goes below: a reference without any signal could not be aligned to."""


@dataclass(frozen=True, slots=True)
class SpectralLimit:
    """Where the denoised map ends.

    Parameters
    ----------
    shell : int or None
        Center of the edge; None leaves the denoised map as it is.
    is_filled : bool
        Whether the Wiener map takes over beyond it. Otherwise there is nothing.
    """

    shell: int | None
    is_filled: bool = False


def cutoff_shell(fsc: Spectrum, shared_shell: int = -1, shells_short: int = SHELLS_SHORT) -> int:
    """Return the shell at which a denoised map is cut off.

    Parameters
    ----------
    fsc
        ``(n // 2 + 1,)``, zero beyond what was compared.
    shared_shell
        Last shell whose data the halves share, -1 for none.
    shells_short
        Shells by which the cut-off falls short; fewer than two is unsafe.

    Returns
    -------
    int
        ``shells_short`` less than the first shell with an FSC below 0.143; with no such shell, so
        much less than the number of shells. Shells that the halves share, and the first five,
        count as agreeing: a reference without any signal could not be aligned to.
    """
    agreeing = max(resolution_shell(fsc), min(max(shared_shell, LEAST_AGREEMENT), len(fsc) - 1))
    least = min(LEAST_CUTOFF, len(fsc) - SHELLS_SHORT)
    return min(max(agreeing + 1 - shells_short, least), len(fsc) - 1)


def has_agreement(fsc: Spectrum, shared_shell: int = -1) -> bool:
    """Return whether the halves agree beyond what they share, so that the FSC says something."""
    return resolution_shell(fsc) > max(shared_shell, LEAST_AGREEMENT)


def spectral_limit(
    fsc: Spectrum,
    nyquist_shell: float,
    shared_shell: int = -1,
    *,
    trailing: bool = True,
    shells_short: int = SHELLS_SHORT,
    at_most: int | None = None,
) -> SpectralLimit:
    """Return where the denoised map of a half ends, and what comes beyond it.

    Parameters
    ----------
    fsc, shared_shell
        See ``cutoff_shell``.
    nyquist_shell
        Shell at the denoiser's Nyquist frequency; it may lie outside the box.
    trailing
        Off: the cut-off serves only to tell whether the data reach beyond the denoiser.
    shells_short
        See ``cutoff_shell``.
    at_most
        A shell that a person set; the denoised map ends there if it would go further.

    Notes
    -----
    Where the cut-off comes within two shells of the denoiser's Nyquist frequency the Wiener map
    takes over, two shells before it (the release), with the FSC weights that it has of itself.
    """
    cutoff = cutoff_shell(fsc, shared_shell, shells_short)
    last = max(1, math.floor(nyquist_shell) - SHELLS_SHORT)
    if cutoff > last and (at_most is None or at_most >= last):
        return SpectralLimit(last, is_filled=True)
    wanted = [shell for shell in (cutoff if trailing else None, at_most) if shell is not None]
    return SpectralLimit(min(wanted, default=None))


def shell_of_limit(resolution: float, box_size: int, voxel_size: float) -> int:
    """Return the last whole shell that is no finer than a resolution in angstrom."""
    shell = math.floor(resolution_to_shell(resolution, box_size, voxel_size) + ROUNDING)
    return max(shell, LEAST_CUTOFF)


@dataclass(frozen=True, slots=True)
class Trailing:
    """Where a person lets denoised maps end.

    Parameters
    ----------
    is_on : bool
        Off is unsafe.
    shells_short : int
        See ``cutoff_shell``.
    limit_angstrom : float or None
        Denoised maps end no finer than this.
    is_filled : bool
        Whether the Wiener map goes on beyond the limit wherever it lies: nothing of the denoiser's,
        but what a refinement without one would align to. The paper leaves nothing there.
    """

    is_on: bool = True
    shells_short: int = SHELLS_SHORT
    limit_angstrom: float | None = None
    is_filled: bool = False

    def limit_of(
        self, fsc: Spectrum, nyquist_shell: float, shared_shell: int, voxel_size: float
    ) -> SpectralLimit:
        """Return where the denoised maps of these halves end; see ``spectral_limit``."""
        limit = spectral_limit(
            fsc,
            nyquist_shell,
            shared_shell,
            trailing=self.is_on,
            shells_short=self.shells_short,
            at_most=self.limit_shell(2 * (len(fsc) - 1), voxel_size),
        )
        if not self.is_filled or limit.shell is None:
            return limit
        return replace(limit, is_filled=True)

    def limit_shell(self, box_size: int, voxel_size: float) -> int | None:
        """Return the shell of the limit that was set, None without one."""
        if self.limit_angstrom is None:
            return None
        return shell_of_limit(self.limit_angstrom, box_size, voxel_size)


def nyquist_limit(nyquist_shell: float) -> SpectralLimit:
    """Return the limit of a map without an FSC: one shell before the denoiser's Nyquist frequency.

    The Wiener map takes over there (the release, in classification).
    """
    return SpectralLimit(max(1, math.floor(nyquist_shell) - 1), is_filled=True)


def limited(denoised: Volume, wiener: Volume, limit: SpectralLimit) -> Volume:
    r"""Return the denoised map up to its limit, and beyond it the Wiener map or nothing.

    :math:`X D + (1 - X) W` in Fourier space, ``X`` falling from 1 at ``shell - 1`` to 0 at
    ``shell + 1`` by a raised cosine of ``|k|``.

    Parameters
    ----------
    denoised, wiener
        ``(n, n, n)`` of the same box.
    limit
        See ``spectral_limit``.
    """
    if limit.shell is None:
        return denoised
    box_size = denoised.shape[-1]
    radius = radius_grid(box_size, 3, denoised.device).to(denoised.dtype)
    kept = crossover(radius, limit.shell, EDGE_SHELLS)
    transform = rfftn_centered(denoised) * kept
    if limit.is_filled:
        transform = transform + rfftn_centered(wiener.to(denoised)) * (1 - kept)
    return irfftn_centered(transform, box_size)
