"""``settings.yaml``: what a run was asked for, of which particles, with which software."""

import hashlib
import platform
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

SETTINGS_NAME = "settings.yaml"

_MAY_CHANGE = frozenset(
    {"max_iterations", "device", "threads", "memory_limit", "precision", "denoiser"}
)
"""Settings that say how far and on what to run, not what the result is; and where the weights are,
which are known by their checksum."""


def write_settings(
    folder: Path, settings: RefinementSettings, particles: Particles, regularizer: str = ""
) -> None:
    """Write settings, seed, particles, what makes the references, and versions."""
    content = {
        "settings": settings.model_dump(mode="json"),
        "regularizer": regularizer,
        "particles": {"count": len(particles), "digest": _digest(particles)},
        "versions": {
            "napari-blush": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
    }
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


def check_same_run(folder: Path, settings: RefinementSettings, particles: Particles) -> None:
    """Raise unless a run with these settings and particles may go on in a folder.

    Raises
    ------
    RunFolderError
        When the folder's particles or a setting that shapes the result differ.
    """
    written = _read(folder / SETTINGS_NAME)
    before = read_settings(folder).model_dump(mode="json")
    now = settings.model_dump(mode="json")
    changed = [name for name in now if name not in _MAY_CHANGE and now[name] != before.get(name)]
    if changed:
        name = changed[0]
        raise RunFolderError(
            f"Run folder {folder} was begun with {name} = {before.get(name)} and is now to go on "
            f"with {now[name]}; wanted the same; start a new run in another folder."
        )
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
