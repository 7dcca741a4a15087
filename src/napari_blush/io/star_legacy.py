"""RELION 3.0 tables brought to the layout of RELION 3.1.

Before 3.1 there was one table: the microscope stood in every row, and shifts were in pixels.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_blush.errors import StarFileError
from napari_blush.io.star_columns import StarColumns
from napari_blush.io.star_table import Column
from napari_blush.io.star_text import as_column

_OF_THE_MICROSCOPE = (
    "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnBeamTiltX", "rlnBeamTiltY",
    "rlnImageSize", "rlnCtfDataAreCtfPremultiplied",
)  # fmt: skip
_PIXEL_SIZES = ("rlnImagePixelSize", "rlnPixelSize")
_DETECTOR = ("rlnDetectorPixelSize", "rlnMagnification")
_SHIFTS = {
    "rlnOriginX": "rlnOriginXAngst",
    "rlnOriginY": "rlnOriginYAngst",
    "rlnOriginXPrior": "rlnOriginXPriorAngst",
    "rlnOriginYPrior": "rlnOriginYPriorAngst",
}
_SAME_PIXEL_SIZE = 0.01


def upgrade_to_optics_groups(
    path: Path, block: str, columns: Mapping[str, Column]
) -> tuple[dict[str, Column], dict[str, Column]]:
    """Split a RELION 3.0 table into an optics table and a particle table.

    Rows that agree in all values of the microscope form one optics group, numbered in order of
    first appearance. The pixel size is ``rlnImagePixelSize``, else ``rlnPixelSize``, else
    1e4 ``rlnDetectorPixelSize`` / ``rlnMagnification`` (micrometer to angstrom).

    Returns
    -------
    tuple
        Columns of the optics table and of the particle table, RELION 3.1 labels, as text.

    Raises
    ------
    StarFileError
        When voltage, spherical aberration, amplitude contrast or pixel size cannot be found.
    """
    table = StarColumns(path, block, columns)
    if "rlnOpticsGroup" in table:
        raise StarFileError(
            f"{path} names optics groups and has no table data_optics that defines them; wanted "
            "both; add the optics table of the file that it was made from."
        )
    for label in _OF_THE_MICROSCOPE[:3]:
        table.numbers(label)
    pixel_size = _pixel_size(table)
    kept = [label for label in _OF_THE_MICROSCOPE if label in table]
    keys = list(zip(*(columns[label] for label in kept), pixel_size.tolist(), strict=True))
    groups = {key: number for number, key in enumerate(dict.fromkeys(keys), start=1)}
    optics: dict[str, npt.ArrayLike] = {
        "rlnOpticsGroupName": [f"opticsGroup{number}" for number in groups.values()],
        "rlnOpticsGroup": [*groups.values()],
    }
    for i, label in enumerate(kept):
        optics[label] = [key[i] for key in groups]
    optics["rlnImagePixelSize"] = [key[-1] for key in groups]

    particles: dict[str, Column] = {}
    for label, column in columns.items():
        if label in _SHIFTS:
            particles[_SHIFTS[label]] = as_column(table.numbers(label) * pixel_size)
        elif label not in (*_OF_THE_MICROSCOPE, *_PIXEL_SIZES, *_DETECTOR):
            particles[label] = column
    particles["rlnOpticsGroup"] = as_column([groups[key] for key in keys])
    return {label: as_column(values) for label, values in optics.items()}, particles


def _pixel_size(table: StarColumns) -> npt.NDArray[np.float64]:
    stated = [table.numbers(label) for label in _PIXEL_SIZES if label in table]
    if all(label in table for label in _DETECTOR):
        detector, magnification = (table.numbers(label) for label in _DETECTOR)
        if (magnification <= 0).any():
            raise StarFileError(
                f"{table.path} has a _rlnMagnification of zero or below; wanted one above zero; "
                "correct it or give _rlnImagePixelSize."
            )
        stated.append(1e4 * detector / magnification)
    if not stated:
        # Says which label is missing and whether another looks like it.
        table.text("rlnImagePixelSize")
    for other in stated[1:]:
        if (np.abs(other - stated[0]) > _SAME_PIXEL_SIZE * np.abs(stated[0])).any():
            raise StarFileError(
                f"{table.path} states pixel sizes of {stated[0][0]:g} and {other[0]:g} A for the "
                "same particle (_rlnImagePixelSize, _rlnPixelSize, _rlnDetectorPixelSize with "
                "_rlnMagnification); wanted one; remove the columns that do not hold."
            )
    return stated[0]
