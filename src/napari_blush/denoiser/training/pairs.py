"""Pairs of half-maps to train on: where they come from, their checks, and how they are kept.

Knows tensors, not files: a source hands over the maps of one entry after another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float16, Int64
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.errors import TrainingError
from napari_blush.numerics.filters import low_pass

SOLVENT_RESOLUTION = 15.0
"""Angstrom; ``h`` of the paper's equation 2."""

_LEAST_MASK_VOXELS = 64
_MOST_PLACES = 32768
"""Of a mask's voxels as many are remembered; more would say no more."""


@dataclass(frozen=True, slots=True)
class PairInfo:
    """What is known of an entry before its maps are read.

    Parameters
    ----------
    name : str
    voxel_size : float
        Angstrom.
    cluster : str
        Entries of one cluster are of related molecules; clusters are drawn with equal odds.
    split : str
        ``train``, ``validation`` or ``test``.
    """

    name: str
    voxel_size: float
    cluster: str
    split: str


@runtime_checkable
class HalfMapSource(Protocol):
    """Hands over half-maps and masks."""

    @property
    def entries(self) -> Sequence[PairInfo]:
        """Return what there is, dropped entries left out."""
        ...

    def read(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return half-map 1, half-map 2 and mask of an entry, ``(n, n, n)`` each."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """A checked pair, standardized, with what it is compared to.

    Parameters
    ----------
    info : PairInfo
    halves : (2, n, n, n) float16
        Each half with deviation 1 within the mask, its solvent at zero.
    targets : (2, n, n, n) float16
        ``x * mask + h(x) * (1 - mask)`` of each half (equation 2 before filter and rotation).
    mask : (n, n, n) float16
    inside : (m, 3) int64
        ``[z, y, x]`` of voxels spread over the mask, where blocks are placed.
    reach : float
        Distance of the farthest of them from the middle of the map, in voxels.
    """

    info: PairInfo
    halves: Float16[Tensor, "2 n n n"]
    targets: Float16[Tensor, "2 n n n"]
    mask: Float16[Tensor, "n n n"]
    inside: Int64[Tensor, "m 3"]
    reach: float

    @property
    def box_size(self) -> int:
        """Return the voxels along an edge."""
        return int(self.mask.shape[-1])

    def to(self, device: torch.device) -> "TrainingPair":
        """Return the pair with its maps on a device; the places of blocks stay on the CPU."""
        return replace(
            self,
            halves=self.halves.to(device),
            targets=self.targets.to(device),
            mask=self.mask.to(device),
        )


def read_pairs(source: HalfMapSource, split: str) -> Iterator[TrainingPair]:
    """Yield the prepared pairs of a split, one after another.

    Raises
    ------
    TrainingError
        When entries differ in voxel size, or a pair cannot be trained on.
    """
    infos = [info for info in source.entries if info.split == split]
    for info in infos:
        if abs(info.voxel_size / infos[0].voxel_size - 1) > 1e-3:
            raise TrainingError(
                f"Entry {info.name} has a voxel size of {info.voxel_size:g} A and {infos[0].name} "
                f"one of {infos[0].voxel_size:g} A; wanted one for all; prepare the folder again."
            )
        yield prepare_pair(info, *source.read(info.name))


def prepare_pair(info: PairInfo, half1: Tensor, half2: Tensor, mask: Tensor) -> TrainingPair:
    """Check a pair, standardize each half within the mask, and fill the targets' solvent.

    Raises
    ------
    TrainingError
        Naming the entry and what is wrong with it.
    """
    check_pair(info.name, half1, half2, mask)
    inside = mask > 0.5
    halves = torch.stack([standardized(half.float(), mask.float()) for half in (half1, half2)])
    targets = solvent_filled(halves, mask.float(), info.voxel_size)
    # A map is float16 in memory to keep hundreds; its own noise is far above the rounding.
    limit = torch.finfo(torch.float16).max
    places = torch.nonzero(inside)
    return TrainingPair(
        info,
        halves.clamp(-limit, limit).half(),
        targets.clamp(-limit, limit).half(),
        mask.half(),
        places[:: 1 + len(places) // _MOST_PLACES].clone(),
        float((places - mask.shape[-1] // 2).double().norm(dim=1).max()),
    )


def check_pair(name: str, half1: Tensor, half2: Tensor, mask: Tensor) -> None:
    """Raise ``TrainingError`` with a sentence when maps cannot be trained on."""
    shapes = [tuple(volume.shape) for volume in (half1, half2, mask)]
    problem = None
    if shapes[0] != shapes[1]:
        problem = f"has half-maps of {_size(shapes[0])} and {_size(shapes[1])} voxels"
    elif shapes[2] != shapes[0]:
        problem = f"has half-maps of {_size(shapes[0])} and a mask of {_size(shapes[2])} voxels"
    elif len(shapes[0]) != 3 or len(set(shapes[0])) != 1 or shapes[0][0] % 2:
        problem = f"has maps of {_size(shapes[0])} voxels, not even cubes"
    elif not all(bool(torch.isfinite(volume).all()) for volume in (half1, half2, mask)):
        problem = "holds values that are not finite (NaN or infinite)"
    elif bool(torch.equal(half1, half2)):
        problem = "has two identical half-maps, which share their noise"
    elif int((mask > 0.5).sum()) < _LEAST_MASK_VOXELS:
        problem = f"has a mask of fewer than {_LEAST_MASK_VOXELS} voxels"
    elif min(float(half[mask > 0.5].float().std()) for half in (half1, half2)) <= 0:
        problem = "has a half-map that is constant within the mask"
    if problem is not None:
        raise TrainingError(
            f"Entry {name} {problem}; wanted two independent half-maps and their mask; mend or "
            "drop the entry."
        )


def standardized(volume: Volume, mask: Volume) -> Volume:
    """Return a map with standard deviation 1 within the mask, and with its solvent at zero.

    The published code has the mean within the mask at zero. The network does not see the
    difference, but what is masked or lies outside a map is zero, and that is to be solvent.
    """
    outside = 1 - mask
    level = (volume * outside).sum() / outside.sum().clamp_min(1)
    return (volume - level) / volume[mask > 0.5].std()


def solvent_filled(
    halves: Float[Tensor, "*b n n n"], mask: Float[Tensor, "n n n"], voxel_size: float
) -> Float[Tensor, "*b n n n"]:
    """Return ``x * mask + h(x) * (1 - mask)``, ``h`` a low-pass to 15 A."""
    if SOLVENT_RESOLUTION <= 2 * voxel_size:
        return halves
    return halves * mask + low_pass(halves, voxel_size, SOLVENT_RESOLUTION) * (1 - mask)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
