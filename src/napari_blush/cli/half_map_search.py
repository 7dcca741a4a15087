"""Finds pairs of half-maps, and their masks, by the names that programs and the EMDB give them.

``emd_1234_half_map_1.map.gz``, ``run_half2_class001_unfil.mrc``, ``half1.mrc`` and the like; a mask
lies beside and has ``mask`` or ``msk`` in its name.
"""

import gzip
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from napari_blush.errors import MrcFileError
from napari_blush.io.mrc import MapFile, read_map

_SUFFIXES = (".mrc", ".map", ".ccp4", ".mrc.gz", ".map.gz", ".ccp4.gz")
_HALF = re.compile(r"half[_-]?(?:map)?[_-]?([12])(?!\d)", re.IGNORECASE)
_MASK = re.compile(r"(mask|msk)", re.IGNORECASE)
_EMDB = re.compile(r"emd[_-]?(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FoundPair:
    """The files of one entry; a half that was not found is None."""

    name: str
    half1: Path | None
    half2: Path | None
    mask: Path | None


def find_pairs(sources: Iterable[Path]) -> list[FoundPair]:
    """Return what looks like half-maps in folders and all folders in them, by name."""
    halves: dict[tuple[Path, str], dict[str, Path]] = {}
    masks: dict[Path, list[Path]] = {}
    for source in sources:
        for path in sorted(source.rglob("*")):
            if not path.name.lower().endswith(_SUFFIXES) or not path.is_file():
                continue
            found = _HALF.search(path.name)
            if found:
                stem = path.name[: found.start(1)] + "#" + path.name[found.end(1) :]
                key = path.parent, stem.removesuffix(".gz")
                halves.setdefault(key, {}).setdefault(found.group(1), path)
            elif _MASK.search(path.name):
                masks.setdefault(path.parent, []).append(path)
    pairs: list[FoundPair] = []
    taken: set[str] = set()
    for (folder, stem), files in halves.items():
        name = _unused(_name(folder, stem), taken)
        mask = _mask_of(stem, masks.get(folder, []))
        pairs.append(FoundPair(name, files.get("1"), files.get("2"), mask))
    return pairs


def read_packed_map(path: Path) -> MapFile:
    """Read a map that may be gzipped.

    Raises
    ------
    MrcFileError
        As ``read_map``, and when the file is not whole.
    """
    if path.suffix.lower() != ".gz":
        return read_map(path)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.name[: -len(".gz")]
        try:
            with gzip.open(path, "rb") as packed, plain.open("wb") as handle:
                shutil.copyfileobj(packed, handle)
        except (OSError, EOFError) as problem:
            raise MrcFileError(
                f"{path} cannot be unpacked ({problem}); wanted a whole gzip file; get it again."
            ) from problem
        return read_map(plain)


def _name(folder: Path, stem: str) -> str:
    entry = _EMDB.search(stem) or _EMDB.fullmatch(folder.name)
    if entry:
        return f"emd_{entry.group(1)}"
    rest = _HALF.sub("", stem.replace("#", "1")).rsplit(".", 1)[0]
    rest = re.sub("_+", "_", rest).strip("_-. ")
    name = f"{folder.name}_{rest}" if rest else folder.name
    return re.sub(r"[^\w.+-]", "_", name)


def _unused(name: str, taken: set[str]) -> str:
    number, unused = 1, name
    while unused in taken:
        number += 1
        unused = f"{name}_{number}"
    taken.add(unused)
    return unused


def _mask_of(stem: str, masks: list[Path]) -> Path | None:
    """Return the mask beside a pair: that of its EMDB number, or the only one."""
    entry = _EMDB.search(stem)
    if entry:
        numbered = [path for path in masks if entry.group(0).lower() in path.name.lower()]
        masks = numbered or [path for path in masks if not _EMDB.search(path.name)]
    return masks[0] if len(masks) == 1 else None
