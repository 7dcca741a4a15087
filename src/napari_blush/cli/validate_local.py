"""``napari-blush validate local``: the resolution at every place, and the map filtered by it."""

from argparse import Namespace

from napari_blush.cli.report import Report
from napari_blush.cli.validate_files import HalfMapFiles, finish, make_folder, read_halves, shown
from napari_blush.data_model.validation_settings import LocalResolutionSettings
from napari_blush.errors import SettingsError
from napari_blush.io.mrc import write_map
from napari_blush.numerics.devices import chosen_device
from napari_blush.validation.local_resolution import (
    LocalOptions,
    LocalResolution,
    local_resolution_steps,
    locally_filtered_steps,
)
from napari_blush.validation.report_sections import local_section
from napari_blush.validation.resolution import resolution_report_steps


def execute(settings: LocalResolutionSettings, options: Namespace) -> int:
    """Measure the half-maps that ``options`` names; return the exit code."""
    report = Report()
    halves = read_halves(options.half1, options.half2, settings.voxel_size, settings.mask)
    curves = resolution_report_steps(
        *halves.volumes, halves.voxel_size, mask=halves.mask, seed=settings.seed
    )
    whole = shown(report, "FSC", curves)
    asked = LocalOptions(
        window_angstrom=settings.window,
        step=settings.step,
        threshold=settings.threshold,
        randomize_at=settings.randomize_at,
        seed=settings.seed,
    )
    found = measured(halves, whole.resolution, asked, report, settings.device)
    filters = locally_filtered_steps(whole.sharpened, found.resolution, halves.voxel_size)
    filtered = shown(report, "Filters", filters)
    make_folder(options.output)
    maps = {"local_resolution.mrc": found.resolution, "locally_filtered.mrc": filtered}
    written = []
    for name, volume in maps.items():
        path = options.output / name
        write_map(path, volume, halves.voxel_size, halves.half1.origin_angstrom)
        written.append(path)
    return finish(report, options.output, "Local resolution", [local_section(found)], written)


def measured(
    halves: HalfMapFiles,
    resolution: float,
    asked: LocalOptions,
    report: Report,
    device: str = "auto",
) -> LocalResolution:
    """Measure the local resolution with its progress on the terminal."""
    place = chosen_device(device, SettingsError)
    half1, half2 = (half.to(place) for half in halves.volumes)
    steps = local_resolution_steps(half1, half2, halves.voxel_size, resolution, halves.mask, asked)
    return shown(report, "Local resolution", steps)
