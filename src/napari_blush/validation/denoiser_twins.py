"""What agreement a denoiser makes of half-maps that have nothing to say.

The phases of both half-maps are randomized beyond a resolution, apart from one another, and the
twins are denoised as the half-maps are. Agreement of the denoised twins beyond that resolution,
above what the twins had, was put in by the network.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass

import torch

from napari_blush.conventions import Spectrum, Volume
from napari_blush.denoiser.denoise_options import (
    BlockDenoiser,
    DenoisedVolume,
    DenoiseOptions,
    DenoiseProgress,
)
from napari_blush.denoiser.inference import denoise_steps
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.filters import randomize_phases
from napari_blush.numerics.shells import resolution_to_shell
from napari_blush.validation.overfitting import (
    OverfittingVerdict,
    overfitting_verdict,
    suggested_randomization,
)


@dataclass(frozen=True, slots=True)
class DenoiserTwins:
    """Half-maps and their phase-randomized twins, denoised and compared inside a mask.

    Parameters
    ----------
    verdict : OverfittingVerdict
        Of what the twins gain; its ``fsc_t`` is that of the denoised half-maps.
    fsc_before, fsc_after : Spectrum
        Between the twins, as they were and denoised.
    randomize_at : float
        Angstrom.
    """

    verdict: OverfittingVerdict
    fsc_before: Spectrum
    fsc_after: Spectrum
    randomize_at: float


def denoiser_twins_steps(
    halves: tuple[Volume, Volume],
    voxel_size: float,
    mask: Volume,
    denoiser: BlockDenoiser,
    *,
    randomize_at: float | None = None,
    seed: int = 0,
) -> Generator[DenoiseProgress, None, DenoiserTwins]:
    """Denoise half-maps and their twins, and judge what the twins gain.

    Parameters
    ----------
    halves : pair of (n, n, n)
        Unfiltered.
    voxel_size : float
        Angstrom.
    mask : (n, n, n)
        Where maps are denoised and compared.
    denoiser : BlockDenoiser
        On the device where the work is to be done.
    randomize_at : float, optional
        Angstrom; default: where the unmasked FSC falls below 0.8.
    seed : int
        Of the random phases.

    Yields
    ------
    DenoiseProgress
        Over all four maps; closing the generator stops within one batch of blocks.

    Returns
    -------
    DenoiserTwins
    """
    n = int(mask.shape[-1])
    beyond = randomize_at or suggested_randomization(fourier_shell_correlation(*halves), voxel_size)
    from_shell = max(1, round(resolution_to_shell(beyond, n, voxel_size)))
    generator = torch.Generator().manual_seed(seed)
    twins = [randomize_phases(half, from_shell, generator) for half in halves]
    maps = [*halves, *twins]
    denoised = []
    for number, volume in enumerate(maps):
        steps = denoise_steps(volume, voxel_size, denoiser, DenoiseOptions(mask=mask))
        found = yield from _part(steps, number, len(maps))
        denoised.append(found.volume)

    def between(a: Volume, b: Volume) -> Spectrum:
        return fourier_shell_correlation(a * mask, b * mask)

    # What the denoiser's grid cannot hold is empty after denoising, and correlates with nothing.
    before, after = between(*twins), between(*denoised[2:])
    gained = (after - before.clamp(min=0)).clamp(min=-1)
    verdict = overfitting_verdict(
        between(*denoised[:2]), gained, from_shell, voxel_size, mask=mask,
        name="gained by denoising",
    )  # fmt: skip
    return DenoiserTwins(verdict, before, after, beyond)


def _part(
    steps: Generator[DenoiseProgress, None, DenoisedVolume], number: int, n_parts: int
) -> Generator[DenoiseProgress, None, DenoisedVolume]:
    """Pass on the steps of one map as those of all."""
    with closing(steps):
        while True:
            try:
                step = next(steps)
            except StopIteration as finished:
                found: DenoisedVolume = finished.value
                return found
            yield DenoiseProgress(number * step.total + step.done, n_parts * step.total)
