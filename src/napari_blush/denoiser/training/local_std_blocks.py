"""The second channel of blocks cut out of maps: ``local_std.py`` where only a part is there.

A Gaussian window is separable: along each axis it is a product with a narrow band of a matrix,
which costs less than a convolution and lets the mean over a map be taken on a coarser grid.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.denoiser.local_std import window_kernel


def margin_of(voxel_size: float) -> int:
    """Return the voxels around a block that its local standard deviation needs."""
    return len(window_kernel(voxel_size)) // 2


def block_local_std(
    context: Float[Tensor, "*b c c c"], voxel_size: float
) -> Float[Tensor, "*b d d d"]:
    """Return the local standard deviation of blocks given with their margin; not divided by a mean.

    Parameters
    ----------
    context : (..., c, c, c)
        Blocks with ``margin_of(voxel_size)`` voxels more on each side.
    voxel_size : float
        Angstrom.
    """
    kernel = window_kernel(voxel_size).to(context)
    size = context.shape[-1] - len(kernel) + 1
    rows = torch.zeros(size, context.shape[-1], dtype=context.dtype, device=context.device)
    for tap, weight in enumerate(kernel):
        rows.diagonal(tap).fill_(weight)
    return _spread(context, rows)


def mean_local_std(
    window: Float[Tensor, "*b w w w"],
    within: Float[Tensor, "b w w w"],
    voxel_size: float,
    step: int,
) -> Float[Tensor, "*b"]:
    """Return the mean local standard deviation over ``within``, of every ``step``-th voxel.

    Parameters
    ----------
    window : (..., b, w, w, w)
        Zero is assumed outside.
    within : (b, w, w, w)
        1 where the map is.
    voxel_size : float
        Angstrom.
    step : int
    """
    kernel = window_kernel(voxel_size).to(window)
    size, half = window.shape[-1], len(kernel) // 2
    rows = torch.zeros(size, size + 2 * half, dtype=window.dtype, device=window.device)
    for tap, weight in enumerate(kernel):
        rows.diagonal(tap).fill_(weight)
    rows = rows[step // 2 :: step, half : half + size].contiguous()
    weight = within[..., step // 2 :: step, step // 2 :: step, step // 2 :: step]
    total = (_spread(window, rows) * weight).sum(dim=(-3, -2, -1))
    return total / weight.sum(dim=(-3, -2, -1)).clamp_min(1)


def _spread(volume: Tensor, rows: Tensor) -> Tensor:
    mean = _smooth(volume, rows)
    return (_smooth(volume.square(), rows) - mean.square()).clamp_min(0).sqrt()


def _smooth(volume: Tensor, rows: Tensor) -> Tensor:
    """Apply the rows of the window along each of the last three axes."""
    along_x = volume @ rows.T
    along_y = rows @ along_x
    shape = along_y.shape
    along_z: Tensor = rows @ along_y.reshape(*shape[:-2], -1)
    return along_z.reshape(*shape[:-3], rows.shape[0], *shape[-2:])
