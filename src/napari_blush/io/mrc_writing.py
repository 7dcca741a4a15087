"""Arrays into MRC files, whole or not at all; no tensor library. ``mrc`` takes tensors."""

from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from mrcfile.dtypes import HEADER_DTYPE

from napari_blush.errors import MrcFileError
from napari_blush.io.atomic import atomic_write

VoxelValues: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float16]

LABEL = b"Created by napari-blush"
"""What stands in the headers of our files."""

_LABEL_LENGTH = 80
_MOST_LINES = 9


def write_map_values(
    path: str | Path,
    values: VoxelValues,
    voxel_size: float,
    origin: tuple[float, float, float] | None = None,
    *,
    label: str = "",
) -> None:
    """Write a map as mode 2 (float32) or mode 12 (float16).

    Parameters
    ----------
    path : path
    values : (n, n, n)
    voxel_size : float
        Angstrom.
    origin : (x, y, z), optional
        Angstrom, into the ``ORIGIN`` record; zero by default.
    label : str
        What else to say in the header: at most nine lines of 80 ASCII characters.

    Raises
    ------
    MrcFileError
        When values are not finite or the disk refuses.
    """
    _check_are_finite(path, values)
    with atomic_write(Path(path), MrcFileError) as temporary:
        _write(temporary, values, voxel_size, origin, is_volume=True, label=label)


def write_stack_values(path: str | Path, values: VoxelValues, pixel_size: float) -> None:
    """Write images ``(n, rows, columns)`` as a stack; see ``write_map_values``."""
    _check_are_finite(path, values)
    with atomic_write(Path(path), MrcFileError) as temporary:
        _write(temporary, values, pixel_size, None, is_volume=False)


def _check_are_finite(path: str | Path, values: VoxelValues) -> None:
    if not np.isfinite(values).all():
        raise MrcFileError(
            f"Values for {path} are not finite as {values.dtype}; wanted finite numbers; nothing "
            "was written."
        )


def _write(
    path: Path,
    values: VoxelValues,
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
