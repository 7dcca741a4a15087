"""``napari-blush validate``: all that two half-maps, a model and poses tell, on one page."""

from argparse import Namespace

from napari_blush.cli.report import Report
from napari_blush.cli.validate_angles import judged_poses
from napari_blush.cli.validate_files import finish, make_folder, read_halves, trailing_mark
from napari_blush.cli.validate_local import measured
from napari_blush.cli.validate_model import write_model_files
from napari_blush.cli.validate_resolution import judged_halves, write_curves
from napari_blush.data_model.validation_settings import ValidationSettings
from napari_blush.io.atoms import read_atoms
from napari_blush.io.mrc import MapFile, write_map
from napari_blush.validation.directional import directional_report
from napari_blush.validation.local_resolution import LocalOptions
from napari_blush.validation.model_report import model_report
from napari_blush.validation.report_sections import (
    directional_section,
    half_map_section,
    local_section,
    model_section,
)


def execute(settings: ValidationSettings, options: Namespace) -> int:
    """Judge what ``options`` and the settings name; return the exit code."""
    report = Report()
    halves = read_halves(options.half1, options.half2, settings.voxel_size, settings.mask)
    make_folder(options.output)
    size, origin = halves.voxel_size, halves.half1.origin_angstrom
    found = judged_halves(halves, settings.seed)
    written = write_curves(options.output, found.resolution)
    sections = [
        half_map_section(found, trailing_mark(found.resolution.fsc.corrected)),
        directional_section(directional_report(*halves.volumes, size, mask=halves.mask)),
    ]
    asked = LocalOptions(step=settings.step, seed=settings.seed)
    local = measured(halves, found.resolution.resolution, asked, report)
    path = options.output / "local_resolution.mrc"
    write_map(path, local.resolution, size, origin)
    written.append(path)
    sections.append(local_section(local))
    if settings.model is not None:
        given = MapFile(halves.average, size, origin)
        judged = model_report(given, read_atoms(settings.model), halves=halves.volumes)
        written += write_model_files(options.output, judged, given)
        sections.append(model_section(judged))
    if settings.particles is not None:
        sections.append(judged_poses(settings.particles, settings.symmetry).section)
    return finish(report, options.output, "Validation", sections, written)
