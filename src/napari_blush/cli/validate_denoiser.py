"""``napari-blush validate denoiser``: what agreement a network makes out of nothing.

The phases of both half-maps are randomized beyond a resolution, apart from one another, and both
are denoised. Whatever agreement the denoised twins have beyond it, above that of the twins as they
were, the network put in. The half-maps themselves are denoised too, to compare; then again and
again, after movements of the network's grid, and with other weights where some are named.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from napari_blush.cli.denoise import threads
from napari_blush.cli.report import Report
from napari_blush.cli.validate_files import (
    HalfMapFiles,
    finish,
    make_folder,
    read_halves,
    trailing_mark,
)
from napari_blush.conventions import Volume
from napari_blush.data_model.validation_settings import DenoiserCheckSettings
from napari_blush.denoiser.denoiser import Denoiser
from napari_blush.denoiser.inference import DenoiseOptions, denoise_volume
from napari_blush.denoiser.weights import load_denoiser
from napari_blush.errors import SettingsError
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.devices import chosen_device
from napari_blush.numerics.solvent_correction import solvent_corrected_fsc
from napari_blush.validation.denoiser_checks import (
    change_plot,
    confirmation_check,
    stability_section,
)
from napari_blush.validation.denoiser_stability import (
    MOVES,
    Denoise,
    deviation,
    moved,
    recycling,
    shell_change,
)
from napari_blush.validation.denoiser_twins import judged_twins, phase_randomized_twins
from napari_blush.validation.report_page import Section
from napari_blush.validation.report_sections import fsc_plot, verdict_section


def execute(settings: DenoiserCheckSettings, options: Namespace) -> int:
    """Test the denoiser on the half-maps that ``options`` names; return the exit code."""
    report = Report()
    halves = read_halves(options.half1, options.half2, settings.voxel_size, settings.mask)
    sections = judged_weights(halves, settings, report)
    make_folder(options.output)
    return finish(report, options.output, "Denoiser", sections)


def judged_weights(
    halves: HalfMapFiles, settings: DenoiserCheckSettings, report: Report
) -> list[Section]:
    """Load the weights that the settings name; return what they add, change, and how steadily."""
    denoiser = _loaded(settings.denoiser, settings)
    other = None
    if settings.other_denoiser is not None:
        other = _loaded(settings.other_denoiser, settings)
    report.line(f"Weights {denoiser.record}.")
    with threads(settings.threads):
        return judged_denoiser(halves, denoiser, settings, report, other)


def judged_denoiser(
    halves: HalfMapFiles,
    denoiser: Denoiser,
    settings: DenoiserCheckSettings,
    report: Report,
    other: Denoiser | None = None,
) -> list[Section]:
    """Return what the denoiser adds and changes, and, where it is asked for, how steadily."""
    denoise = _denoise(denoiser, halves.voxel_size, settings)
    first, second = _all(denoise, halves.volumes, halves.mask, report, "Denoising half-maps")
    made = (first, second)
    sections = [_twins(halves, made, denoise, denoiser.record.name, settings, report)]
    if settings.steadiness:
        sections.append(_steadiness(halves, made, denoise, settings, report, other))
    return sections


def tested(
    halves: HalfMapFiles, denoiser: Denoiser, settings: DenoiserCheckSettings, report: Report
) -> Section:
    """Denoise half-maps and their phase-randomized twins, and judge what the twins gain."""
    alone = settings.model_copy(update={"steadiness": False})
    return judged_denoiser(halves, denoiser, alone, report)[0]


def _loaded(name: str, settings: DenoiserCheckSettings) -> Denoiser:
    return load_denoiser(name).to(chosen_device(settings.device, SettingsError))


def _denoise(denoiser: Denoiser, voxel_size: float, settings: DenoiserCheckSettings) -> Denoise:
    def denoise(volume: Volume, mask: Volume) -> Volume:
        options = DenoiseOptions(mask=mask, particle_diameter=settings.particle_diameter)
        return denoise_volume(volume, voxel_size, denoiser, options).volume.cpu()

    return denoise


def _all(
    denoise: Denoise, volumes: Sequence[Volume], mask: Volume, report: Report, stage: str
) -> list[Volume]:
    made = []
    for done, volume in enumerate(volumes):
        report.progress.update(stage, done, len(volumes))
        made.append(denoise(volume, mask))
    report.progress.close()
    return made


def _corrected(halves: HalfMapFiles, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return solvent_corrected_fsc(*halves.volumes, halves.mask, generator, n_draws=3).corrected


def _twins(
    halves: HalfMapFiles,
    made: tuple[Volume, Volume],
    denoise: Denoise,
    weights: str,
    settings: DenoiserCheckSettings,
    report: Report,
) -> Section:
    size, mask = halves.voxel_size, halves.mask
    twins, beyond = phase_randomized_twins(
        halves.volumes, size, settings.randomize_at, settings.seed
    )
    stage = "Denoising their phase-randomized twins"
    first, second = _all(denoise, twins, mask, report, stage)
    found = judged_twins(made, twins, (first, second), mask, size, beyond)
    verdict = found.verdict

    def between(a: Tensor, b: Tensor) -> Tensor:
        return fourier_shell_correlation(a * mask, b * mask)

    marks = trailing_mark(_corrected(halves, settings.seed))
    as_given, confirmed = between(*halves.volumes), between(made[0], halves.half2.volume)
    section = verdict_section(
        "Denoiser",
        verdict,
        size,
        checks=[confirmation_check(as_given, confirmed, marks["trailing"])],
        marks=marks,
        more={"twins before": found.fsc_before, "twins denoised": found.fsc_after},
        notes=[
            f"Weights {weights}; phases randomized beyond {beyond:.2f} A. FSC_t: of "
            "the denoised half-maps; FSC_n: what the twins gain by denoising. Next: each half "
            "with the raw map of the other, as given and denoised; then what denoising changes "
            "of a half-map. References end at the line (spectral trailing)."
        ],
    )
    others = fsc_plot(
        {"as given": as_given, "denoised with raw": confirmed, "both denoised": verdict.fsc_t},
        size,
        marks=marks,
        dashed=("both denoised",),
    )
    changed = change_plot(shell_change(halves.half1.volume, made[0]), size, marks)
    return replace(section, drawings=[*section.drawings, others, changed])


def _steadiness(
    halves: HalfMapFiles,
    made: tuple[Volume, Volume],
    denoise: Denoise,
    settings: DenoiserCheckSettings,
    report: Report,
    other: Denoiser | None,
) -> Section:
    given, mask = halves.half1.volume, halves.mask
    passes = [made[0]]
    while len(passes) < settings.passes:
        report.progress.update("Denoising again and again", len(passes), settings.passes)
        passes.append(denoise(passes[-1], mask))
    moves = []
    for done, move in enumerate(MOVES):
        report.progress.update("Denoising after movements", done, len(MOVES))
        moves.append(deviation(move.name, moved(move, given, mask, denoise), *made, mask))
    weights = []
    if other is not None:
        with_other = _denoise(other, halves.voxel_size, settings)(given, mask)
        weights.append(deviation(other.record.name, with_other, *made, mask))
    report.progress.close()
    return stability_section(
        recycling(given, passes, mask),
        moves,
        weights,
        halves.voxel_size,
        trailing_mark(_corrected(halves, settings.seed)),
    )
