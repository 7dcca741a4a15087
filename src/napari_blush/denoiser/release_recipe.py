"""The published way of applying the denoiser: masks, normalization, blocks and their weights.

Facts of the MIT-licensed release (3dem/relion-blush, 2025-09) that go with Kimanius et al., Nat.
Methods 2024, in its own voxels at 1.5 A and blocks of 64, in proportion elsewhere. Three faults
are not followed: blocks lost when the batch size does not divide their number; the particle
diameter multiplied by the voxel size; particles emptied because no block of a small box passed.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.denoiser.denoise_options import BlockDenoiser, DenoiseOptions
from napari_blush.denoiser.local_std import local_standard_deviation
from napari_blush.denoiser.patches import BlockPlan, Origins, cut_blocks
from napari_blush.denoiser.prepared_map import PreparedMap
from napari_blush.denoiser.working_grid import WorkingGrid

STRIDE = 20 / 64  # of a block
MARGIN = 10 / 64  # of a block
EDGE_ANGSTROM = 45.0  # 30 voxels of 1.5 A
LEAST_MASK = 0.3  # mean in a block; below it a block is skipped
LEAST_WEIGHT = 0.1  # of the sum; below it a voxel is empty
WEIGHT_FLOOR = 1e-6
DEVIATION_FLOOR = 1e-8
_HALF = 0.5  # a voxel of the mask that must not be lost


def prepare_release(
    volume: Volume, grid: WorkingGrid, denoiser: BlockDenoiser, options: DenoiseOptions
) -> PreparedMap:
    """Prepare a map as the release does.

    Parameters
    ----------
    volume
        On the denoiser's grid.
    """
    n, block = volume.shape[-1], denoiser.block_size
    if options.mask is None:
        mask = release_sphere(n, denoiser.voxel_size, options.particle_diameter).to(volume)
    else:
        mask = grid.to_working(options.mask.to(volume)).clamp(0, 1)
    stride = options.stride or max(1, round(STRIDE * block))
    # Where the planes of a short side go is the same to all but the place of the blocks.
    extra = max(n, block + stride) - n if n <= block else 0
    before, after = extra // 2, extra - extra // 2
    padded = torch.nn.functional.pad(volume, (before, after) * 3)
    padded_mask = torch.nn.functional.pad(mask, (before, after) * 3)
    std, mean = torch.std_mean(padded)
    std = std + DEVIATION_FLOOR
    window = release_window(block, round(MARGIN * block)).to(volume)
    starts = release_starts(padded.shape[-1], block, stride)
    axis = torch.tensor(starts)
    origins = _worth_running(torch.cartesian_prod(axis, axis, axis), padded_mask, window)
    return PreparedMap(
        density=(padded - mean) / std * padded_mask,
        local_std=local_standard_deviation(padded, denoiser.voxel_size) * padded_mask,
        plan=BlockPlan(origins, window),
        before=before,
        size=n,
        # The mask is applied before the scale is restored and once more by the caller.
        gain=mask.square() * std,
        offset=mask * mean,
        support=mask,
        least_weight=LEAST_WEIGHT,
    )


def release_starts(span: int, block: int, stride: int) -> list[int]:
    """Return where blocks begin along an axis: every stride, and flush with the end."""
    return [*range(0, span - block, stride), span - block]


def release_window(block: int, margin: int) -> Float[Tensor, "d d d"]:
    """Return the weights of a block: a cosine of the Chebyshev distance from its middle.

    ``margin - 1`` voxels at each side weigh next to nothing, and the cosine is 0 just inside them.
    """
    inner = block - 2 * (margin - 1)
    axis = (torch.arange(block, dtype=torch.float64) - (block - 1) / 2).abs()
    distance = torch.maximum(
        torch.maximum(axis[:, None, None], axis[:, None]), axis.expand(block, block, block)
    )
    fraction = distance / ((inner - 1) / 2)
    weights = torch.cos(torch.pi / 2 * fraction.clamp(max=1)).clamp_min(WEIGHT_FLOOR)
    return weights.float()


def release_sphere(
    box_size: int, voxel_size: float, particle_diameter: float | None
) -> Float[Tensor, "n n n"]:
    """Return the soft sphere of the release, its center at ``(n - 1) / 2``.

    The edge lies outside the particle, unless that would take it out of the box.
    """
    edge = EDGE_ANGSTROM / voxel_size
    radius = largest = (box_size - edge) / 2
    if particle_diameter is not None:
        radius = min(particle_diameter / (2 * voxel_size) + edge / 2, largest)
    half = edge // 2
    axis = torch.linspace(-box_size / 2, box_size / 2, box_size, dtype=torch.float64).square()
    distance = (axis[:, None, None] + axis[:, None] + axis).sqrt()
    fraction = ((distance - (radius - half)) / (2 * half)).clamp(0, 1)
    return (0.5 + 0.5 * torch.cos(torch.pi * fraction)).float()


def _worth_running(
    origins: Origins, mask: Volume, window: Float[Tensor, "d d d"]
) -> Int[Tensor, "k 3"]:
    """Return the blocks that hold enough of the mask, or any of it where that leaves holes.

    The release keeps the former alone, which in small boxes are none.
    """
    block = window.shape[-1]
    amount = torch.stack([cut_blocks(mask, one[None], block).mean() for one in origins]).cpu()
    enough, some = amount >= LEAST_MASK, amount > 0
    inside = mask >= _HALF
    missed = _covered(origins[some], mask, window) & ~_covered(origins[enough], mask, window)
    return origins[some if bool((missed & inside).any()) else enough]


def _covered(origins: Origins, mask: Volume, window: Float[Tensor, "d d d"]) -> Tensor:
    weight = torch.zeros_like(mask)
    block = window.shape[-1]
    for z, y, x in origins.tolist():
        weight[z : z + block, y : y + block, x : x + block] += window
    return weight >= LEAST_WEIGHT
