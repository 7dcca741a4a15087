"""``napari-blush reconstruct``: maps from the poses that particles have already."""

from argparse import Namespace
from pathlib import Path

from napari_blush.cli.particles import particles_of
from napari_blush.cli.report import Report
from napari_blush.data_model.tool_settings import ReconstructionSettings
from napari_blush.io.mrc import write_map
from napari_blush.refine.known_poses import KnownPoseMaps, reconstruct_known_poses


def execute(settings: ReconstructionSettings, options: Namespace) -> int:
    """Back-project the particles that ``options`` names; return the exit code."""
    report = Report()
    particles = particles_of(options)
    options.output.mkdir(parents=True, exist_ok=True)
    steps = reconstruct_known_poses(particles, settings)
    while True:
        try:
            report.progress.update("inserting", next(steps), len(particles))
        except StopIteration as finished:
            maps: KnownPoseMaps = finished.value
            break
    for path in write_maps(options.output, maps):
        report.line(f"Wrote {path}")
    if maps.halves is None:
        report.line("No half-maps: the particles have no rlnRandomSubset.")
    return 0


def write_maps(folder: Path, maps: KnownPoseMaps) -> list[Path]:
    """Write the map of all particles, and of each half, under RELION's names."""
    named = {"run_class001.mrc": maps.full}
    if maps.halves is not None:
        named["run_half1_class001_unfil.mrc"] = maps.halves.half1
        named["run_half2_class001_unfil.mrc"] = maps.halves.half2
    for name, volume in named.items():
        write_map(folder / name, volume, maps.voxel_size)
    return [folder / name for name in named]
