"""A map made ready for the network by either recipe, and how its blocks become a map again."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.denoiser.denoise_options import BlockDenoiser, DenoiseOptions
from napari_blush.denoiser.local_std import local_standard_deviation
from napari_blush.denoiser.normalization import about_solvent
from napari_blush.denoiser.patches import BlockPlan, even_starts, squared_cosine_window
from napari_blush.denoiser.support_masks import dilated, particle_sphere
from napari_blush.denoiser.working_grid import WorkingGrid

DEFAULT_STRIDE = 24 / 64  # of a block; docs/denoising.md shows what others cost
_MARGIN = 4 / 64  # of a block: voxels that the network sees too little around
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
    margin = round(_MARGIN * block)
    stride = options.stride or max(1, round(DEFAULT_STRIDE * block))
    starts = [even_starts(begin, end, block, stride, margin) for begin, end in _extent(mask)]
    before = max(0, -min(min(axis) for axis in starts))
    after = max(0, max(max(axis) for axis in starts) + block - n)
    origins = torch.cartesian_prod(*(torch.tensor(axis) for axis in starts)).reshape(-1, 3)
    mask_padded = _padded(mask, before, after)
    origins = _touching(origins + before, mask_padded, block, margin)
    ramp = (block - 2 * margin) // 2
    window = squared_cosine_window(block, margin, ramp).to(volume.device)
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
        inside = torch.nonzero((mask > 0).any(dim=others[1]).any(dim=others[0])).flatten()
        extent.append((int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 1))
    return extent


def _padded(volume: Volume, before: int, after: int) -> Float[Tensor, "m m m"]:
    return torch.nn.functional.pad(volume, (before, after) * 3)


def _touching(origins: Tensor, mask: Volume, block: int, margin: int) -> Tensor:
    """Keep the blocks whose cores touch the mask; the others cannot change the result."""
    kept = []
    for z, y, x in origins.tolist():
        core = tuple(slice(start + margin, start + block - margin) for start in (z, y, x))
        kept.append(bool((mask[core] > 0).any()))
    return origins[torch.tensor(kept, dtype=torch.bool)]
