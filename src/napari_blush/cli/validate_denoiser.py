"""``napari-blush validate denoiser``: what agreement a network makes out of nothing.

The phases of both half-maps are randomized beyond a resolution, apart from one another, and both
are denoised. Whatever agreement the denoised twins have beyond it, above that of the twins as they
were, the network put in. The half-maps themselves are denoised too, to compare.
"""

from argparse import Namespace
from dataclasses import replace

import torch
from torch import Tensor

from napari_blush.cli.denoise import threads
from napari_blush.cli.report import Report
from napari_blush.cli.validate_files import HalfMapFiles, finish, make_folder, read_halves
from napari_blush.data_model.validation_settings import DenoiserCheckSettings
from napari_blush.denoiser.denoiser import Denoiser
from napari_blush.denoiser.inference import DenoiseOptions, denoise_volume
from napari_blush.denoiser.weights import load_denoiser
from napari_blush.errors import SettingsError
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.devices import chosen_device
from napari_blush.numerics.filters import randomize_phases
from napari_blush.numerics.sharpening import shell_amplitude
from napari_blush.numerics.shells import resolution_to_shell
from napari_blush.validation.overfitting import overfitting_verdict, suggested_randomization
from napari_blush.validation.report_page import Curve, Plot, Section, drawn
from napari_blush.validation.report_sections import verdict_section


def execute(settings: DenoiserCheckSettings, options: Namespace) -> int:
    """Test the denoiser on the half-maps that ``options`` names; return the exit code."""
    report = Report()
    halves = read_halves(options.half1, options.half2, settings.voxel_size, settings.mask)
    denoiser = load_denoiser(settings.denoiser).to(chosen_device(settings.device, SettingsError))
    report.line(f"Weights {denoiser.record}.")
    with threads(settings.threads):
        section = tested(halves, denoiser, settings, report)
    make_folder(options.output)
    return finish(report, options.output, "Denoiser on randomized phases", [section])


def tested(
    halves: HalfMapFiles, denoiser: Denoiser, settings: DenoiserCheckSettings, report: Report
) -> Section:
    """Denoise half-maps and their phase-randomized twins, and judge what the twins gain."""
    n, size, mask = int(halves.mask.shape[-1]), halves.voxel_size, halves.mask
    unmasked = fourier_shell_correlation(*halves.volumes)
    beyond = settings.randomize_at or suggested_randomization(unmasked, size)
    from_shell = max(1, round(resolution_to_shell(beyond, n, size)))
    generator = torch.Generator().manual_seed(settings.seed)
    twins = [randomize_phases(half, from_shell, generator) for half in halves.volumes]
    maps = [*halves.volumes, *twins]
    options = DenoiseOptions(mask=mask, particle_diameter=settings.particle_diameter)
    denoised = []
    for done, volume in enumerate(maps):
        report.progress.update("Denoising half-maps and their twins", done, len(maps))
        denoised.append(denoise_volume(volume, size, denoiser, options).volume.cpu())
    report.progress.close()

    def between(a: Tensor, b: Tensor) -> Tensor:
        return fourier_shell_correlation(a * mask, b * mask)

    # What the denoiser's grid cannot hold is empty after denoising, and correlates with nothing.
    before_n, after_n = between(*twins), between(*denoised[2:])
    gained = (after_n - before_n.clamp(min=0)).clamp(min=-1)
    verdict = overfitting_verdict(
        between(*denoised[:2]), gained, from_shell, size, mask=mask, name="gained by denoising"
    )
    section = verdict_section(
        "Denoiser",
        verdict,
        size,
        more={"twins before": before_n, "twins denoised": after_n},
        notes=[
            f"Weights {denoiser.record.name}; phases randomized beyond {beyond:.2f} A. FSC_t: of "
            "the denoised half-maps; FSC_n: what the twins gain by denoising."
        ],
    )
    changed = change_plot(halves.half1.volume, denoised[0], size)
    return replace(section, drawings=[*section.drawings, changed])


def change_plot(before: Tensor, after: Tensor, voxel_size: float) -> str:
    """Return what denoising changed of a map: amplitudes by shell, and agreement of phases."""
    box = int(before.shape[-1])
    given = shell_amplitude(before)
    ratio = shell_amplitude(after) / given.clamp(min=torch.finfo(given.dtype).tiny)
    x = [shell / (box * voxel_size) for shell in range(len(ratio))]
    curves = [
        Curve("amplitude, denoised by given", x, ratio.double().tolist()),
        Curve("FSC, denoised with given", x, fourier_shell_correlation(before, after).tolist()),
    ]
    return drawn(
        Plot(
            curves,
            "resolution in Å",
            "change",
            y_range=(0.0, 1.2),
            levels={"1": 1.0},
            angstrom=True,
        )
    )
