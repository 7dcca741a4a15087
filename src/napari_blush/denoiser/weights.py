"""Weights by name or by file: what is at hand, and a denoiser made of it. Never downloads.

``default`` is the set of shipped weights that ``shipped/default.txt`` names.
"""

from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

from napari_blush.denoiser.denoiser import Denoiser
from napari_blush.denoiser.safetensors_file import denoiser_of_safetensors
from napari_blush.denoiser.safetensors_file import save_denoiser as save_denoiser
from napari_blush.denoiser.weights_folder import (
    SUFFIXES,
    own_folder,
    read_whole,
    relion_folders,
    shipped_folder,
    weights_in,
)
from napari_blush.denoiser.weights_record import WeightsRecord
from napari_blush.errors import WeightsError

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """Weights that were found.

    Parameters
    ----------
    name : str
        What ``load_denoiser`` takes.
    path : path
    place : str
        ``shipped``, ``own`` or ``RELION's``.
    record : WeightsRecord or None
        None when the file cannot be used.
    problem : str
        Why not, as a sentence; else empty.
    is_default : bool
    """

    name: str
    path: Path | Traversable
    place: str
    record: WeightsRecord | None
    problem: str = ""
    is_default: bool = False


def load_denoiser(name_or_path: str | Path) -> Denoiser:
    """Return the denoiser of these weights, on the CPU.

    Parameters
    ----------
    name_or_path : str or path
        ``default``, a name from ``known_weights``, or a file.

    Raises
    ------
    WeightsError
        When there is no such file or name, or what is there cannot be used.
    """
    if isinstance(name_or_path, Path) or _looks_like_a_file(name_or_path):
        return _denoiser_in(Path(name_or_path).expanduser())
    name = _default_name() if name_or_path == DEFAULT else name_or_path
    for _, found in _places():
        if name in found:
            return _denoiser_in(found[name])
    known = sorted({known for _, found in _places() for known in found})
    raise WeightsError(
        f"Weights {name!r} are not known; wanted one of: {', '.join(known) or 'none are here'}; "
        "give the path of a file, or put one there with 'napari-blush weights import FILE'."
    )


def known_weights() -> list[KnownWeights]:
    """Return all weights that lie in the places that are looked at, the shipped ones first.

    Every file is read, because its record and checksum are told.
    """
    default = _stated_default()
    known: dict[str, KnownWeights] = {}
    for place, found in _places():
        for name, path in found.items():
            if name in known:
                continue
            record, problem = None, ""
            try:
                record = _denoiser_in(path).record
            except WeightsError as error:
                problem = str(error)
            known[name] = KnownWeights(name, path, place, record, problem, name == default)
    return [*known.values()]


def _places() -> list[tuple[str, dict[str, Path | Traversable]]]:
    """Return what lies where, in the order of search."""
    places = [("shipped", weights_in(shipped_folder())), ("own", weights_in(own_folder()))]
    return [*places, *(("RELION's", weights_in(folder)) for folder in relion_folders())]


def _looks_like_a_file(text: str) -> bool:
    return "/" in text or "\\" in text or text.endswith((*SUFFIXES, ".gz"))


def _stated_default() -> str | None:
    stated = shipped_folder() / "default.txt"
    return stated.read_text().strip() if stated.is_file() else None


def _default_name() -> str:
    name = _stated_default()
    if name is None:
        raise WeightsError(
            "No weights are shipped with this build, so there is no default; wanted a name or a "
            "file; give one with --denoiser ('napari-blush weights list' tells what is here, "
            "'napari-blush weights fetch relion-v1.0' gets the published ones)."
        )
    return name


def _denoiser_in(path: Path | Traversable) -> Denoiser:
    return denoiser_of_safetensors(read_whole(path), str(path))
