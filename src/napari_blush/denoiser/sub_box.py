"""A small part of a map denoised at once, as it would be in the whole: for looking before waiting.

What a block becomes depends on where it was cut and on the level and deviation of the whole map.
Both are kept: the whole map is made ready once, and of its blocks those that reach the part are
run. Inside the part the blend is that of the whole map to the last digit on the denoiser's grid.
Resampling to another grid carries a little in from outside, where only some of the blocks were run.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.denoiser.denoise_options import (
    BlockDenoiser,
    DenoiseOptions,
    DenoiseProgress,
)
from napari_blush.denoiser.inference import blended_blocks, made_ready
from napari_blush.denoiser.prepared_map import PreparedMap

SIDE_OF_BLOCK = 0.5
"""Of a block's edge: the part that is shown."""

_EDGE = 1  # voxel of the denoiser's grid around the part that is blended in full, too
_COUNTS = 1e-5  # of a window's highest weight: blocks that weigh less change nothing
_ENOUGH = 0.1  # of a window's highest weight: voxels with less of it fade to nothing

_DEFAULTS = DenoiseOptions()


@dataclass(frozen=True, slots=True)
class SubBox:
    """A part of a map, denoised.

    Parameters
    ----------
    volume : (n, n, n) float32
        Denoised inside the part; around it what the blocks reach, and beyond them nothing.
    inside : (slice, slice, slice)
        The part along (z, y, x), voxels of the map.
    nyquist_shell : float
        Of the denoiser's grid, in shells of the map.
    n_blocks, n_blocks_of_all : int
        Blocks run, and those of the whole map.
    """

    volume: Volume
    inside: tuple[slice, slice, slice]
    nyquist_shell: float
    n_blocks: int
    n_blocks_of_all: int


class SubBoxDenoiser:
    """A map made ready, parts of which can be denoised one after another.

    Parameters
    ----------
    volume, voxel_size, denoiser, options
        See ``inference.denoise_steps``.
    """

    def __init__(
        self,
        volume: Volume,
        voxel_size: float,
        denoiser: BlockDenoiser,
        options: DenoiseOptions = _DEFAULTS,
    ) -> None:
        self._ready = made_ready(volume, voxel_size, denoiser, options)

    def steps(self, center: tuple[float, float, float]) -> Generator[DenoiseProgress, None, SubBox]:
        """Denoise the part about a point.

        Parameters
        ----------
        center : (z, y, x)
            Voxels of the map; moved inside where the part would leave the box.

        Yields
        ------
        DenoiseProgress
            Closing the generator stops the work within one batch.

        Returns
        -------
        SubBox
        """
        ready = self._ready
        grid, prepared, size = ready.grid, ready.prepared, ready.prepared.size
        part = _part(center, size / grid.box_size, prepared.plan.block_size, size)
        kept = _reaching(part, prepared.plan.origins - prepared.before, prepared.plan.window)
        needed = replace(prepared, plan=replace(prepared.plan, origins=prepared.plan.origins[kept]))
        blend = yield from blended_blocks(needed, ready.runner, ready.memory.batch_size, [])
        with torch.no_grad():
            own = slice(prepared.before, prepared.before + size)
            density = blend.mean(prepared.least_weight)[0, own, own, own]
            density = density * _covered(needed)[own, own, own]
            whole = grid.to_map(torch.addcmul(prepared.offset, prepared.gain, density)).cpu()
        ratio = grid.box_size / size
        z, y, x = (slice(round(a * ratio), max(round(b * ratio), 1)) for a, b in part)
        return SubBox(whole, (z, y, x), grid.nyquist_shell, int(kept.sum()), len(kept))


def _part(
    center: tuple[float, float, float], ratio: float, block: int, size: int
) -> list[tuple[int, int]]:
    """Return first and last voxel (excluded) of the part on the denoiser's grid."""
    side = min(max(2, round(SIDE_OF_BLOCK * block)), size)
    starts = [min(max(round(at * ratio - side / 2), 0), size - side) for at in center]
    return [(start, start + side) for start in starts]


def _reaching(part: list[tuple[int, int]], origins: Tensor, window: Tensor) -> Tensor:
    """Return which blocks weigh something where the part is, its edge included."""
    middle = window[window.shape[0] // 2, window.shape[1] // 2]
    counting = (middle > _COUNTS * middle.max()).nonzero().flatten()
    first, last = int(counting[0]), int(counting[-1]) + 1
    begin = torch.tensor([a - _EDGE for a, _ in part])
    end = torch.tensor([b + _EDGE for _, b in part])
    return ((origins + last > begin) & (origins + first < end)).all(dim=1)


def _covered(prepared: PreparedMap) -> Tensor:
    """Return 1 where the blocks weigh enough, falling softly to 0 where they end."""
    plan = prepared.plan
    weight = torch.zeros_like(prepared.density)
    block = plan.block_size
    for z, y, x in plan.origins.tolist():
        weight[z : z + block, y : y + block, x : x + block] += plan.window
    fraction = (weight / plan.window.max() / _ENOUGH).clamp(max=1)
    return 0.5 - 0.5 * torch.cos(torch.pi * fraction)
