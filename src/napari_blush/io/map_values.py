"""Maps in MRC files as arrays; no tensor library. ``mrc`` gives the same as tensors.

Whether a file is a volume is decided by its shape, not by ``ISPG``: RELION writes 0 (image stack)
into volumes, and many programs write 1 (volume) into image stacks.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_blush.errors import MrcFileError
from napari_blush.io.mrc_header import MrcHeader, memory_map, read_header, spacings_of

_ASPECT_TOLERANCE = 1e-3
_STACK_SUFFIXES = (".mrcs", ".st")


@dataclass(frozen=True, slots=True)
class MapValues:
    """A map as read.

    Parameters
    ----------
    values : (n, n, n) float32
        ``[z, y, x]``, whatever the axis order on disk.
    voxel_size : float
        Angstrom.
    origin_angstrom : (x, y, z)
        As in ``mrc.MapFile``.
    """

    values: npt.NDArray[np.float32]
    voxel_size: float
    origin_angstrom: tuple[float, float, float]


def read_map_values(
    path: str | Path, *, voxel_size: float | None = None, allow_odd: bool = False
) -> MapValues:
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
    values = np.array(ordered, dtype=np.float32, order="C")
    if not np.isfinite(values).all():
        raise MrcFileError(
            f"{path} holds values that are not finite (NaN or infinite); wanted numbers in every "
            "voxel; write the map again."
        )
    return MapValues(values, size, _origin(header, size))


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
