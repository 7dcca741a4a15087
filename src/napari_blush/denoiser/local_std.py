"""The second channel of the denoiser: how much a map varies around each voxel."""

import torch
from jaxtyping import Float
from torch import Tensor

HALF_WIDTH_ANGSTROM = 15.0  # the release: 10 voxels of 1.5 A
SPREAD = 1.5  # the kernel is exp(-x^2) for x from -1.5 to 1.5


def local_standard_deviation(
    volume: Float[Tensor, "*b d h w"], voxel_size: float
) -> Float[Tensor, "*b d h w"]:
    """Return the local standard deviation divided by its mean over the volume.

    A Gaussian window, truncated at 15 A; outside the volume there is zero density.

    Parameters
    ----------
    volume : (..., d, h, w)
    voxel_size : float
        Angstrom; of the grid that the network works on. At 1.5 A the window is the release's.
    """
    local = _unscaled(volume, voxel_size)
    return local / local.mean(dim=(-3, -2, -1), keepdim=True).clamp_min(
        torch.finfo(local.dtype).tiny
    )


def window_kernel(voxel_size: float) -> Float[Tensor, " taps"]:
    """Return the weights of the window along one axis; an odd number, of sum one."""
    half_width = max(1, round(HALF_WIDTH_ANGSTROM / voxel_size))
    x = torch.linspace(-SPREAD, SPREAD, 2 * half_width + 1)
    kernel = torch.exp(-x.square())
    return kernel / kernel.sum()


def _unscaled(volume: Tensor, voxel_size: float) -> Tensor:
    kernel = window_kernel(voxel_size).to(volume)
    mean = _smooth(volume, kernel)
    variance = _smooth(volume.square(), kernel) - mean.square()
    return variance.clamp_min(0).sqrt()


def _smooth(volume: Tensor, kernel: Tensor) -> Tensor:
    """Convolve along each axis in turn, with zeros outside."""
    for axis in (-3, -2, -1):
        # A band matrix: products of matrices are many times faster than convolutions of lines.
        band = _band_matrix(volume.shape[axis], kernel)
        volume = (band @ volume.movedim(axis, -2)).movedim(-2, axis)
    return volume


def _band_matrix(length: int, kernel: Tensor) -> Tensor:
    apart = torch.arange(length, device=kernel.device)
    tap = apart[:, None] - apart + len(kernel) // 2
    inside = (tap >= 0) & (tap < len(kernel))
    return torch.where(inside, kernel[tap.clamp(0, len(kernel) - 1)], 0.0)
