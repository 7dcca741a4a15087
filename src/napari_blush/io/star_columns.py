"""A table's columns as numbers, with an error that names the file, the label and the row."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_blush.errors import StarFileError
from napari_blush.io.star_table import Column

_NEIGHBORS = frozenset(
    "rln" + name
    for name in (
        "ImageName MicrographName GroupName GroupNumber OpticsGroup OpticsGroupName ImageSize "
        "ImageDimensionality ImagePixelSize PixelSize MicrographPixelSize "
        "MicrographOriginalPixelSize DetectorPixelSize Magnification Voltage "
        "SphericalAberration AmplitudeContrast DefocusU DefocusV DefocusAngle PhaseShift "
        "CtfBfactor CtfScalefactor CtfMaxResolution CtfFigureOfMerit CtfDataAreCtfPremultiplied "
        "AngleRot AngleTilt AnglePsi AngleRotPrior AngleTiltPrior AnglePsiPrior OriginX OriginY "
        "OriginZ OriginXAngst OriginYAngst OriginZAngst OriginXPrior OriginYPrior "
        "OriginXPriorAngst OriginYPriorAngst RandomSubset NormCorrection BeamTiltX BeamTiltY "
        "OddZernike EvenZernike MagMat00 MagMat01 MagMat10 MagMat11 ImageOriginalName "
        "CoordinateX CoordinateY ClassNumber"
    ).split()
)
"""Labels that mean something of their own, and so are no misspelling of another."""


@dataclass(frozen=True, slots=True)
class StarColumns:
    """The columns of one block of one file.

    Parameters
    ----------
    path : Path
    block : str
        Name of the block, for messages.
    columns : mapping of str to (n,) array of str
    """

    path: Path
    block: str
    columns: Mapping[str, Column]

    def __contains__(self, label: object) -> bool:
        return label in self.columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def text(self, label: str) -> Column:
        """Return a column that must be there.

        Raises
        ------
        StarFileError
            When it is not; the message offers the label that looks like a misspelling of it.
        """
        if label in self.columns:
            return self.columns[label]
        present = {name.lower(): name for name in self.columns if name not in _NEIGHBORS}
        close = difflib.get_close_matches(label.lower(), present, n=1, cutoff=0.8)
        action = (
            f"rename _{present[close[0]]}, which looks like it"
            if close
            else "add the column or give another file"
        )
        raise StarFileError(
            f"{self.path} has no column _{label} in data_{self.block}; wanted one; {action}."
        )

    def numbers(self, label: str, default: float | None = None) -> npt.NDArray[np.float64]:
        """Return a column as float64, or ``default`` in every row when it is absent.

        Raises
        ------
        StarFileError
            When it is absent without a default, or a value is not a finite number.
        """
        if label not in self.columns and default is not None:
            return np.full(len(self), default)
        column = self.text(label)
        try:
            values = column.astype(np.float64)
        except ValueError:
            values = np.array([_number_or_nan(value) for value in column])
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            row = int(wrong[0])
            raise StarFileError(
                f"{self.path} has _{label} = {column[row]!r} in row {row + 1} of "
                f"data_{self.block}; wanted a finite number; correct or remove that row."
            )
        return values

    def integers(self, label: str, default: int | None = None) -> npt.NDArray[np.int64]:
        """Return a column as int64; see ``numbers``."""
        values = self.numbers(label, None if default is None else float(default))
        wrong = np.flatnonzero(values != np.round(values))
        if len(wrong):
            row = int(wrong[0])
            raise StarFileError(
                f"{self.path} has _{label} = {self.columns[label][row]!r} in row {row + 1} of "
                f"data_{self.block}; wanted a whole number; correct that row."
            )
        return values.astype(np.int64)

    def all_or_none(self, *labels: str) -> bool:
        """Return whether these columns are there.

        Raises
        ------
        StarFileError
            When some are and some are not.
        """
        present = [label in self.columns for label in labels]
        if any(present) and not all(present):
            self.text(labels[present.index(False)])
        return all(present)


def _number_or_nan(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return float("nan")
