"""Filters of maps in Fourier space: low and high pass, B factor, spectra, random phases."""

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.numerics.fft import irfftn_centered, rfftn_centered
from napari_blush.numerics.shells import (
    radius_grid,
    resolution_to_shell,
    shell_index_grid,
    spectrum_to_grid,
)

_SHARPEST_EDGE = 1e-6  # Fourier voxels; anything sharper is a step


def crossover(
    radius: Float[Tensor, "*shape"], shell: float, edge_shells: float
) -> Float[Tensor, "*shape"]:
    r"""Evaluate a low-pass with a raised-cosine edge centered on a shell.

    1 up to ``shell - edge_shells / 2``, 0 from ``shell + edge_shells / 2``, and between them
    :math:`\frac12 + \frac12 \cos(\pi t)`, ``t`` running from 0 to 1.

    Parameters
    ----------
    radius
        Any shape, ``|k|`` in Fourier voxels.
    shell
        Center of the edge, where the filter is one half, in Fourier voxels; need not be integer.
    edge_shells
        Width of the edge in Fourier voxels; 0 makes a step that keeps ``radius <= shell``.

    Returns
    -------
    Tensor
        As ``radius``, in [0, 1].
    """
    if edge_shells < _SHARPEST_EDGE:
        return (radius <= shell).to(radius.dtype)
    fraction = ((radius - shell) / edge_shells + 0.5).clamp(0, 1)
    return 0.5 + 0.5 * torch.cos(torch.pi * fraction)


def low_pass(
    volume: Float[Tensor, "*batch n n n"],
    voxel_size: float,
    resolution: float,
    *,
    edge_shells: float = 2.0,
) -> Float[Tensor, "*batch n n n"]:
    """Remove what is finer than a resolution, with a cosine edge.

    Parameters
    ----------
    volume
        ``(..., n, n, n)``.
    voxel_size, resolution
        Angstrom; the filter is one half at ``resolution``.
    edge_shells
        Width of the edge in Fourier voxels.

    Returns
    -------
    Tensor
        As ``volume``.

    Notes
    -----
    The edge is RELION's, but centered on the resolution itself and not on the nearest shell.
    """
    shell = resolution_to_shell(resolution, volume.shape[-1], voxel_size)
    return low_pass_at_shell(volume, shell, edge_shells=edge_shells)


def low_pass_at_shell(
    volume: Float[Tensor, "*batch n n n"], shell: float, *, edge_shells: float = 2.0
) -> Float[Tensor, "*batch n n n"]:
    """Remove what lies beyond a shell (need not be integer); see ``low_pass``."""
    radius = radius_grid(volume.shape[-1], 3, volume.device).to(volume.dtype)
    return _multiply(volume, crossover(radius, shell, edge_shells))


def high_pass(
    volume: Float[Tensor, "*batch n n n"],
    voxel_size: float,
    resolution: float,
    *,
    edge_shells: float = 2.0,
) -> Float[Tensor, "*batch n n n"]:
    """Remove what is coarser than a resolution: the complement of ``low_pass``."""
    shell = resolution_to_shell(resolution, volume.shape[-1], voxel_size)
    radius = radius_grid(volume.shape[-1], 3, volume.device).to(volume.dtype)
    return _multiply(volume, 1 - crossover(radius, shell, edge_shells))


def b_factor(
    volume: Float[Tensor, "*batch n n n"], voxel_size: float, b: float
) -> Float[Tensor, "*batch n n n"]:
    r"""Multiply the transform by :math:`\exp(-b / (4 d^2))`, ``d`` the resolution.

    Parameters
    ----------
    volume
        ``(..., n, n, n)``.
    voxel_size
        Angstrom.
    b
        Angstrom squared; positive blurs, negative sharpens.

    Returns
    -------
    Tensor
        As ``volume``.
    """
    box_size = volume.shape[-1]
    radius = radius_grid(box_size, 3, volume.device).to(volume.dtype)
    frequency = radius / (box_size * voxel_size)
    return _multiply(volume, torch.exp(-b / 4 * frequency**2))


def apply_spectrum(
    volume: Float[Tensor, "*batch n n n"], spectrum: Float[Tensor, "*spectra shells"]
) -> Float[Tensor, "*batch n n n"]:
    """Multiply each shell of the transform by a number.

    Parameters
    ----------
    volume
        ``(..., n, n, n)``.
    spectrum
        ``(..., n // 2 + 1)``, one for all maps or one each.

    Returns
    -------
    Tensor
        As ``volume``; what lies beyond the last shell is removed.
    """
    return _multiply(volume, spectrum_to_grid(spectrum.to(volume), volume.shape[-1], 3))


def randomize_phases(
    volume: Float[Tensor, "*batch n n n"], from_shell: int, generator: torch.Generator
) -> Float[Tensor, "*batch n n n"]:
    """Give the coefficients of a shell and of all beyond it random phases, amplitudes kept.

    Parameters
    ----------
    volume
        ``(..., n, n, n)``.
    from_shell
        First shell, ``round(|k|)``, to be randomized.
    generator
        Source of the phases; every map of the batch gets its own.

    Returns
    -------
    Tensor
        As ``volume``.

    Notes
    -----
    The phases are those of the transform of real white noise. Phases drawn independently for
    every stored coefficient are not Hermitian on the plane ``kx = 0``, and the amplitudes of the
    real map that comes back are then not the ones put in.
    """
    box_size = volume.shape[-1]
    noise = torch.randn(
        volume.shape, generator=generator, device=generator.device, dtype=volume.dtype
    )
    # sgn is the phase factor z / |z|.
    phases = torch.sgn(rfftn_centered(noise.to(volume.device)))
    transform = rfftn_centered(volume)
    kept = shell_index_grid(box_size, 3, volume.device) < from_shell
    return irfftn_centered(torch.where(kept, transform, transform.abs() * phases), box_size)


def _multiply(volume: Tensor, transfer: Tensor) -> Tensor:
    return irfftn_centered(rfftn_centered(volume) * transfer, volume.shape[-1])
