"""Overlapping blocks: where they lie, how they are cut out, how they are put together again."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from napari_blush.conventions import Volume

Blocks = Float[Tensor, "b d d d"]
Origins = Int[Tensor, "b 3"]


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """Which blocks of a padded volume are denoised, and how they are blended.

    Parameters
    ----------
    origins : (b, 3) int64
        First voxel ``(z, y, x)`` of each block.
    window : (d, d, d)
        Weight of each voxel of a block, not negative.
    """

    origins: Origins
    window: Blocks | Float[Tensor, "d d d"]

    @property
    def block_size(self) -> int:
        """Voxels along an edge of a block."""
        return int(self.window.shape[-1])


def even_starts(begin: int, end: int, block: int, stride: int) -> list[int]:
    """Return where blocks begin along an axis so that they cover ``begin`` to ``end``.

    Parameters
    ----------
    begin, end
        Voxels to cover, the last excluded.
    stride
        Largest distance between neighbours; they are spread evenly.

    Returns
    -------
    list of int
        May be negative, and the last block may end beyond ``end``, where a single one is too long.
    """
    excess = end - begin - block
    if excess <= 0:
        return [begin + excess // 2]
    n_steps = math.ceil(excess / stride)
    return [begin + round(step * excess / n_steps) for step in range(n_steps + 1)]


def grid_origins(starts: Sequence[Sequence[int]]) -> Origins:
    """Return all blocks ``(b, 3)`` of a grid with the given beginnings along z, y and x."""
    return torch.cartesian_prod(*(torch.tensor(axis) for axis in starts)).reshape(-1, 3)


def body_centered_origins(starts: Sequence[Sequence[int]]) -> Origins:
    """Return the blocks of a grid and one more in the middle of each of its cells.

    No other lattice leaves so little space far from every block, so that the mean of the blocks
    over a voxel settles with fewer of them.
    """
    middles = [
        [(one + next_one) // 2 for one, next_one in pairwise(axis)] or axis for axis in starts
    ]
    corners = grid_origins(starts)
    return corners if len(corners) == 1 else torch.cat([corners, grid_origins(middles)])


def squared_cosine_window(block: int) -> Float[Tensor, "d d d"]:
    """Return a separable window that rises to the middle of a block as a squared cosine.

    Two of them, half a block apart, sum to one.
    """
    place = (torch.arange(block, dtype=torch.float64) + 0.5) / block
    axis = torch.sin(torch.pi * place).square().float()
    return axis[:, None, None] * axis[:, None] * axis


def cut_blocks(volume: Volume, origins: Origins, block: int) -> Blocks:
    """Return the blocks ``(b, d, d, d)`` that begin at ``origins``, copied."""
    cut = [volume[z : z + block, y : y + block, x : x + block] for z, y, x in origins.tolist()]
    return torch.stack(cut)


class Blend:
    """The weighted mean of overlapping blocks.

    Parameters
    ----------
    size : int
        Voxels along an edge of the whole.
    window : (d, d, d)
    n_channels : int
        Volumes blended at once.
    """

    def __init__(self, size: int, window: Float[Tensor, "d d d"], n_channels: int) -> None:
        self._window = window
        self._sums = torch.zeros(n_channels, size, size, size, device=window.device)
        self._weight = torch.zeros(size, size, size, device=window.device)

    def add(self, origins: Origins, *channels: Blocks) -> None:
        """Add blocks ``(b, d, d, d)`` of each channel at their places."""
        block = self._window.shape[-1]
        for index, (z, y, x) in enumerate(origins.tolist()):
            place = (slice(z, z + block), slice(y, y + block), slice(x, x + block))
            for total, blocks in zip(self._sums, channels, strict=True):
                total[place].addcmul_(blocks[index], self._window)
            self._weight[place] += self._window

    def mean(self, least_weight: float) -> Float[Tensor, "c n n n"]:
        """Return the means, 0 where the weights sum to less than ``least_weight``.

        They take the place of the sums: nothing can be added afterwards.
        """
        covered = self._weight >= least_weight
        self._weight.masked_fill_(~covered, 1.0)
        return self._sums.div_(self._weight).mul_(covered)
