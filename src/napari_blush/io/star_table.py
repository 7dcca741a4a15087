"""STAR files as tables of text: every value comes out as it went in.

Columns are kept as strings because a float that is parsed and printed again is no longer the
user's. Format: Hall 1991 (J. Chem. Inf. Comput. Sci. 31:326), in RELION's dialect: ``data_`` blocks
that hold either one ``loop_`` or a list of labels with one value each, ``#`` comment lines, and
labels followed by their column number.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from napari_blush.errors import StarFileError
from napari_blush.io.atomic import reason_of

Column: TypeAlias = npt.NDArray[np.object_]
"""Strings, one per row."""

_QUOTED = re.compile(r""""([^"]*)"(?=\s|$)|'([^']*)'(?=\s|$)|(\S+)""")
_NEWLINE, _SPACE = ord("\n"), ord(" ")


@dataclass(frozen=True, slots=True)
class StarBlock:
    """One ``data_`` block.

    Parameters
    ----------
    name : str
        What follows ``data_``; may be empty.
    columns : mapping of str to (n,) array of str
        Labels without the leading underscore, in the order of the file.
    is_loop : bool
        Whether it is a table; else a list of labels with one value each.
    """

    name: str
    columns: dict[str, Column]
    is_loop: bool = True


def read_star(path: Path) -> dict[str, StarBlock]:
    """Read all blocks of a STAR file, by name, in order.

    Raises
    ------
    StarFileError
        When the file is missing or not STAR, a row has too few or too many values, or a label or a
        block occurs twice.
    """
    try:
        # Bytes that are not UTF-8 (old file names) survive reading and writing this way.
        text = path.read_bytes().decode("utf-8", errors="surrogateescape")
    except FileNotFoundError:
        raise StarFileError(f"STAR file {path} does not exist; check the path.") from None
    except OSError as problem:
        raise StarFileError(f"Cannot read {path}: {reason_of(problem)}") from problem
    blocks: dict[str, StarBlock] = {}
    starts = _block_starts(text)
    if not starts:
        raise StarFileError(f"{path} has no data_ block; wanted a STAR file; check the path.")
    ends = [*(begin for begin, _, _ in starts[1:]), len(text)]
    for (_, name, after), end in zip(starts, ends, strict=True):
        if name in blocks:
            raise StarFileError(f"{path} has two blocks data_{name}; wanted one; remove the other.")
        blocks[name] = _Parser(path, text, after, end).block(name)
    return blocks


def _block_starts(text: str) -> list[tuple[int, str, int]]:
    """Return (begin of line, name, end of line) of every line that is ``data_`` and a name."""
    starts = []
    at = text.find("data_")
    while at >= 0:
        begin = text.rfind("\n", 0, at) + 1
        stop = text.find("\n", at)
        stop = len(text) if stop < 0 else stop
        # Rows may begin with data_ too (a path); a block's line has nothing after its name.
        words = text[begin:stop].split()
        if len(words) == 1 and words[0].startswith("data_"):
            starts.append((begin, words[0][len("data_") :], stop))
        at = text.find("data_", stop)
    return starts


class _Parser:
    """Reads one block; ``at`` is the place in the text."""

    def __init__(self, path: Path, text: str, at: int, end: int) -> None:
        self.path = path
        self.text = text
        self.at = at
        self.end = end

    def block(self, name: str) -> StarBlock:
        columns: dict[str, list[str]] = {}
        is_loop = False
        while self.at < self.end:
            stop = self._line_end()
            line = self.text[self.at : stop].strip()
            if line == "loop_":
                is_loop = True
            elif line.startswith("_"):
                row = _split(line)
                label = row[0][1:]
                if label in columns:
                    raise self._error(
                        f"has the label _{label} twice in data_{name}, the second time in",
                        "wanted each once; remove one of the two columns",
                    )
                if not is_loop and len(row) < 2:
                    raise self._error(f"gives _{label} no value in", "wanted one")
                columns[label] = [] if is_loop else [row[1]]
            elif line and not line.startswith("#"):
                break
            self.at = stop + 1
        if is_loop:
            values = self._table(len(columns))
            columns = dict(zip(columns, values, strict=True))
        elif self.at < self.end:
            raise self._error(
                "has values before any label in",
                "wanted loop_ or a label that begins with _; check that the file is STAR",
            )
        return StarBlock(name, {key: _column(value) for key, value in columns.items()}, is_loop)

    def _table(self, n_columns: int) -> list[list[str]]:
        values = self._table_of_plain_values(n_columns)
        if values is not None:
            return values
        rows: list[list[str]] = []
        while self.at < self.end:
            stop = self._line_end()
            line = self.text[self.at : stop].strip()
            if line and not line.startswith("#"):
                row = _split(line)
                if len(row) != n_columns:
                    raise self._error(
                        f"has {len(row)} values for {n_columns} labels in",
                        "wanted one value per label; the file may be cut short",
                    )
                rows.append(row)
            self.at = stop + 1
        return [[*column] for column in zip(*rows, strict=True)] or [[] for _ in range(n_columns)]

    def _table_of_plain_values(self, n_columns: int) -> list[list[str]] | None:
        """Split the whole table at once, or return None when it needs reading line by line.

        A table of 100,000 rows takes half the time this way. Values are counted per line in the
        bytes, so that a row with one too many cannot make up for one with one too few.
        """
        end = self.end
        # The comment that RELION writes above the next block ends this one.
        while end > self.at:
            last = self.text.rfind("\n", self.at, end)
            line = self.text[max(last + 1, self.at) : end].strip()
            if line and not line.startswith("#"):
                break
            end = max(last, self.at)
        chunk = self.text[self.at : end]
        if not chunk.isascii() or '"' in chunk or "'" in chunk or "\n#" in chunk or not n_columns:
            return None
        characters = np.frombuffer(chunk.encode("ascii"), dtype=np.uint8)
        if not len(characters):
            return None
        begins = characters > _SPACE
        begins[1:] &= characters[:-1] <= _SPACE
        lines = np.flatnonzero(characters == _NEWLINE) + 1
        counts = np.add.reduceat(begins, np.concatenate([[0], lines]), dtype=np.int64)
        values = chunk.split()
        if len(values) != int(counts.sum()) or not np.isin(counts, (0, n_columns)).all():
            return None
        return [values[k::n_columns] for k in range(n_columns)]

    def _line_end(self) -> int:
        stop = self.text.find("\n", self.at, self.end)
        return self.end if stop < 0 else stop

    def _error(self, what: str, wanted: str) -> StarFileError:
        line = self.text.count("\n", 0, self.at) + 1
        return StarFileError(f"{self.path} {what} line {line}; {wanted}.")


def _split(line: str) -> list[str]:
    if '"' not in line and "'" not in line:
        return line.split()
    return [match[match.lastindex or 0] for match in _QUOTED.finditer(line)]


def _column(values: Sequence[str]) -> Column:
    column = np.empty(len(values), dtype=np.object_)
    column[:] = values
    return column
