"""A map made ready for the network by either recipe, and how its blocks become a map again."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.denoiser.denoise_options import BlockDenoiser, DenoiseOptions
from napari_blush.denoiser.local_std import local_standard_deviation
from napari_blush.denoiser.normalization import about_solvent
from napari_blush.denoiser.patches import (
    BlockPlan,
    body_centered_origins,
    cut_blocks,
    even_starts,
    grid_origins,
    squared_cosine_window,
)
from napari_blush.denoiser.support_masks import dilated, particle_sphere
from napari_blush.denoiser.working_grid import WorkingGrid

DEFAULT_CELL = 32 / 64  # of a block; docs/denoising.md shows what others cost
_OUTERMOST = 0.02  # of the mask: what is left of the solvent beyond it is not worth a block
_TINY = 1e-20  # a product of three ramps is small long before it is nothing


@dataclass(frozen=True, slots=True)
class PreparedMap:
    """Channels of the network on the denoiser's grid, padded as the blocks ask.

    Parameters
    ----------
    density, local_std : (m, m, m)
    plan : BlockPlan
    before : int
        Planes of padding in front, on each axis.
    size : int
        Voxels along an edge without padding.
    gain, offset : (n, n, n)
        The map is ``gain * blend + offset``.
    support : (n, n, n)
        Where there is anything: multiplies the network's mask.
    least_weight : float
        Voxels whose weights sum to less are empty.
    """

    density: Float[Tensor, "m m m"]
    local_std: Float[Tensor, "m m m"]
    plan: BlockPlan
    before: int
    size: int
    gain: Float[Tensor, "n n n"]
    offset: Float[Tensor, "n n n"]
    support: Float[Tensor, "n n n"]
    least_weight: float


def prepare_default(
    volume: Volume, grid: WorkingGrid, denoiser: BlockDenoiser, options: DenoiseOptions
) -> PreparedMap:
    """Prepare a map so that nothing of the particle is lost, with few blocks.

    Parameters
    ----------
    volume
        On the denoiser's grid.
    """
    n, block = volume.shape[-1], denoiser.block_size
    voxel_size = grid.working_voxel_size
    if options.mask is None:
        mask = particle_sphere(n, voxel_size, options.particle_diameter, volume.device)
    else:
        mask = dilated(grid.to_working(options.mask.to(volume)), voxel_size)
    values, level, scale = about_solvent(volume, mask)
    local_std = local_standard_deviation(values, denoiser.voxel_size)
    starts = [
        even_starts(begin, end, block, options.stride or max(1, round(DEFAULT_CELL * block)))
        for begin, end in _extent(mask)
    ]
    origins = grid_origins(starts) if options.stride else body_centered_origins(starts)
    before = max(0, -int(origins.min()))
    after = max(0, int(origins.max()) + block - n)
    origins = _touching(origins + before, _padded(mask, before, after), block)
    window = squared_cosine_window(block).to(volume.device)
    return PreparedMap(
        density=_padded(values * mask, before, after),
        local_std=_padded(local_std * mask, before, after),
        plan=BlockPlan(origins, window),
        before=before,
        size=n,
        gain=mask * scale,
        offset=torch.tensor(level, device=mask.device).expand_as(mask),
        support=mask,
        least_weight=_TINY,
    )


def _extent(mask: Volume) -> list[tuple[int, int]]:
    """Return the first voxel inside, and the one after the last, along z, y and x."""
    extent = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        inside = torch.nonzero((mask > _OUTERMOST).any(dim=others[1]).any(dim=others[0])).flatten()
        extent.append((int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 1))
    return extent


def _padded(volume: Volume, before: int, after: int) -> Float[Tensor, "m m m"]:
    return torch.nn.functional.pad(volume, (before, after) * 3)


def _touching(origins: Tensor, mask: Volume, block: int) -> Tensor:
    """Keep the blocks that touch the mask; the others cannot change the result."""
    amount = torch.stack([cut_blocks(mask, one[None], block).amax() for one in origins]).cpu()
    return origins[amount > _OUTERMOST]
