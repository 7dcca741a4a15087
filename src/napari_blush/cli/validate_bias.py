"""``napari-blush validate bias``: what the start map alone makes of images that hold nothing.

A run is done again, a few iterations long, on as many images of pure noise with its noise spectra,
backgrounds and CTFs. The repeated run is a run folder like any other, and its map is no result.
"""

from argparse import Namespace
from pathlib import Path

import torch
from torch import Tensor

from napari_blush.cli.particles import particles_of
from napari_blush.cli.report import Report
from napari_blush.cli.validate_files import finish
from napari_blush.cli.validate_overfitting import (
    curve,
    last_line,
    mask_of,
    repeated_settings,
    run_again,
)
from napari_blush.conventions import Volume
from napari_blush.data_model.results import Outcome
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.data_model.validation_settings import (
    ImageRandomizationSettings,
    ReferenceBiasSettings,
)
from napari_blush.io.mrc import read_map
from napari_blush.io.run_settings import read_settings
from napari_blush.io.run_state import load_state
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.resample import match_box
from napari_blush.numerics.shells import resolution_to_shell
from napari_blush.validation.kept_sections import write_sections
from napari_blush.validation.reference_bias import (
    Agreement,
    bias_section,
    bias_verdict,
    noise_particles,
)


def execute(settings: ReferenceBiasSettings, options: Namespace) -> int:
    """Refine noise as the run that ``options`` names did its particles; return the exit code."""
    report = Report()
    before, known = last_line(options.run), read_settings(options.run)
    size = float(before["voxel_size"])
    asked = ImageRandomizationSettings(
        max_iterations=settings.max_iterations, device=settings.device, threads=settings.threads
    )
    wanted = repeated_settings(known, asked)
    particles = particles_of(options)
    box = 2 * (len(curve(before, "corrected")) - 1)
    diameter = known.particle_diameter or (box - 5) * size
    noise = noise_particles(particles, noise_spectra(options.run), diameter, settings.seed)
    report.line(f"{len(noise)} images of noise with the spectra of {options.run}.")
    reference = read_map(options.reference)
    result = run_again(wanted, noise, reference, options.output, report)
    if result.outcome in (Outcome.FAILED, Outcome.CANCELLED):
        return 1
    names = [options.run / f"run_half{half}_class001_unfil.mrc" for half in (1, 2)]
    of_run = (read_map(names[0]).volume + read_map(names[1]).volume) / 2
    start = match_box(reference.volume, reference.voxel_size, size, box)
    mask = mask_of(known, of_run, size)

    def agreement(fsc: Tensor, average: Volume) -> Agreement:
        return Agreement(fsc, fourier_shell_correlation(average * mask, start * mask))

    last = last_line(options.output)
    verdict = bias_verdict(
        agreement(curve(before, "unmasked"), of_run),
        agreement(curve(last, "unmasked"), result.half_maps.mean()),
        size,
        shared_shell=_shell(known.low_resolution_join, box, size),
        low_pass_shell=low_pass_shell(known, box, size),
        mask=mask,
    )
    note = (
        f"{len(noise)} images of pure noise, {last['iteration']} iterations; the run had "
        f"{before['iteration']}. Halves are compared without a mask, which noise fills, and with "
        "the start map inside the mask. Lines: what both halves share, and where the start map "
        "was cut off."
    )
    section = bias_section(verdict, size, (note,))
    kept = write_sections(options.output, "validate-bias", [section])
    return finish(report, options.output, "Reference bias", [section], [kept])


def noise_spectra(folder: Path) -> Tensor:
    """Return the noise power of each optics group, the mean of both halves, ``(g, shells)``."""
    _, tensors, _ = load_state(folder)
    both = [tensors[f"half{half}.sigma2_noise"].double() for half in (1, 2)]
    mean = torch.stack(both).mean(dim=0)
    return mean.reshape(-1, mean.shape[-1])


def low_pass_shell(settings: RefinementSettings, box: int, voxel_size: float) -> int:
    """Return the last shell of the start map; that which halves share where it was not filtered."""
    finest = settings.initial_low_pass or settings.low_resolution_join
    return _shell(min(finest, settings.low_resolution_join), box, voxel_size)


def _shell(resolution: float, box: int, voxel_size: float) -> int:
    return max(1, round(resolution_to_shell(resolution, box, voxel_size)))
