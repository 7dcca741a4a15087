"""``napari-blush validate overfitting``: the same refinement on images with random phases.

A finished run is run again: same settings, same halves, same start map, but beyond a resolution the
phases of every image are random (Chen et al. 2013). Both FSC families are drawn together. The
repeated run is a run folder like any other, and its map is no result.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_blush.cli.follow import follow
from napari_blush.cli.particles import particles_of
from napari_blush.cli.refine import termination_as_interrupt
from napari_blush.cli.report import Report
from napari_blush.cli.validate_files import finish
from napari_blush.conventions import Volume
from napari_blush.data_model.particles import Particles
from napari_blush.data_model.results import Outcome, RefinementResult
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.data_model.validation_settings import ImageRandomizationSettings
from napari_blush.errors import RunFolderError
from napari_blush.io.mrc import MapFile, read_map
from napari_blush.io.run_folder import RunWriter
from napari_blush.io.run_history import read_history
from napari_blush.io.run_settings import read_settings
from napari_blush.numerics.masks import soft_mask_from_volume
from napari_blush.numerics.shells import resolution_to_shell
from napari_blush.refine.keeping import RunKeeper
from napari_blush.refine.run import run
from napari_blush.validation.kept_sections import write_sections
from napari_blush.validation.overfitting import (
    OverfittingVerdict,
    overfitting_verdict,
    phase_randomized_particles,
    suggested_randomization,
)
from napari_blush.validation.report_sections import verdict_section


def execute(settings: ImageRandomizationSettings, options: Namespace) -> int:
    """Repeat the run that ``options`` names and judge both; return the exit code."""
    report = Report()
    before = last_line(options.run)
    size = float(before["voxel_size"])
    beyond = settings.randomize_at or suggested_randomization(curve(before, "unmasked"), size)
    report.line(f"Phases of all images are random beyond {beyond:.2f} A.")
    particles = phase_randomized_particles(particles_of(options), beyond, settings.seed)
    wanted = repeated_settings(read_settings(options.run), settings)
    reference = read_map(options.reference)
    result = run_again(wanted, particles, reference, options.output, report)
    if result.outcome in (Outcome.FAILED, Outcome.CANCELLED):
        return 1
    used = mask_of(wanted, result.half_maps.mean(), size)
    verdict = judged(before, last_line(options.output), beyond, used)
    trailing = "with" if wanted.spectral_trailing else "without"
    section = verdict_section(
        "Images with random phases",
        verdict,
        size,
        notes=[
            f"Phases random beyond {beyond:.2f} A; regularizer {wanted.regularizer}, {trailing} "
            "spectral trailing. Solvent-corrected curves of the last iterations."
        ],
        marks=last_trailing(options.run),
    )
    kept = write_sections(options.output, "validate-overfitting", [section])
    return finish(report, options.output, "Overfitting", [section], [kept])


def run_again(
    wanted: RefinementSettings,
    particles: Particles,
    reference: MapFile,
    output: Path,
    report: Report,
) -> RefinementResult:
    """Refine other images of the same particles; the output is a run folder like any other."""
    mask = None if wanted.solvent_mask is None else read_map(wanted.solvent_mask)
    with RunWriter(output, wanted, particles) as writer:
        events = run(
            wanted,
            particles,
            (reference.volume, reference.voxel_size),
            mask=None if mask is None else (mask.volume, mask.voxel_size),
        )
        with termination_as_interrupt():
            keeper = RunKeeper(writer)
            return follow(events, keeper, report, keeper.last_whole)


def mask_of(settings: RefinementSettings, average: Volume, voxel_size: float) -> Volume:
    """Return the mask of a run, or one drawn around a map on the same grid."""
    if settings.solvent_mask is not None:
        given = read_map(settings.solvent_mask).volume
        if given.shape == average.shape:
            return given
    return soft_mask_from_volume(average, voxel_size)


def last_trailing(folder: Path) -> dict[str, int]:
    """Return where spectral trailing last ended a run's references, as a mark of a plot."""
    shells = [line["cutoff_shell"] for line in read_history(folder) if line.get("cutoff_shell")]
    return {"trailing": int(shells[-1])} if shells else {}


def last_line(folder: Path) -> dict[str, Any]:
    """Return the last iteration of a run's history.

    Raises
    ------
    RunFolderError
        When there is none.
    """
    lines = read_history(folder)
    if not lines:
        raise RunFolderError(
            f"{folder} holds no iteration of a run; wanted the folder of a finished refinement; "
            "check the path."
        )
    return lines[-1]


def curve(line: dict[str, Any], name: str) -> Tensor:
    """Return an FSC curve of a line of a history; shells that were not finite are 0."""
    values = [0.0 if value is None else value for value in line["fsc"][name]]
    return torch.tensor(values, dtype=torch.float32)


def repeated_settings(
    before: RefinementSettings, asked: ImageRandomizationSettings
) -> RefinementSettings:
    """Return the settings of a run with what was asked to differ."""
    changes: dict[str, Any] = {"threads": asked.threads}
    if asked.device is not None:
        changes["device"] = asked.device
    if not asked.keep_trailing:
        changes["spectral_trailing"] = False
    if asked.max_iterations is not None:
        changes["max_iterations"] = asked.max_iterations
    return before.model_copy(update=changes)


def judged(
    before: dict[str, Any], after: dict[str, Any], beyond: float, mask: Tensor
) -> OverfittingVerdict:
    """Judge the corrected curves of a run and of its phase-randomized twin."""
    fsc_t, fsc_n = curve(before, "corrected"), curve(after, "corrected")
    size = float(before["voxel_size"])
    from_shell = max(1, round(resolution_to_shell(beyond, 2 * (len(fsc_t) - 1), size)))
    return overfitting_verdict(fsc_t, fsc_n, from_shell, size, mask=mask)
