"""``napari-blush validate``: all that two half-maps, a model, poses and weights tell, on one page.

What takes refinements is shown from the folders that those commands left. What was not asked for is
named on the page, with the command that would tell.
"""

from argparse import Namespace

from napari_blush.cli.report import Report
from napari_blush.cli.validate_denoiser import judged_weights
from napari_blush.cli.validate_files import (
    finish,
    make_folder,
    read_halves,
    shown,
    trailing_mark,
)
from napari_blush.cli.validate_local import measured
from napari_blush.cli.validate_model import write_model_files
from napari_blush.cli.validate_resolution import judged_halves, write_curves
from napari_blush.data_model.validation_settings import DenoiserCheckSettings, ValidationSettings
from napari_blush.io.atoms import read_atoms
from napari_blush.io.mrc import MapFile, write_map
from napari_blush.validation.directional import directional_report_steps
from napari_blush.validation.judged_poses import judged_poses
from napari_blush.validation.kept_sections import read_sections
from napari_blush.validation.local_resolution import LocalOptions
from napari_blush.validation.model_report import model_report_steps
from napari_blush.validation.report_page import Section
from napari_blush.validation.report_sections import (
    directional_section,
    half_map_section,
    local_section,
    model_section,
)

_NOT_ASKED_FOR = {
    "model": "An atomic model, which has not seen the noise: --model, or validate-model.",
    "denoiser": "What the denoiser makes of half-maps without phases, and how steady it is: "
    "--denoiser, or validate-denoiser.",
    "overfitting": "The same refinement on images with random phases: validate-overfitting RUN "
    "PARTICLES --reference MAP --output DIR, then --overfitting DIR.",
    "bias": "What the start map alone makes of noise: validate-bias RUN PARTICLES --reference MAP "
    "--output DIR, then --bias DIR.",
    "particles": "Views and poses: --particles, or validate-angles.",
}


def execute(settings: ValidationSettings, options: Namespace) -> int:
    """Judge what ``options`` and the settings name; return the exit code."""
    report = Report()
    repeated = _repeated_runs(settings)
    halves = read_halves(options.half1, options.half2, settings.voxel_size, settings.mask)
    make_folder(options.output)
    size, origin = halves.voxel_size, halves.half1.origin_angstrom
    found = judged_halves(halves, settings.seed, report)
    written = write_curves(options.output, found.resolution)
    cones = directional_report_steps(*halves.volumes, size, mask=halves.mask)
    sections = [
        half_map_section(found, trailing_mark(found.resolution.fsc.corrected)),
        directional_section(shown(report, "Directions", cones)),
    ]
    asked = LocalOptions(step=settings.step, seed=settings.seed)
    local = measured(halves, found.resolution.resolution, asked, report, settings.device)
    path = options.output / "local_resolution.mrc"
    write_map(path, local.resolution, size, origin)
    written.append(path)
    sections.append(local_section(local))
    if settings.model is not None:
        given = MapFile(halves.average, size, origin)
        steps = model_report_steps(given, read_atoms(settings.model), halves=halves.volumes)
        judged = shown(report, "Model", steps)
        written += write_model_files(options.output, judged, given)
        sections.append(model_section(judged))
    if settings.denoiser is not None:
        of_weights = DenoiserCheckSettings(
            denoiser=settings.denoiser,
            other_denoiser=settings.other_denoiser,
            seed=settings.seed,
            device=settings.device,
            threads=settings.threads,
        )
        sections += judged_weights(halves, of_weights, report)
    sections += repeated
    if settings.particles is not None:
        sections.append(judged_poses(settings.particles, settings.symmetry).section)
    missing = [text for name, text in _NOT_ASKED_FOR.items() if getattr(settings, name) is None]
    if missing:
        sections.append(Section("Not asked for", [], notes=missing))
    return finish(report, options.output, "Validation", sections, written)


def _repeated_runs(settings: ValidationSettings) -> list[Section]:
    """Return what the commands that refine again have left, read before anything is computed."""
    sections: list[Section] = []
    if settings.overfitting is not None:
        sections += read_sections(settings.overfitting, "validate-overfitting")
    if settings.bias is not None:
        sections += read_sections(settings.bias, "validate-bias")
    return sections
