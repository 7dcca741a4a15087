"""From where the particles of an iteration were seen, out of a run folder; no tensor library."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_blush.errors import StarFileError
from napari_blush.io.particle_rows import ANGLES
from napari_blush.io.star_columns import StarColumns
from napari_blush.io.star_table import read_star

_P_MAX = "rlnMaxValueProbDistribution"
_BLOCK = "particles"


def orientations_path(folder: Path, iteration: int) -> Path:
    """Return where a run folder keeps the poses of an iteration."""
    return folder / f"run_it{iteration:03d}_data.star"


def read_orientations(
    folder: Path, iteration: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return viewing directions ``(n, 3)`` and largest probabilities ``(n,)``.

    A direction is the third column of the pose's matrix (``conventions``): from Euler angles
    ``(cos rot sin tilt, sin rot sin tilt, cos tilt)``.

    Raises
    ------
    StarFileError
        When the table is missing or cannot be understood.
    """
    path = orientations_path(folder, iteration)
    blocks = read_star(path)
    if _BLOCK not in blocks:
        raise StarFileError(f"{path} has no data_{_BLOCK}; wanted the particles of an iteration.")
    table = StarColumns(path, _BLOCK, blocks[_BLOCK].columns)
    rot, tilt = (np.radians(table.numbers(label)) for label in ANGLES[:2])
    across = np.sin(tilt)
    directions = np.stack([np.cos(rot) * across, np.sin(rot) * across, np.cos(tilt)], axis=1)
    return directions, table.numbers(_P_MAX)
