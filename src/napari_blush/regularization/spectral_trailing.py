"""Spectral trailing: a denoised map goes no further in Fourier space than the data vouch for it.

What a denoiser leaves beyond the resolution may be right, and it may be made up; images aligned to
it would then confirm it, and the FSC rise by itself. So the denoised map is cut off short of where
the halves agree, and the cut-off *trails* the resolution (Kimanius et al. 2024, Methods). The FSC
is that of the half-maps before they were denoised; nothing here computes one.
"""

import math
from dataclasses import dataclass

from napari_blush.conventions import Spectrum, Volume
from napari_blush.numerics.correlation import resolution_shell
from napari_blush.numerics.fft import irfftn_centered, rfftn_centered
from napari_blush.numerics.filters import crossover
from napari_blush.numerics.shells import radius_grid

SHELLS_SHORT = 2
"""Shells by which the cut-off falls short of the first shell without agreement (paper)."""

EDGE_SHELLS = 2.0
"""Width of the cosine edge: from one shell before the cut-off to one after it (release)."""

LEAST_AGREEMENT = 5
"""Shell that is kept even when no shell agrees: the Wiener filter leaves as many alone."""


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


def cutoff_shell(fsc: Spectrum, shared_shell: int = -1) -> int:
    """Return the shell at which a denoised map is cut off.

    Parameters
    ----------
    fsc
        ``(n // 2 + 1,)``, zero beyond what was compared.
    shared_shell
        Last shell whose data the halves share, -1 for none.

    Returns
    -------
    int
        Two less than the first shell with an FSC below 0.143; with no such shell, two less than
        the number of shells. Shells that the halves share, and the first five, count as agreeing:
        a reference without any signal could not be aligned to.
    """
    agreeing = max(resolution_shell(fsc), min(max(shared_shell, LEAST_AGREEMENT), len(fsc) - 1))
    return agreeing + 1 - SHELLS_SHORT


def has_agreement(fsc: Spectrum, shared_shell: int = -1) -> bool:
    """Return whether the halves agree beyond what they share, so that the FSC says something."""
    return resolution_shell(fsc) > max(shared_shell, LEAST_AGREEMENT)


def spectral_limit(
    fsc: Spectrum, nyquist_shell: float, shared_shell: int = -1, *, trailing: bool = True
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

    Notes
    -----
    Where the cut-off comes within two shells of the denoiser's Nyquist frequency the Wiener map
    takes over, two shells before it (the release), with the FSC weights that it has of itself.
    """
    cutoff = cutoff_shell(fsc, shared_shell)
    last = max(1, math.floor(nyquist_shell) - SHELLS_SHORT)
    if cutoff > last:
        return SpectralLimit(last, is_filled=True)
    return SpectralLimit(cutoff if trailing else None)


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
