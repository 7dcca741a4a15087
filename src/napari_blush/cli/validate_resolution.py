"""``napari-blush validate resolution``: what two half-maps say, with lights, for the EMDB.

Writes what ``postprocess`` writes, ``fsc_corrected.xml`` and its like, and ``report.html``.
"""

from argparse import Namespace
from pathlib import Path

from napari_blush.cli.report import Report
from napari_blush.cli.validate_files import (
    HalfMapFiles,
    finish,
    make_folder,
    read_halves,
    shown,
    trailing_mark,
)
from napari_blush.data_model.tool_settings import PostprocessSettings
from napari_blush.validation.emdb_xml import write_fsc_xml
from napari_blush.validation.half_map_checks import HalfMapReport, half_map_report_steps
from napari_blush.validation.postprocess_files import PostprocessNames, write_postprocess
from napari_blush.validation.report_sections import half_map_section
from napari_blush.validation.resolution import ResolutionReport, resolution_report_steps


def execute(settings: PostprocessSettings, options: Namespace) -> int:
    """Judge the half-maps that ``options`` names; return the exit code."""
    halves = read_halves(options.half1, options.half2, settings.voxel_size, settings.mask)
    report = Report()
    steps = resolution_report_steps(
        *halves.volumes,
        halves.voxel_size,
        mask=halves.mask if halves.mask_is_given else None,
        b_factor=settings.b_factor,
        fit_from=settings.fit_from,
        fit_to=settings.fit_to,
        seed=settings.seed,
    )
    resolution = shown(report, "FSC", steps)
    found = shown(report, "Mask and solvent", half_map_report_steps(*halves.volumes, resolution))
    make_folder(options.output)
    mask_name = None if settings.mask is None else str(settings.mask)
    names = PostprocessNames(str(options.half1), str(options.half2), mask_name)
    written = [
        *write_postprocess(options.output, resolution, names),
        *write_curves(options.output, resolution),
    ]
    section = half_map_section(found, trailing_mark(resolution.fsc.corrected))
    return finish(report, options.output, "Resolution", [section], written)


def judged_halves(halves: HalfMapFiles, seed: int, report: Report) -> HalfMapReport:
    """Return the report of half-maps as they were read."""
    mask = halves.mask if halves.mask_is_given else None
    steps = resolution_report_steps(*halves.volumes, halves.voxel_size, mask=mask, seed=seed)
    resolution = shown(report, "FSC", steps)
    return shown(report, "Mask and solvent", half_map_report_steps(*halves.volumes, resolution))


def write_curves(folder: Path, report: ResolutionReport) -> list[Path]:
    """Write each FSC curve as the EMDB takes it; return the paths."""
    curves = {
        "corrected": report.fsc.corrected,
        "masked": report.fsc.masked,
        "unmasked": report.fsc.unmasked,
        "phase_randomized": report.fsc.phase_randomized,
    }
    paths = []
    for name, fsc in curves.items():
        path = folder / f"fsc_{name}.xml"
        title = f"FSC between half-maps, {name.replace('_', ' ')}"
        write_fsc_xml(path, fsc, report.voxel_size, title)
        paths.append(path)
    return paths
