"""Weights by name or by file: what is at hand, and a denoiser made of it. Never downloads.

``default`` is the set of shipped weights that ``shipped/default.txt`` names. Names of files that
RELION fetched begin with ``relion-``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources.abc import Traversable
from pathlib import Path

from napari_blush.denoiser.denoiser import Denoiser
from napari_blush.denoiser.published import PUBLISHED, check_published
from napari_blush.denoiser.relion_bundle import denoiser_of_bundle
from napari_blush.denoiser.safetensors_file import denoiser_of_safetensors
from napari_blush.denoiser.safetensors_file import save_denoiser as save_denoiser
from napari_blush.denoiser.weights_folder import (
    SUFFIXES,
    own_folder,
    read_whole,
    relion_folders,
    shipped_folder,
    weights_in,
    whole_or_absent,
)
from napari_blush.denoiser.weights_record import WeightsRecord
from napari_blush.errors import WeightsError

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """Weights that are here, or could be fetched.

    Parameters
    ----------
    name : str
        What ``load_denoiser`` takes.
    path : path or None
        None for published weights that are not here.
    place : str
        ``shipped``, ``own``, ``RELION's`` or ``not here``.
    record : WeightsRecord or None
        None when there is no file, or it cannot be used.
    problem : str
        Why it cannot be used, as a sentence; else empty.
    is_default : bool
    """

    name: str
    path: Path | Traversable | None
    place: str
    record: WeightsRecord | None
    problem: str = ""
    is_default: bool = False


def load_denoiser(name_or_path: str | Path) -> Denoiser:
    """Return the denoiser of these weights, on the CPU.

    Parameters
    ----------
    name_or_path : str or path
        ``default``, a name from ``known_weights``, or a file: our safetensors, or a bundle of the
        published release's form (``.ckpt`` or ``.ckpt.gz``).

    Raises
    ------
    WeightsError
        When there is no such file or name, or what is there cannot be used.
    """
    if isinstance(name_or_path, Path) or _looks_like_a_file(name_or_path):
        return _denoiser_in(Path(name_or_path).expanduser())
    name = _default_name() if name_or_path == DEFAULT else name_or_path
    places = _places()
    for _, found in places:
        if name in found:
            return _denoiser_named(name, found[name])
    known = ", ".join(sorted({known for _, found in places for known in found}))
    if name in PUBLISHED:
        raise WeightsError(
            f"The weights {name} are not here; wanted {PUBLISHED[name].file_name} in "
            f"{own_folder()}; 'napari-blush weights fetch {name}' gets it from "
            f"{PUBLISHED[name].url}; known here: {known or 'none'}."
        )
    if Path(name).is_file():  # last: no file of that name takes the place of known weights
        return _denoiser_in(Path(name))
    raise WeightsError(
        f"Weights {name!r} are not known; wanted one of: {known or 'none are here'}; give the path "
        "of a file, or put one in place with 'napari-blush weights import FILE'."
    )


def known_weights() -> list[KnownWeights]:
    """Return all weights that lie in the places that are looked at, the shipped ones first.

    Every file is read, because its record and checksum are told. Published weights that are
    not here come last.
    """
    default = _stated_default()
    known: dict[str, KnownWeights] = {}
    for place, found in _places():
        for name, path in found.items():
            if name in known:
                continue
            record, problem = None, ""
            try:
                record = _denoiser_named(name, path).record
            except WeightsError as error:
                problem = str(error)
            known[name] = KnownWeights(name, path, place, record, problem, name == default)
    for name in PUBLISHED.keys() - known.keys():
        known[name] = KnownWeights(name, None, "not here", None)
    return [*known.values()]


def import_weights(path: Path, name: str | None = None) -> Path:
    """Copy a weight file into the user's folder, after it was loaded; return the copy.

    Parameters
    ----------
    path : Path
    name : str, optional
        What it will be called; default: the name of published weights whose file it is, else its
        own file name without the suffix.

    Raises
    ------
    WeightsError
        When it cannot be used, or another file has that name already.
    """
    content = read_whole(path)
    record = _denoiser_of(content, str(path)).record
    suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), "")
    suffix = suffix or (".ckpt.gz" if path.name.endswith(".gz") else ".ckpt")
    name = name or _published_name(record.sha256) or path.name.removesuffix(suffix)
    if not re.fullmatch(r"\w[\w.+-]*", name) or name in (DEFAULT, *weights_in(shipped_folder())):
        raise WeightsError(
            f"{path} was to be called {name!r}; wanted a name of letters, digits, '.', '+' and '-' "
            "that is not taken by shipped weights; choose another one with --name."
        )
    if name in PUBLISHED:
        check_published(name, record.sha256, str(path))
    existing = weights_in(own_folder()).get(name)
    if existing is not None and read_whole(existing) != content:
        raise WeightsError(
            f"{existing} is there already and differs from {path}; wanted a new name; choose one "
            "with --name, or remove that file first."
        )
    target = own_folder() / (name + suffix)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise WeightsError(
            f"Cannot make the folder {target.parent}: {problem.strerror}; choose another one in "
            "NAPARI_BLUSH_WEIGHTS."
        ) from problem
    with whole_or_absent(target) as temporary:
        temporary.write_bytes(content)
    return target


def _places() -> list[tuple[str, Mapping[str, Path | Traversable]]]:
    """Return what lies where, in the order of search."""
    relion = [weights_in(folder) for folder in relion_folders()]
    return [
        ("shipped", weights_in(shipped_folder())),
        ("own", weights_in(own_folder())),
        *(("RELION's", {f"relion-{n}": path for n, path in found.items()}) for found in relion),
    ]


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


def _denoiser_named(name: str, path: Path | Traversable) -> Denoiser:
    """Load weights that were found under a name, and hold published ones to their checksum."""
    denoiser = _denoiser_in(path)
    record = replace(denoiser.record, name=name)
    if name in PUBLISHED:
        weights = PUBLISHED[name]
        # Only the packed file's checksum is published; RELION keeps the file unpacked.
        if path.name.endswith(weights.suffix):
            check_published(name, record.sha256, str(path))
        record = replace(record, version=weights.version, description=weights.description)
    return replace(denoiser, record=record)


def _published_name(sha256: str) -> str | None:
    return next((name for name, known in PUBLISHED.items() if known.sha256 == sha256), None)


def _denoiser_in(path: Path | Traversable) -> Denoiser:
    return _denoiser_of(read_whole(path), str(path))


def _denoiser_of(content: bytes, where: str) -> Denoiser:
    if where.endswith(".safetensors"):
        return denoiser_of_safetensors(content, where)
    return denoiser_of_bundle(content, where)
