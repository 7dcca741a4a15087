"""A folder of half-map pairs to train on, as the simulator writes it.

::

    DIR/pairs.tsv              one row for each entry
    DIR/clusters.tsv           the split of every cluster, with its structures
    DIR/settings.yaml          what it was made with
    DIR/ENTRY/half1.mrc        float16, as are the others
    DIR/ENTRY/half2.mrc
    DIR/ENTRY/mask.mrc
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
import yaml

from napari_blush import __version__
from napari_blush.data_model.experiment_settings import ExperimentSettings
from napari_blush.errors import MrcFileError
from napari_blush.io.atomic import atomic_write
from napari_blush.io.mrc import write_map
from napari_blush.simulation.half_map_pairs import HalfMapPair

PAIRS_NAME = "pairs.tsv"
CLUSTERS_NAME = "clusters.tsv"


@dataclass(frozen=True, slots=True)
class PairRow:
    """One row of ``pairs.tsv``; the fields are its columns.

    Parameters
    ----------
    entry : str
        Name of the sub-folder.
    voxel_size : float
        Angstrom.
    box_size : int
    resolution_angstrom : float
        FSC 0.143 between the halves, no mask.
    cluster : str
        Of the structure; entries of one cluster have one split.
    split : {"train", "validation", "test"}
    source : str
        Where the pair is from.
    kept : str
        ``yes``, or why the entry is not to be used.
    """

    entry: str
    voxel_size: float
    box_size: int
    resolution_angstrom: float
    cluster: str
    split: str
    source: str
    kept: str = "yes"


COLUMNS = tuple(field.name for field in fields(PairRow))


def write_pair(folder: Path, entry: str, pair: HalfMapPair) -> None:
    """Write the three maps of an entry as float16."""
    (folder / entry).mkdir(parents=True, exist_ok=True)
    named = {"half1.mrc": pair.half1, "half2.mrc": pair.half2, "mask.mrc": pair.mask}
    for name, volume in named.items():
        write_map(folder / entry / name, volume, pair.voxel_size, dtype=torch.float16)


def write_pairs_table(folder: Path, rows: Sequence[PairRow]) -> None:
    """Write ``pairs.tsv``, whole or not at all."""
    lines = ["\t".join(COLUMNS)]
    lines += ["\t".join(_text(getattr(row, name)) for name in COLUMNS) for row in rows]
    _write(folder / PAIRS_NAME, lines)


def write_clusters_table(
    folder: Path, clusters: Mapping[str, str], splits: Mapping[str, str]
) -> None:
    """Write ``clusters.tsv``: cluster, split, and the structures in it."""
    members: dict[str, list[str]] = {cluster: [] for cluster in sorted(splits)}
    for name, cluster in clusters.items():
        members[cluster].append(name)
    lines = ["cluster\tsplit\tstructures"]
    lines += [
        f"{cluster}\t{splits[cluster]}\t{' '.join(names)}" for cluster, names in members.items()
    ]
    _write(folder / CLUSTERS_NAME, lines)


def write_settings(folder: Path, settings: ExperimentSettings) -> None:
    """Write ``settings.yaml``, which ``--settings`` reads."""
    content = {"version": __version__, "settings": settings.model_dump(mode="json")}
    _write(folder / "settings.yaml", yaml.safe_dump(content, sort_keys=False).splitlines())


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write(path: Path, lines: Sequence[str]) -> None:
    with atomic_write(path, MrcFileError) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
