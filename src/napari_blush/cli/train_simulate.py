"""``napari-blush train-simulate``: half-map pairs of made-up experiments, to train a denoiser."""

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import torch

from napari_blush.cli.report import Report
from napari_blush.cli.simulated_pairs import simulated_pairs
from napari_blush.cli.training_pairs_folder import (
    PairRow,
    write_clusters_table,
    write_pair,
    write_pairs_table,
    write_settings,
)
from napari_blush.conventions import FSC_GOLD_STANDARD
from napari_blush.data_model.experiment_settings import ExperimentSettings
from napari_blush.errors import SettingsError
from napari_blush.io.structure_library import StructureLibrary
from napari_blush.numerics.correlation import fourier_shell_correlation, resolution_at
from napari_blush.simulation.experiment_plan import box_for
from napari_blush.simulation.half_map_pairs import HalfMapPair
from napari_blush.simulation.structure_splits import split_clusters
from napari_blush.simulation.structures import Structure

_SEEDS_APART = 1_000_003
_CLUSTER_SHARE = 0.12
"""Share of a folder's entries that one cluster may have."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A structure that an entry is made of."""

    name: str
    cluster: str
    structure: Structure


def execute(settings: ExperimentSettings, options: Namespace) -> int:
    """Fill the folder that ``options`` names; return the exit code."""
    report = Report()
    library = StructureLibrary(options.models, options.clusters)
    splits = split_clusters(
        library.clusters,
        validation_share=settings.validation_share,
        test_share=settings.test_share,
        seed=settings.split_seed,
    )
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    write_settings(folder, settings)
    write_clusters_table(folder, library.clusters, splits)
    rows: list[PairRow] = []
    for number, chosen in enumerate(choose_structures(library, settings)):
        generator = torch.Generator().manual_seed(settings.seed * _SEEDS_APART + number)
        for made in simulated_pairs(chosen.structure, settings, generator):
            entry = f"{chosen.name}_{number:04d}{made.suffix}"
            write_pair(folder, entry, made.pair)
            rows.append(_row(entry, made.pair, chosen, splits[chosen.cluster], settings))
        write_pairs_table(folder, rows)
        report.progress.update("Simulating", number + 1, settings.n_entries)
    report.line(_summary(rows, folder))
    return 0


def choose_structures(library: StructureLibrary, settings: ExperimentSettings) -> Iterator[Chosen]:
    """Yield as many structures of fitting size as there are to be entries.

    The library is gone through in a drawn order, again and again; a cluster that has had its share
    of the entries is passed over.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    limit = max(1, round(_CLUSTER_SHARE * settings.n_entries))
    used: dict[str, int] = {}
    fitting = 0
    made = 0
    while made < settings.n_entries:
        fitting = 0
        for index in torch.randperm(len(library), generator=generator).tolist():
            name = library.ids[index]
            cluster = library.clusters[name]
            structure = Structure(*library.atoms(index))
            if not _fits(structure, settings) or used.get(cluster, 0) >= limit:
                continue
            fitting += 1
            used[cluster] = used.get(cluster, 0) + 1
            yield Chosen(name, cluster, structure)
            made += 1
            if made == settings.n_entries:
                return
        if fitting == 0:
            raise SettingsError(
                f"{made} of {settings.n_entries} entries could be made of {len(library)} "
                f"structures; wanted enough of {settings.mass_min:g} to {settings.mass_max:g} kDa "
                "that fit the box and are not all of a few clusters; ask for fewer entries."
            )


def _fits(structure: Structure, settings: ExperimentSettings) -> bool:
    right_mass = settings.mass_min <= structure.mass_kda <= settings.mass_max
    return right_mass and box_for(structure.diameter, settings) is not None


def _row(
    entry: str, pair: HalfMapPair, chosen: Chosen, split: str, settings: ExperimentSettings
) -> PairRow:
    box_size = pair.half1.shape[-1]
    fsc = fourier_shell_correlation(pair.half1, pair.half2)
    resolution = resolution_at(fsc, FSC_GOLD_STANDARD, box_size, pair.voxel_size)
    return PairRow(
        entry=entry,
        voxel_size=pair.voxel_size,
        box_size=box_size,
        resolution_angstrom=resolution,
        cluster=chosen.cluster,
        split=split,
        source=f"simulated {settings.level}",
        kept="yes" if isfinite(resolution) else "the halves have nothing in common",
    )


def _summary(rows: list[PairRow], folder: Path) -> str:
    counts = {
        split: sum(row.split == split for row in rows) for split in ("train", "validation", "test")
    }
    words = ", ".join(f"{count} to {split}" for split, count in counts.items() if split == "train")
    held = ", ".join(f"{count} for {split}" for split, count in counts.items() if split != "train")
    return f"Wrote {len(rows)} half-map pairs to {folder}: {words}, {held}."
