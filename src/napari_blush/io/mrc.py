"""Maps in MRC files, in and out, and image stacks out; reading stacks is ``image_stack``'s."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from napari_blush.conventions import ImageStack, Volume
from napari_blush.errors import MrcFileError
from napari_blush.io.image_source import StackImageSource as StackImageSource
from napari_blush.io.image_stack import MrcStack as MrcStack
from napari_blush.io.map_values import read_map_values
from napari_blush.io.mrc_writing import LABEL as LABEL
from napari_blush.io.mrc_writing import VoxelValues, write_map_values, write_stack_values


@dataclass(frozen=True, slots=True)
class MapFile:
    """A map as read.

    Parameters
    ----------
    volume : (n, n, n) float32
        ``[z, y, x]``, whatever the axis order on disk.
    voxel_size : float
        Angstrom.
    origin_angstrom : (x, y, z)
        Where the first voxel lies: the header's origin, or ``nxstart, nystart, nzstart`` times the
        voxel size when the origin is zero.
    """

    volume: Volume
    voxel_size: float
    origin_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0)


def read_map(
    path: str | Path, *, voxel_size: float | None = None, allow_odd: bool = False
) -> MapFile:
    """Read a cubic map (``.mrc``, ``.map``, ``.ccp4``; modes 0, 1, 2, 6 and 12).

    Parameters
    ----------
    path : path
    voxel_size : float, optional
        Angstrom; overrules the header, and is needed when the header has none.
    allow_odd : bool
        Take an odd number of voxels along an edge as well.

    Raises
    ------
    MrcFileError
        When the file is missing, truncated, an image or a stack, not a cube, odd, without or
        with unequal voxel sizes, or holds values that are not finite.
    """
    found = read_map_values(path, voxel_size=voxel_size, allow_odd=allow_odd)
    return MapFile(torch.from_numpy(found.values), found.voxel_size, found.origin_angstrom)


def write_map(
    path: str | Path,
    volume: Volume,
    voxel_size: float,
    origin: tuple[float, float, float] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    label: str = "",
) -> None:
    """Write a map as mode 2 (float32) or mode 12 (float16), whole or not at all.

    Parameters
    ----------
    path : path
    volume : (n, n, n)
    voxel_size : float
        Angstrom.
    origin : (x, y, z), optional
        Angstrom, into the ``ORIGIN`` record; zero by default.
    dtype : torch.float32 or torch.float16
    label : str
        What else to say in the header: at most nine lines of 80 ASCII characters.

    Raises
    ------
    MrcFileError
        When the values do not fit or the disk refuses.
    """
    write_map_values(path, _as_stored(path, volume, dtype), voxel_size, origin, label=label)


def write_stack(
    path: str | Path,
    images: ImageStack,
    pixel_size: float,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write images as a stack (``.mrcs``), whole or not at all; see ``write_map``."""
    write_stack_values(path, _as_stored(path, images, dtype), pixel_size)


def _as_stored(path: str | Path, values: Tensor, dtype: torch.dtype) -> VoxelValues:
    if dtype not in (torch.float32, torch.float16):
        raise MrcFileError(f"{path} was to be written as {dtype}; wanted float32 or float16.")
    stored: VoxelValues = values.detach().cpu().to(dtype).numpy()
    return stored
