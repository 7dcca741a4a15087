"""A training folder as a source of half-maps: ``pairs.tsv`` and one sub-folder per entry."""

import csv
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from napari_blush.denoiser.training.pairs import PairInfo
from napari_blush.errors import TrainingError
from napari_blush.io.mrc import read_map

PAIRS_NAME = "pairs.tsv"
_WANTED = ("entry", "voxel_size", "cluster", "split", "kept")
_NAMES = ("half1.mrc", "half2.mrc", "mask.mrc")
_SAME_VOXEL_SIZE = 5e-3
"""Relative; the table rounds to four digits."""


class TrainingFolders:
    """The entries of one or more training folders, without those that were dropped.

    Parameters
    ----------
    folders : sequence of Path

    Raises
    ------
    TrainingError
        When a table is missing or malformed, or an entry lacks a map.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._paths: dict[str, Path] = {}
        self._entries: list[PairInfo] = []
        for folder in folders:
            for row in _rows(folder):
                self._add(folder, row, alone=len(folders) == 1)

    @property
    def entries(self) -> Sequence[PairInfo]:
        """Return what there is, dropped entries left out."""
        return self._entries

    def read(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return half-map 1, half-map 2 and mask of an entry."""
        path = self._paths[name]
        info = next(info for info in self._entries if info.name == name)
        maps = [read_map(path / file) for file in _NAMES]
        for file, found in zip(_NAMES, maps, strict=True):
            if abs(found.voxel_size / info.voxel_size - 1) > _SAME_VOXEL_SIZE:
                raise TrainingError(
                    f"{path / file} has voxels of {found.voxel_size:g} A and {PAIRS_NAME} says "
                    f"{info.voxel_size:g} A; wanted one voxel size; prepare the folder again."
                )
        return maps[0].volume, maps[1].volume, maps[2].volume

    def _add(self, folder: Path, row: dict[str, str], *, alone: bool) -> None:
        if row["kept"] != "yes":
            return
        path = folder / row["entry"]
        missing = [name for name in _NAMES if not (path / name).is_file()]
        if missing:
            raise TrainingError(
                f"The entry {path} lacks {' and '.join(missing)}; wanted {', '.join(_NAMES)}; "
                f"restore the file or drop the entry from {PAIRS_NAME}."
            )
        name = row["entry"] if alone else f"{folder}/{row['entry']}"
        try:
            voxel_size = float(row["voxel_size"])
        except ValueError:
            voxel_size = 0.0
        if not voxel_size > 0:
            raise TrainingError(
                f"{folder / PAIRS_NAME} gives the entry {row['entry']} a voxel size of "
                f"{row['voxel_size']!r}; wanted angstrom above zero."
            )
        self._paths[name] = path
        self._entries.append(PairInfo(name, voxel_size, row["cluster"], row["split"]))


def _rows(folder: Path) -> list[dict[str, str]]:
    path = folder / PAIRS_NAME
    try:
        with path.open(newline="") as handle:
            rows = [dict(row) for row in csv.DictReader(handle, delimiter="\t")]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise TrainingError(
            f"{path} cannot be read ({problem}); wanted the table of a training folder; make one "
            "with napari-blush train prepare or train simulate."
        ) from problem
    lacking = [name for name in _WANTED if any(not row.get(name) for row in rows)]
    if not rows or lacking:
        raise TrainingError(
            f"{path} has {len(rows)} rows and lacks {', '.join(lacking) or 'entries'}; wanted the "
            f"columns {', '.join(_WANTED)} filled in every row."
        )
    return rows
