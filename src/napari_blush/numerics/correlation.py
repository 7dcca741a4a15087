"""Fourier shell correlation of two maps, and the resolution it claims.

Must not know of masks (``solvent_correction`` does) nor of what the two maps are.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from napari_blush.conventions import FSC_GOLD_STANDARD, Spectrum
from napari_blush.numerics.fft import rfftn_centered
from napari_blush.numerics.shells import shell_sum, shell_to_resolution


def fourier_shell_correlation(
    a: Float[Tensor, "*batch n n n"], b: Float[Tensor, "*batch n n n"]
) -> Float[Tensor, "*batch shells"]:
    r"""Correlate two maps shell by shell in Fourier space.

    :math:`FSC(s) = \Re \sum A \bar B / \sqrt{\sum |A|^2 \sum |B|^2}` over ``round(|k|) == s``.

    Parameters
    ----------
    a, b
        ``(..., n, n, n)`` real maps of the same voxel size.

    Returns
    -------
    Tensor
        ``(..., n // 2 + 1)`` in [-1, 1]; shell 0 is 1 by definition, shells without power are 0.

    Notes
    -----
    The sums run over the half transform *as stored*, each coefficient once, as RELION's published
    curves count: the plane ``kx = 0`` holds both members of each Hermitian pair and so weighs
    double. Counting every pair alike changes a shell of a 64-box by up to 0.02; counted as here
    the curves of ``relion_postprocess`` 3.1.3 are met to all six digits it prints.

    References
    ----------
    .. [1] Harauz & van Heel (1986). Exact filters for general geometry three dimensional
       reconstruction. Optik 73, 146-156.
    """
    return fourier_shell_correlation_of_transforms(rfftn_centered(a), rfftn_centered(b))


def fourier_shell_correlation_of_transforms(
    transform_a: Complex[Tensor, "*batch n n half"], transform_b: Complex[Tensor, "*batch n n half"]
) -> Float[Tensor, "*batch shells"]:
    """Correlate two half transforms shell by shell; see ``fourier_shell_correlation``.

    Parameters
    ----------
    transform_a, transform_b
        ``(..., n, n, n // 2 + 1)``, of the same centering.

    Returns
    -------
    Tensor
        ``(..., n // 2 + 1)`` in [-1, 1].
    """
    box_size = transform_a.shape[-2]

    def total(values: Tensor) -> Tensor:
        return shell_sum(values, box_size, 3, as_stored=True)

    cross = total(transform_a.real * transform_b.real + transform_a.imag * transform_b.imag)
    # The root is taken of each factor: their product overflows float32 for large maps.
    norm = total(_power(transform_a)).sqrt() * total(_power(transform_b)).sqrt()
    fsc = torch.where(norm > 0, cross / norm.where(norm > 0, torch.ones_like(norm)), 0.0)
    fsc[..., 0] = 1
    return fsc.clamp(-1, 1)


def resolution_shell(fsc: Spectrum, threshold: float = FSC_GOLD_STANDARD) -> int:
    """Return the last shell before the curve first falls below a threshold.

    Parameters
    ----------
    fsc
        ``(n // 2 + 1,)``.
    threshold
        0.143 between half-maps, 0.5 against a known density.

    Returns
    -------
    int
        Shell index; the last shell when the curve never falls, 0 when shell 1 is below already.

    References
    ----------
    .. [1] Rosenthal & Henderson (2003). J. Mol. Biol. 333, 721-745.
    """
    # Written as "not at least" so that a NaN ends the curve instead of passing for signal.
    below = (~(fsc[1:] >= threshold)).nonzero()
    return int(below[0]) if len(below) else len(fsc) - 1


def resolution_at(fsc: Spectrum, threshold: float, box_size: int, voxel_size: float) -> float:
    """Return the resolution, in angstrom, of the last shell before the curve first falls.

    Parameters
    ----------
    fsc
        ``(n // 2 + 1,)``.
    threshold
        See ``resolution_shell``.
    box_size
        ``n`` of the maps.
    voxel_size
        Angstrom.

    Returns
    -------
    float
        Angstrom; infinite when shell 1 is below the threshold already.
    """
    return shell_to_resolution(float(resolution_shell(fsc, threshold)), box_size, voxel_size)


def _power(transform: Tensor) -> Tensor:
    return transform.real**2 + transform.imag**2
