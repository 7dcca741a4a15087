"""STAR files written in RELION's layout, whole or not at all."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_blush.errors import StarFileError
from napari_blush.io.atomic import write_bytes
from napari_blush.io.star_table import Column, StarBlock


def write_star(path: Path, blocks: Sequence[StarBlock], *, comment: str = "version 30001") -> None:
    """Write blocks in RELION's layout, the whole file or nothing.

    Raises
    ------
    StarFileError
        When the columns of a block differ in length or the disk refuses.
    """
    text = "".join(_block_text(path, block, comment) for block in blocks)
    write_bytes(path, text.encode("utf-8", errors="surrogateescape"), StarFileError)


def as_column(values: npt.ArrayLike) -> Column:
    """Return values as strings: text as it is, integers in full, floats with six decimals.

    Floats below 0.001 and from a million on are written with an exponent and seven figures, as
    RELION does, so that small probabilities keep their figures.
    """
    array = np.asarray(values)
    column = np.empty(array.shape, dtype=np.object_)
    if array.dtype.kind == "f":
        column[:] = [_float_text(value) for value in array.tolist()]
    elif array.dtype.kind == "b":
        column[:] = [str(int(value)) for value in array.tolist()]
    else:
        column[:] = [str(value) for value in array.tolist()]
    return column


def columns_of(values: Mapping[str, npt.ArrayLike]) -> dict[str, Column]:
    """Return every column as strings; see ``as_column``."""
    return {label: as_column(column) for label, column in values.items()}


def _float_text(value: float) -> str:
    size = abs(value)
    return f"{value:.6f}" if size == 0 or 1e-3 <= size < 1e6 else f"{value:.6e}"


def _block_text(path: Path, block: StarBlock, comment: str) -> str:
    lengths = {label: len(column) for label, column in block.columns.items()}
    if len(set(lengths.values())) > 1:
        raise StarFileError(
            f"Columns for data_{block.name} of {path} have {lengths} rows; wanted as many in each."
        )
    head = f"\n# {comment}\n\ndata_{block.name}\n\n"
    if not block.is_loop:
        width = max((len(label) for label in block.columns), default=0)
        values = ((label, _quoted(column[0])) for label, column in block.columns.items())
        return head + "".join(f"_{label:<{width}} {value}\n" for label, value in values) + " \n"
    labels = "".join(f"_{label} #{i} \n" for i, label in enumerate(block.columns, start=1))
    texts = [[*map(_quoted, column)] for column in block.columns.values()]
    lines = "".join(" ".join(row) + " \n" for row in zip(*texts, strict=True))
    return f"{head}loop_ \n{labels}{lines} \n"


def _quoted(value: str) -> str:
    # What could be taken for a label, a comment, a block or two values must stand in quotes.
    plain = (
        value != ""
        and value[0] not in "_#'\""
        and value != "loop_"
        and not value.startswith("data_")
        and len(value.split()) == 1
        and not value[0].isspace()
        and not value[-1].isspace()
    )
    if plain:
        return value
    return f"'{value}'" if '"' in value else f'"{value}"'
