"""The first 1,024 bytes of an MRC file, judged leniently where writers differ.

Field layout: the MRC2014 format (Cheng et al. 2015, J. Struct. Biol. 192:146), as tabulated by
``mrcfile``. Writers are forgiven a missing ``MAP`` stamp, a missing machine stamp, an unset cell
and an unset axis order; no voxel is read here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from mrcfile.dtypes import HEADER_DTYPE

from napari_blush.errors import MrcFileError
from napari_blush.io.atomic import reason_of

HEADER_BYTES = 1024

_DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_UNREADABLE = {
    3: "complex 16-bit integers", 4: "complex 32-bit floats", 101: "packed 4-bit integers",
}  # fmt: skip
_LARGEST_EDGE = 1 << 24


@dataclass(frozen=True, slots=True)
class MrcHeader:
    """What is needed of a header.

    Parameters
    ----------
    path : Path
    dtype : numpy dtype
        Of the voxels, byte order included.
    shape : (sections, rows, columns)
        As stored, slowest axis first.
    axes : (columns, rows, sections)
        Which of x (1), y (2), z (3) each stored axis is; ``mapc, mapr, maps``.
    start : (columns, rows, sections)
        ``nxstart, nystart, nzstart``: first voxel of each stored axis.
    origin_angstrom : (x, y, z)
        The ``ORIGIN`` record.
    cell_angstrom : (x, y, z)
        Edges of the cell, zero where unset.
    grid : (x, y, z)
        ``mx, my, mz``: voxels along the cell's edges.
    space_group : int
        ``ISPG``: 0 an image stack, 1 a volume, 401 and above a stack of volumes.
    data_offset : int
        Bytes before the first voxel: header and extended header.
    """

    path: Path
    dtype: np.dtype[np.generic]
    shape: tuple[int, int, int]
    axes: tuple[int, int, int]
    start: tuple[int, int, int]
    origin_angstrom: tuple[float, float, float]
    cell_angstrom: tuple[float, float, float]
    grid: tuple[int, int, int]
    space_group: int
    data_offset: int


def read_header(path: Path) -> MrcHeader:
    """Read and check a header, and that the file is long enough for what it promises.

    Raises
    ------
    MrcFileError
        When the file is missing, not MRC, of a mode that holds no real voxels, or cut short.
    """
    try:
        with path.open("rb") as handle:
            raw = handle.read(HEADER_BYTES)
            n_bytes = handle.seek(0, 2)
    except FileNotFoundError:
        raise MrcFileError(f"MRC file {path} does not exist; check the path.") from None
    except OSError as problem:
        raise MrcFileError(f"Cannot read {path}: {reason_of(problem)}") from problem
    if raw[:2] == b"\x1f\x8b":
        raise MrcFileError(f"{path} is compressed with gzip; unpack it first.")
    if len(raw) < HEADER_BYTES:
        raise MrcFileError(
            f"{path} has {n_bytes} bytes and an MRC header alone has {HEADER_BYTES}; the file is "
            "truncated or not MRC; copy it again."
        )
    header = _parse(path, raw)
    _check_length(header, n_bytes)
    return header


def memory_map(header: MrcHeader) -> npt.NDArray[np.generic]:
    """Map the voxels into memory, ``(sections, rows, columns)`` as stored, read-only."""
    try:
        return np.memmap(
            header.path, header.dtype, "r", offset=header.data_offset, shape=header.shape
        )
    except (OSError, ValueError) as problem:
        raise MrcFileError(
            f"Cannot map {header.path} into memory ({problem}); check that the file is complete."
        ) from problem


def spacings_of(header: MrcHeader) -> tuple[float | None, float | None, float | None]:
    """Return angstrom per voxel along x, y, z, None where the header does not say."""
    sizes = dict(zip(header.axes, header.shape[::-1], strict=True))

    def spacing(axis: int) -> float | None:
        edge = header.cell_angstrom[axis]
        intervals = header.grid[axis] if header.grid[axis] > 0 else sizes[axis + 1]
        return edge / intervals if np.isfinite(edge) and edge > 0 else None

    return spacing(0), spacing(1), spacing(2)


def _parse(path: Path, raw: bytes) -> MrcHeader:
    record, order = _in_byte_order(path, raw)
    mode = int(record["mode"])
    if mode not in _DTYPES:
        held = _UNREADABLE.get(mode, "an unknown kind of voxel")
        raise MrcFileError(
            f"{path} has mode {mode} ({held}); wanted mode 0, 1, 2, 6 or 12; convert it to mode 2."
        )
    axes = _integers(record, "mapc", "mapr", "maps")
    if axes == (0, 0, 0):
        axes = (1, 2, 3)
    if sorted(axes) != [1, 2, 3]:
        raise MrcFileError(
            f"{path} gives its axis order as {axes}; wanted a permutation of 1, 2, 3 (x, y, z); "
            "correct mapc, mapr, maps in the header."
        )
    n_extended = int(record["nsymbt"])
    return MrcHeader(
        path=path,
        dtype=np.dtype(_DTYPES[mode]).newbyteorder(order),
        shape=(int(record["nz"]), int(record["ny"]), int(record["nx"])),
        axes=axes,
        start=_integers(record, "nxstart", "nystart", "nzstart"),
        origin_angstrom=_xyz(record["origin"]),
        cell_angstrom=_xyz(record["cella"]),
        grid=_integers(record, "mx", "my", "mz"),
        space_group=int(record["ispg"]),
        data_offset=HEADER_BYTES + max(n_extended, 0),
    )


def _in_byte_order(path: Path, raw: bytes) -> tuple[np.void, Literal["<", ">"]]:
    """Return the header record in the byte order that makes sense of it.

    The machine stamp is wrong or missing in many files, so the sizes decide.
    """
    layout = np.dtype(HEADER_DTYPE)
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    if raw[212:213] == b"\x11":
        orders = (">", "<")
    for order in orders:
        record = np.frombuffer(raw, layout.newbyteorder(order))
        edges = [int(record[name][0]) for name in ("nx", "ny", "nz")]
        mode = int(record["mode"][0])
        if all(0 < edge < _LARGEST_EDGE for edge in edges) and 0 <= mode <= 101:
            return record[0], order
    raise MrcFileError(
        f"{path} does not begin with an MRC header (sizes and mode make no sense in either byte "
        "order); check that it is an .mrc, .mrcs, .map or .ccp4 file."
    )


def _check_length(header: MrcHeader, n_bytes: int) -> None:
    n_voxels = header.shape[0] * header.shape[1] * header.shape[2]
    wanted = header.data_offset + n_voxels * header.dtype.itemsize
    if n_bytes < wanted:
        raise MrcFileError(
            f"{header.path} is truncated: its header promises {wanted} bytes "
            f"({header.shape[2]} x {header.shape[1]} x {header.shape[0]} voxels) and it has "
            f"{n_bytes}; copy or write it again."
        )


def _integers(record: np.void, first: str, second: str, third: str) -> tuple[int, int, int]:
    return int(record[first]), int(record[second]), int(record[third])


def _xyz(record: np.void) -> tuple[float, float, float]:
    return float(record["x"]), float(record["y"]), float(record["z"])
