"""``napari-blush train prepare``: half-maps of the EMDB or of any program to train on."""

import csv
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import torch

from napari_blush.cli.half_map_search import FoundPair, find_pairs, read_packed_map
from napari_blush.cli.report import Report
from napari_blush.cli.training_pairs_folder import PairRow, write_pairs_table
from napari_blush.data_model.training_settings import PreparationSettings
from napari_blush.denoiser.training.preparation import FittedPair, fit_pair, split_of
from napari_blush.errors import BlushError, TrainingError
from napari_blush.io.mrc import write_map

_SAME_VOXEL_SIZE = 1e-3
_CLUSTERS_TO_SPLIT = 10


@dataclass(frozen=True, slots=True)
class Placed:
    """Which cluster an entry is of, and the split of that."""

    cluster: str
    split: str


def execute(settings: PreparationSettings, options: Namespace) -> int:
    """Prepare what ``options`` names; return the exit code."""
    report = Report()
    output: Path = options.output
    clusters = {} if options.clusters is None else read_clusters(options.clusters)
    pairs = [pair for pair in find_pairs(options.sources) if pair.name]
    if not pairs:
        raise TrainingError(
            f"No half-maps were found in {', '.join(map(str, options.sources))}; wanted files such "
            "as emd_1234_half_map_1.map.gz or half1.mrc, and their other halves."
        )
    output.mkdir(parents=True, exist_ok=True)
    rows: list[PairRow] = []
    held_out = len({clusters.get(pair.name, pair.name) for pair in pairs}) >= _CLUSTERS_TO_SPLIT
    if not held_out:
        report.line("Too few pairs to hold some out: all are to be trained on.")
    for number, pair in enumerate(pairs):
        cluster = clusters.get(pair.name, pair.name)
        split = "train"
        if held_out:
            split = split_of(cluster, settings.validation_share, settings.test_share, settings.seed)
        rows.append(prepare_entry(pair, output, settings, Placed(cluster, split)))
        if rows[-1].kept != "yes":
            report.line(f"Dropped {pair.name}: {rows[-1].kept}")
        write_pairs_table(output, rows)
        report.progress.update("Preparing", number + 1, len(pairs))
    kept = [row for row in rows if row.kept == "yes"]
    counts = [f"{sum(row.split == s for row in kept)} {s}" for s in ("train", "validation", "test")]
    report.line(f"Kept {len(kept)} of {len(rows)} pairs in {output}: {', '.join(counts)}.")
    return 0 if kept else 1


def prepare_entry(
    pair: FoundPair, output: Path, settings: PreparationSettings, placed: Placed
) -> PairRow:
    """Write the maps of an entry, or find why not; return its row."""
    box_size, resolution, kept = 0, 0.0, "yes"
    try:
        fitted = _fitted(pair, settings)
        box_size, resolution = fitted.half1.shape[-1], fitted.resolution
        if settings.worst_resolution is not None and resolution > settings.worst_resolution:
            raise TrainingError(
                f"Entry {pair.name} has a resolution of {resolution:.2f} A; wanted "
                f"{settings.worst_resolution:g} A or better."
            )
        _write(output / pair.name, fitted, settings.voxel_size)
    except BlushError as problem:
        kept = " ".join(str(problem).split())
    source = pair.half1 or pair.half2
    return PairRow(
        pair.name,
        settings.voxel_size,
        box_size,
        resolution,
        placed.cluster,
        placed.split,
        "" if source is None else source.parent.name,
        kept,
    )


def read_clusters(path: Path) -> dict[str, str]:
    """Read a table of two columns, entry and cluster."""
    try:
        with path.open(newline="") as handle:
            rows = [row for row in csv.reader(handle, delimiter="\t") if row]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise TrainingError(f"The table {path} cannot be read ({problem}).") from problem
    if any(len(row) < 2 for row in rows):
        raise TrainingError(
            f"{path} has a row without a tab; wanted an entry, a tab and its cluster in each."
        )
    return {row[0]: row[1] for row in rows}


def _fitted(pair: FoundPair, settings: PreparationSettings) -> FittedPair:
    if pair.half1 is None or pair.half2 is None:
        lone = pair.half1 or pair.half2
        raise TrainingError(
            f"Entry {pair.name} has a lone half, {None if lone is None else lone.name}; wanted two "
            "half-maps."
        )
    half1, half2 = read_packed_map(pair.half1), read_packed_map(pair.half2)
    mask = None if pair.mask is None else read_packed_map(pair.mask)
    for other in (half2, mask):
        if other is not None and abs(other.voxel_size / half1.voxel_size - 1) > _SAME_VOXEL_SIZE:
            raise TrainingError(
                f"Entry {pair.name} has voxels of {half1.voxel_size:.4g} and "
                f"{other.voxel_size:.4g} A; wanted one size."
            )
    return fit_pair(
        pair.name,
        (half1.volume, half2.volume),
        None if mask is None else mask.volume,
        half1.voxel_size,
        settings.voxel_size,
    )


def _write(folder: Path, fitted: FittedPair, voxel_size: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    named = {"half1.mrc": fitted.half1, "half2.mrc": fitted.half2, "mask.mrc": fitted.mask}
    for name, volume in named.items():
        write_map(folder / name, volume, voxel_size, dtype=torch.float16)
