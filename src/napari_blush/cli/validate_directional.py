"""``napari-blush validate directional``: conical FSC of two half-maps."""

from argparse import Namespace

from napari_blush.cli.report import Report
from napari_blush.cli.validate_files import finish, make_folder, read_halves, shown
from napari_blush.data_model.validation_settings import DirectionalSettings
from napari_blush.validation.directional import directional_report_steps
from napari_blush.validation.report_sections import directional_section


def execute(settings: DirectionalSettings, options: Namespace) -> int:
    """Compare the half-maps that ``options`` names; return the exit code."""
    halves = read_halves(options.half1, options.half2, settings.voxel_size, settings.mask)
    report = Report()
    steps = directional_report_steps(
        *halves.volumes,
        halves.voxel_size,
        mask=halves.mask,
        healpix_order=settings.healpix_order,
    )
    found = shown(report, "Directions", steps)
    make_folder(options.output)
    return finish(report, options.output, "Directions", [directional_section(found)])
