"""Many atomic structures in one ``.npz`` file, with a table of their clusters beside it."""

import csv
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from napari_blush.errors import AtomicModelError

_ARRAYS = ("xyz_centi_angstrom", "atomic_number", "b_iso", "offsets", "ids")


class StructureLibrary:
    """Structures of a library file, read one at a time.

    Parameters
    ----------
    path : path
        ``.npz`` with ``ids (m,)`` and, for all atoms one after another, ``xyz_centi_angstrom
        (3, N)`` in 0.01 A, ``atomic_number (N,)`` and ``b_iso (N,)``; ``offsets (m + 1,)`` says
        where each structure begins.
    table : path, optional
        Tab-separated, with the columns ``id`` and ``cluster``; by default the file of the same
        name with the suffix ``.tsv``, or the only ``.tsv`` in its folder.

    Raises
    ------
    AtomicModelError
        When a file is missing or lacks what is needed.
    """

    def __init__(self, path: Path, table: Path | None = None) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                missing = [name for name in _ARRAYS if name not in file.files]
                if missing:
                    raise AtomicModelError(
                        f"{path} lacks {', '.join(missing)}; wanted a library with "
                        f"{', '.join(_ARRAYS)}."
                    )
                self._arrays: dict[str, NDArray[np.generic]] = {
                    name: file[name] for name in _ARRAYS
                }
        except (OSError, ValueError) as error:
            raise AtomicModelError(f"The library {path} cannot be read: {error}.") from error
        self.ids = tuple(str(name) for name in self._arrays["ids"])
        if len(self._arrays["offsets"]) != len(self.ids) + 1:
            raise AtomicModelError(
                f"{path} has {len(self.ids)} structures and {len(self._arrays['offsets'])} "
                "offsets; wanted one more offset than structures."
            )
        self.clusters = _clusters(table or _table_beside(path), self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def atoms(
        self, index: int
    ) -> tuple[Float[Tensor, "n 3"], Int[Tensor, " n"], Float[Tensor, " n"]]:
        """Return positions in angstrom, atomic numbers and B-factors of one structure."""
        first, last = (int(offset) for offset in self._arrays["offsets"][index : index + 2])
        positions = self._arrays["xyz_centi_angstrom"][:, first:last].T.astype(np.float32) / 100
        numbers = self._arrays["atomic_number"][first:last].astype(np.int64)
        b_factors = self._arrays["b_iso"][first:last].astype(np.float32)
        return torch.from_numpy(positions), torch.from_numpy(numbers), torch.from_numpy(b_factors)


def _table_beside(path: Path) -> Path:
    named = path.with_suffix(".tsv")
    if named.exists():
        return named
    tables = sorted(path.parent.glob("*.tsv"))
    if len(tables) != 1:
        raise AtomicModelError(
            f"There are {len(tables)} .tsv files beside {path} and none is called {named.name}; "
            "wanted the table of its clusters; give it by name."
        )
    return tables[0]


def _clusters(table: Path, ids: tuple[str, ...]) -> dict[str, str]:
    try:
        with table.open(newline="") as file:
            rows = {row["id"]: row["cluster"] for row in csv.DictReader(file, delimiter="\t")}
    except (OSError, KeyError) as error:
        raise AtomicModelError(
            f"The table {table} cannot be read as tab-separated columns with id and cluster: "
            f"{error}."
        ) from error
    lacking = [name for name in ids if name not in rows]
    if lacking:
        raise AtomicModelError(
            f"{table} has no cluster for {len(lacking)} structures, {lacking[0]} first; wanted "
            "one for each, so that relatives stay on one side of the split."
        )
    return {name: rows[name] for name in ids}
