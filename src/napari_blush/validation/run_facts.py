"""What a run folder says of its run, gathered for a report."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import RunFolderError
from napari_blush.io.run_failure import read_failure
from napari_blush.io.run_history import read_history
from napari_blush.io.run_settings import (
    SETTINGS_NAME,
    read_run_facts,
    read_settings,
    read_source,
    settings_at,
)

_FINAL = ("run_class001.mrc", "run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc")


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run of at least one whole iteration.

    Parameters
    ----------
    folder : Path
    begun_with, settings : RefinementSettings
        At the beginning and after the last change.
    n_particles : int
    regularizer : str
        What made the references: a name, and weights with their checksum.
    versions : dict of str to str
    history : list of dict
        See ``io.run_history``; ordered, not empty.
    branched_from : (Path, int) or None
        Run folder and iteration that it went on from.
    failure : str
        Why the run ended before its end; empty when it did not.
    """

    folder: Path
    begun_with: RefinementSettings
    settings: RefinementSettings
    n_particles: int
    regularizer: str
    versions: dict[str, str]
    history: list[dict[str, Any]]
    branched_from: tuple[Path, int] | None
    failure: str

    @property
    def is_finished(self) -> bool:
        """Whether the final maps are there."""
        return all((self.folder / name).is_file() for name in _FINAL)

    @property
    def last(self) -> dict[str, Any]:
        """The history's last line."""
        return self.history[-1]

    @property
    def box_size(self) -> int:
        """Voxels along an edge."""
        return 2 * (len(self.last["fsc"]["corrected"]) - 1)

    @property
    def voxel_size(self) -> float:
        """Angstrom."""
        return float(self.last["voxel_size"])

    @property
    def resolution(self) -> float | None:
        """Of the last iteration, in angstrom; None where there is none."""
        value = self.last["resolution_angstrom"]
        return None if value is None else float(value)

    @property
    def seconds(self) -> float:
        """Time spent in iterations."""
        return sum(float(line.get("seconds") or 0.0) for line in self.history)

    @property
    def half_maps(self) -> tuple[Path, Path]:
        """The unfiltered half-maps of the result, or of the last iteration."""
        stem = "run" if self.is_finished else f"run_it{self.last['iteration']:03d}"
        first, second = (self.folder / f"{stem}_half{n}_class001_unfil.mrc" for n in (1, 2))
        return first, second

    @property
    def final_map(self) -> Path | None:
        """The map of all data, None before the end."""
        return self.folder / _FINAL[0] if self.is_finished else None

    @property
    def poses(self) -> Path:
        """The table of the particles with their last poses."""
        stem = "run" if self.is_finished else f"run_it{self.last['iteration']:03d}"
        return self.folder / f"{stem}_data.star"

    @property
    def written(self) -> datetime:
        """When the run last wrote its history, in local time."""
        return datetime.fromtimestamp((self.folder / "history.json").stat().st_mtime)

    @property
    def changes(self) -> list[tuple[int, str, str]]:
        """What a person changed: iteration in which it took effect, words, and time."""
        return [
            (line["iteration"], str(change["what"]), str(change.get("time", "")))
            for line in self.history
            for change in line.get("changes", ())
        ]


def read_run(folder: Path) -> RunFacts:
    """Read a run folder.

    Raises
    ------
    RunFolderError
        When it is no run folder or holds no whole iteration.
    """
    if not (folder / SETTINGS_NAME).is_file():
        raise RunFolderError(
            f"{folder} holds no {SETTINGS_NAME}; wanted the folder of a run; give the one that "
            "'refine --output' named."
        )
    history = read_history(folder)
    if not history:
        raise RunFolderError(
            f"Run folder {folder} holds no whole iteration yet; wanted at least one; ask again "
            "when the run has come further."
        )
    n_particles, regularizer = read_run_facts(folder)
    content = yaml.safe_load((folder / SETTINGS_NAME).read_text())
    return RunFacts(
        folder=folder,
        begun_with=read_settings(folder),
        settings=settings_at(folder),
        n_particles=n_particles,
        regularizer=regularizer,
        versions={str(k): str(v) for k, v in (content.get("versions") or {}).items()},
        history=history,
        branched_from=read_source(folder).branched_from,
        failure=read_failure(folder),
    )
