"""Shells of Fourier space: which coefficient lies in which, sums over them, their resolution.

Shell ``s`` holds the coefficients with ``round(|k|) == s``, frequencies counted in Fourier voxels.
Spectra have ``n // 2 + 1`` shells; the corners of the transform, beyond ``n // 2``, are in none.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from napari_blush.numerics.fft import half_spectrum_multiplicity


def radius_grid(
    box_size: int, ndim: int, device: torch.device | str | None = None
) -> Float[Tensor, "*grid half"]:
    """Return ``|k|`` of every coefficient of a half transform.

    Parameters
    ----------
    box_size
        ``n``.
    ndim
        2 for images, 3 for maps.
    device
        Where the result lives.

    Returns
    -------
    Tensor
        ``(n, n // 2 + 1)`` or ``(n, n, n // 2 + 1)`` float32, in Fourier voxels.
    """
    full = torch.fft.fftfreq(box_size, 1 / box_size, device=device).round()
    squared = torch.arange(box_size // 2 + 1, device=device, dtype=torch.float32) ** 2
    for _ in range(ndim - 1):
        squared = (full**2).reshape(-1, *[1] * squared.ndim) + squared
    return squared.sqrt()


def shell_index_grid(
    box_size: int, ndim: int, device: torch.device | str | None = None
) -> Int64[Tensor, "*grid half"]:
    """Return the shell ``round(|k|)`` of every coefficient of a half transform.

    Parameters
    ----------
    box_size
        ``n``.
    ndim
        2 for images, 3 for maps.
    device
        Where the result lives.

    Returns
    -------
    Tensor
        ``(n, n // 2 + 1)`` or ``(n, n, n // 2 + 1)`` int64, corners beyond ``n // 2`` included.

    Notes
    -----
    ``|k|^2`` is an integer, so ``|k|`` is never half-way between two shells, and float32 decides
    rightly in boxes up to 1,600. Takes ``4 n^3`` bytes, which is why it is not kept.
    """
    return radius_grid(box_size, ndim, device).round().long()


def shell_sum(
    values: Float[Tensor, "*shape"], box_size: int, ndim: int, *, as_stored: bool = False
) -> Float[Tensor, "*batch shells"]:
    """Sum a real quantity over each shell of the full transform, given on the half transform.

    Parameters
    ----------
    values
        ``(..., n, n // 2 + 1)`` for ``ndim`` 2, ``(..., n, n, n // 2 + 1)`` for ``ndim`` 3; the
        same at ``k`` and ``-k``.
    box_size
        ``n``.
    ndim
        Dimensions of the transformed objects, 2 or 3.
    as_stored
        Count every stored coefficient once, instead of twice where its mate is not stored.

    Returns
    -------
    Tensor
        ``(..., n // 2 + 1)``, dtype of ``values``.

    Notes
    -----
    Sums line by line, then over the lines: no bin gathers more than one line's coefficients one
    after the other, which keeps float32 exact to about 1e-6 and GPU atomics out of each other's
    way.
    """
    n_shells = box_size // 2 + 1
    if not as_stored:
        values = values * half_spectrum_multiplicity(box_size, values.device).to(values.dtype)
    shells = shell_index_grid(box_size, ndim, values.device).clamp_(max=n_shells)
    values = values.reshape(*values.shape[:-ndim], box_size, -1)
    shells = shells.reshape(box_size, -1).expand(values.shape)
    by_line = values.new_zeros(*values.shape[:-1], n_shells + 1)
    by_line.scatter_add_(-1, shells, values)
    return by_line.sum(dim=-2)[..., :n_shells]


def shell_mean(
    values: Float[Tensor, "*shape"], box_size: int, ndim: int
) -> Float[Tensor, "*batch shells"]:
    """Average a real quantity over each shell of the full transform; see ``shell_sum``.

    Parameters
    ----------
    values
        ``(..., n, n // 2 + 1)`` for ``ndim`` 2, ``(..., n, n, n // 2 + 1)`` for ``ndim`` 3.
    box_size
        ``n``.
    ndim
        Dimensions of the transformed objects, 2 or 3.

    Returns
    -------
    Tensor
        ``(..., n // 2 + 1)``, dtype of ``values``.
    """
    ones = values.new_ones(values.shape[-ndim:])
    return shell_sum(values, box_size, ndim) / shell_sum(ones, box_size, ndim)


def spectrum_to_grid(
    spectrum: Float[Tensor, "*batch shells"], box_size: int, ndim: int, *, beyond: float = 0.0
) -> Float[Tensor, "*grid half"]:
    """Spread one value per shell over the half transform.

    Parameters
    ----------
    spectrum
        ``(..., n // 2 + 1)``; a shorter one ends earlier.
    box_size
        ``n``.
    ndim
        2 for images, 3 for maps.
    beyond
        Value of the coefficients beyond the last shell.

    Returns
    -------
    Tensor
        ``(..., n, n // 2 + 1)`` or ``(..., n, n, n // 2 + 1)``, dtype of ``spectrum``.
    """
    padded = torch.nn.functional.pad(spectrum, (0, 1), value=beyond)
    shells = shell_index_grid(box_size, ndim, spectrum.device).clamp_(max=spectrum.shape[-1])
    return padded[..., shells]


def shell_to_resolution(shell: float, box_size: int, voxel_size: float) -> float:
    """Return the resolution of a shell in angstrom: ``n * voxel_size / shell``; infinite for 0."""
    return box_size * voxel_size / shell if shell > 0 else math.inf


def resolution_to_shell(resolution: float, box_size: int, voxel_size: float) -> float:
    """Return the shell, not rounded, that lies at a resolution in angstrom."""
    return box_size * voxel_size / resolution
