"""``settings.yaml``: what a run was asked for, of which particles, with which software."""

import hashlib
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from napari_blush import __version__
from napari_blush.data_model.particles import Particles
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import RunFolderError
from napari_blush.io.atomic import write_bytes
from napari_blush.io.run_history import read_history

SETTINGS_NAME = "settings.yaml"

_MAY_CHANGE = frozenset(
    {"max_iterations", "device", "threads", "memory_limit", "precision", "denoiser"}
)
"""Settings that say how far and on what to run, not what the result is; and where the weights are,
which are known by their checksum."""


@dataclass(frozen=True, slots=True)
class RunSource:
    """What a run was started from.

    Parameters
    ----------
    particles, reference, image_root, passthrough : Path or None
        Files, as far as they are known; kept as absolute paths.
    branched_from : (Path, int) or None
        Run folder and iteration that the run went on from.
    """

    particles: Path | None = None
    reference: Path | None = None
    image_root: Path | None = None
    passthrough: Path | None = None
    branched_from: tuple[Path, int] | None = None


_FILES = ("particles", "reference", "image_root", "passthrough")


def write_settings(
    folder: Path,
    settings: RefinementSettings,
    particles: Particles,
    regularizer: str = "",
    source: RunSource | None = None,
) -> None:
    """Write settings, seed, particles, what makes the references, where from, and versions."""
    source = RunSource() if source is None else source
    files = {name: getattr(source, name) for name in _FILES}
    content: dict[str, Any] = {
        "settings": settings.model_dump(mode="json"),
        "source": {name: str(path.absolute()) for name, path in files.items() if path},
        "regularizer": regularizer,
        "particles": {"count": len(particles), "digest": _digest(particles)},
        "versions": {
            "napari-blush": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
    }
    if source.branched_from is not None:
        parent, iteration = source.branched_from
        content["branched_from"] = {"folder": str(parent.absolute()), "iteration": iteration}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_bytes(folder / SETTINGS_NAME, text.encode(), RunFolderError)


def read_settings(folder: str | Path) -> RefinementSettings:
    """Return the settings that a run folder was made with.

    Raises
    ------
    RunFolderError
        When there are none or they cannot be understood.
    """
    path = Path(folder) / SETTINGS_NAME
    try:
        return RefinementSettings.model_validate(_read(path)["settings"])
    except ValueError as problem:
        raise RunFolderError(
            f"{path} holds settings that this version does not know "
            f"({' '.join(str(problem).split())}); start a new run in another folder."
        ) from problem


def read_source(folder: str | Path) -> RunSource:
    """Return what a run was started from, as far as its folder says.

    Raises
    ------
    RunFolderError
        When there are no settings or they cannot be read.
    """
    content = _read(Path(folder) / SETTINGS_NAME)
    files = content.get("source") or {}
    parent = content.get("branched_from")
    return RunSource(
        **{name: Path(files[name]) for name in _FILES if name in files},
        branched_from=None if not parent else (Path(parent["folder"]), int(parent["iteration"])),
    )


def read_run_facts(folder: str | Path) -> tuple[int, str]:
    """Return the number of particles of a run, and what makes its references."""
    content = _read(Path(folder) / SETTINGS_NAME)
    count = (content.get("particles") or {}).get("count", 0)
    return int(count), str(content.get("regularizer", ""))


def settings_at(folder: str | Path, iteration: int | None = None) -> RefinementSettings:
    """Return the settings in force after an iteration: those it was begun with, and what changed.

    Parameters
    ----------
    folder : path
    iteration : int, optional
        The last one by default.

    Raises
    ------
    RunFolderError
        When they cannot be read.
    """
    folder = Path(folder)
    settings = read_settings(folder)
    changed = _changed_values(folder, iteration)
    return RefinementSettings.model_validate({**settings.model_dump(), **changed})


def settings_to_go_on(folder: Path, given: RefinementSettings) -> RefinementSettings:
    """Return the settings given, with what was changed since where they are as at the beginning."""
    begun = read_settings(folder)
    changed = {
        name: value
        for name, value in _changed_values(folder, None).items()
        if getattr(given, name) == getattr(begun, name)
    }
    return RefinementSettings.model_validate({**given.model_dump(), **changed})


def settings_as_begun(folder: Path, given: RefinementSettings) -> RefinementSettings:
    """Return what a run was begun with, but for settings that say on what it runs and how far."""
    changed = {name: getattr(given, name) for name in _MAY_CHANGE}
    return read_settings(folder).model_copy(update=changed)


def _changed_values(folder: Path, iteration: int | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for line in read_history(folder):
        if iteration is not None and line["iteration"] > iteration:
            break
        for change in line.get("changes", ()):
            values.update(change.get("values", {}))
            if "mask" in change:
                values["solvent_mask"] = folder / change["mask"]
    return values


def check_same_run(folder: Path, settings: RefinementSettings, particles: Particles) -> None:
    """Raise unless a run with these settings and particles may go on in a folder.

    Raises
    ------
    RunFolderError
        When the folder's particles or a setting that shapes the result differ.
    """
    written = _read(folder / SETTINGS_NAME)
    before = read_settings(folder).model_dump(mode="json")
    in_force = settings_at(folder).model_dump(mode="json")
    now = settings.model_dump(mode="json")
    changed = [
        name
        for name, value in now.items()
        if name not in _MAY_CHANGE and value not in (before[name], in_force[name])
    ]
    if changed:
        name = changed[0]
        raise RunFolderError(
            f"Run folder {folder} was begun with {name} = {before.get(name)} and is now to go on "
            f"with {now[name]}; wanted the same; start a new run in another folder."
        )
    _check_particles(folder, written, particles)


def check_same_particles(folder: Path, particles: Particles) -> None:
    """Raise unless these are the particles of the run in a folder.

    Raises
    ------
    RunFolderError
    """
    _check_particles(folder, _read(folder / SETTINGS_NAME), particles)


def _check_particles(folder: Path, written: dict[str, Any], particles: Particles) -> None:
    known = written.get("particles") or {}
    if known.get("count") != len(particles) or known.get("digest") != _digest(particles):
        raise RunFolderError(
            f"Run folder {folder} was begun with {known.get('count')} other particles than the "
            f"{len(particles)} given now; wanted the same; start a new run in another folder."
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as problem:
        raise RunFolderError(
            f"{path} cannot be read; wanted the settings of the run that is to go on; start a new "
            "run in another folder."
        ) from problem
    if not isinstance(content, dict) or not isinstance(content.get("settings"), dict):
        raise RunFolderError(f"{path} holds no settings; start a new run in another folder.")
    return content


def _digest(particles: Particles) -> str:
    """Return a fingerprint of which images these are, and in which order."""
    names = particles.columns.get("rlnImageName")
    text = "\n".join(map(str, names)) if names is not None else str(len(particles))
    return hashlib.sha256(text.encode("utf-8", errors="surrogateescape")).hexdigest()
