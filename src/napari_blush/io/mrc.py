"""Maps in MRC files, in and out, and image stacks out; reading stacks is ``image_stack``'s.

Whether a file is a volume is decided by its shape, not by ``ISPG``: RELION writes 0 (image stack)
into volumes, and many programs write 1 (volume) into image stacks.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from mrcfile.dtypes import HEADER_DTYPE
from torch import Tensor

from napari_blush.conventions import ImageStack, Volume
from napari_blush.errors import MrcFileError
from napari_blush.io.atomic import atomic_write
from napari_blush.io.image_stack import MrcStack as MrcStack
from napari_blush.io.image_stack import StackImageSource as StackImageSource
from napari_blush.io.mrc_header import MrcHeader, memory_map, read_header, spacings_of

LABEL = b"Created by napari-blush"
"""What stands in the headers of our files."""

_ASPECT_TOLERANCE = 1e-3
_LABEL_LENGTH = 80
_MOST_LINES = 9
_STACK_SUFFIXES = (".mrcs", ".st")


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
    path = Path(path)
    header = read_header(path)
    _check_is_cube(header, allow_odd)
    size = _voxel_size_of_map(header) if voxel_size is None else float(voxel_size)
    if not size > 0:
        raise MrcFileError(f"Voxel size {size} A was given for {path}; wanted more than zero.")
    stored = memory_map(header)
    # Stored axes are (sections, rows, columns); ours are (z, y, x) = (3, 2, 1).
    on_disk = header.axes[::-1]
    ordered = np.transpose(stored, [on_disk.index(axis) for axis in (3, 2, 1)])
    volume = torch.from_numpy(np.array(ordered, dtype=np.float32, order="C"))
    if not bool(torch.isfinite(volume).all()):
        raise MrcFileError(
            f"{path} holds values that are not finite (NaN or infinite); wanted numbers in every "
            "voxel; write the map again."
        )
    return MapFile(volume, size, _origin(header, size))


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
    with atomic_write(Path(path), MrcFileError) as temporary:
        stored = _as_stored(path, volume, dtype)
        _write(temporary, stored, voxel_size, origin, is_volume=True, label=label)


def write_stack(
    path: str | Path,
    images: ImageStack,
    pixel_size: float,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write images as a stack (``.mrcs``), whole or not at all; see ``write_map``."""
    with atomic_write(Path(path), MrcFileError) as temporary:
        _write(temporary, _as_stored(path, images, dtype), pixel_size, None, is_volume=False)


def _check_is_cube(header: MrcHeader, allow_odd: bool) -> None:
    sections, rows, columns = header.shape
    size = f"{columns} x {rows} x {sections} voxels"
    if header.path.suffix in _STACK_SUFFIXES or header.space_group >= 401:
        raise MrcFileError(
            f"{header.path} ({size}) is a stack by its name or header; wanted one volume; give an "
            ".mrc, .map or .ccp4 file."
        )
    if sections == 1:
        raise MrcFileError(f"{header.path} ({size}) is a single image; wanted a volume.")
    if not sections == rows == columns:
        raise MrcFileError(
            f"{header.path} has {size}; wanted a cube; pad or crop the map to a cubic box."
        )
    if sections % 2 and not allow_odd:
        raise MrcFileError(
            f"{header.path} has {size}; wanted an even number of voxels along each edge; pad or "
            "crop the map by one voxel."
        )


def _voxel_size_of_map(header: MrcHeader) -> float:
    x, y, z = spacings_of(header)
    if x is None or y is None or z is None:
        raise MrcFileError(
            f"{header.path} does not say its voxel size; wanted one in the header; set it there or "
            "give it by hand."
        )
    # Stacks are often turned into volumes with mz left at 1 or the cell left at one section.
    along_z = (z, header.cell_angstrom[2] / header.shape[0], header.cell_angstrom[2])
    if abs(y / x - 1) > _ASPECT_TOLERANCE or all(
        abs(candidate / x - 1) > _ASPECT_TOLERANCE for candidate in along_z
    ):
        raise MrcFileError(
            f"{header.path} has voxels of {x:.4f} x {y:.4f} x {z:.4f} A; wanted cubic voxels; "
            "resample the map or correct its header."
        )
    return x


def _origin(header: MrcHeader, voxel_size: float) -> tuple[float, float, float]:
    if any(header.origin_angstrom):
        return header.origin_angstrom
    start = dict(zip(header.axes, header.start, strict=True))
    return start[1] * voxel_size, start[2] * voxel_size, start[3] * voxel_size


def _as_stored(path: str | Path, values: Tensor, dtype: torch.dtype) -> npt.NDArray[np.generic]:
    if dtype not in (torch.float32, torch.float16):
        raise MrcFileError(f"{path} was to be written as {dtype}; wanted float32 or float16.")
    stored = values.detach().cpu().to(dtype)
    if not bool(torch.isfinite(stored).all()):
        raise MrcFileError(
            f"Values for {path} are not finite as {dtype}; wanted finite numbers; nothing was "
            "written."
        )
    return np.ascontiguousarray(stored.numpy())


def _write(
    path: Path,
    values: npt.NDArray[np.generic],
    spacing: float,
    origin: tuple[float, float, float] | None,
    *,
    is_volume: bool,
    label: str = "",
) -> None:
    if not spacing > 0:
        raise MrcFileError(f"Spacing {spacing} A was given for {path}; wanted more than zero.")
    header = np.zeros((), dtype=np.dtype(HEADER_DTYPE).newbyteorder("<"))
    n_sections, n_rows, n_columns = values.shape
    # An image stack is a cell of one section, so that the pixel size along z is right as well.
    grid = (n_columns, n_rows, n_sections if is_volume else 1)
    statistics = values.astype(np.float32)
    fields = {
        "nx": n_columns, "ny": n_rows, "nz": n_sections,
        "mode": 12 if values.dtype == np.float16 else 2,
        "mx": grid[0], "my": grid[1], "mz": grid[2],
        "mapc": 1, "mapr": 2, "maps": 3, "ispg": int(is_volume), "nversion": 20141,
        "map": b"MAP ", "machst": (0x44, 0x44, 0, 0), "nlabl": 1,
        "dmin": statistics.min(), "dmax": statistics.max(),
        "dmean": statistics.mean(dtype=np.float64), "rms": statistics.std(dtype=np.float64),
    }  # fmt: skip
    for name, value in fields.items():
        header[name] = value
    header["cella"] = tuple(spacing * n for n in grid)
    header["cellb"] = (90.0, 90.0, 90.0)
    header["origin"] = origin or (0.0, 0.0, 0.0)
    # Without the time: equal maps are to be equal files.
    header["label"][0] = LABEL
    for index, line in enumerate(label.splitlines()[:_MOST_LINES], start=1):
        header["label"][index] = line.encode("ascii", "replace")[:_LABEL_LENGTH]
        header["nlabl"] = index + 1
    with path.open("wb") as handle:
        handle.write(header.tobytes())
        handle.write(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())
