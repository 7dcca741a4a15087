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
    DenoiseOptions,
    DenoiseProgress,
)
from napari_blush.denoiser.inference import denoise_part_steps
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.filters import randomize_phases
from napari_blush.numerics.shells import resolution_to_shell
from napari_blush.stepwise import result_of
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
        0 of 1 before phases are randomized, then over all four maps, then 1 of 1 before each
        comparison; closing the generator stops within
        one batch of blocks.

    Returns
    -------
    DenoiserTwins
    """
    randomized = phase_randomized_twins_steps(halves, voxel_size, randomize_at, seed)
    twins, beyond = yield from randomized
    maps, options = [*halves, *twins], DenoiseOptions(mask=mask)
    denoised = []
    for number, volume in enumerate(maps):
        part = number, len(maps)
        found = yield from denoise_part_steps(volume, voxel_size, denoiser, options, part)
        denoised.append(found.volume)
    made, made_of_twins = (denoised[0], denoised[1]), (denoised[2], denoised[3])
    judged = judged_twins_steps(made, twins, made_of_twins, mask, voxel_size, beyond)
    with closing(judged):
        while True:
            try:
                next(judged)
            except StopIteration as finished:
                result: DenoiserTwins = finished.value
                return result
            yield DenoiseProgress(1, 1)


def phase_randomized_twins(
    halves: tuple[Volume, Volume], voxel_size: float, randomize_at: float | None, seed: int
) -> tuple[tuple[Volume, Volume], float]:
    """Return half-maps with phases randomized apart, and from which resolution on (angstrom)."""
    return result_of(phase_randomized_twins_steps(halves, voxel_size, randomize_at, seed))


def phase_randomized_twins_steps(
    halves: tuple[Volume, Volume], voxel_size: float, randomize_at: float | None, seed: int
) -> Generator[DenoiseProgress, None, tuple[tuple[Volume, Volume], float]]:
    """Do what ``phase_randomized_twins`` does, with a pause before each map."""
    yield DenoiseProgress(0, 1)
    beyond = randomize_at or suggested_randomization(fourier_shell_correlation(*halves), voxel_size)
    from_shell = _shell(beyond, halves[0], voxel_size)
    generator = torch.Generator().manual_seed(seed)
    yield DenoiseProgress(0, 1)
    first = randomize_phases(halves[0], from_shell, generator)
    yield DenoiseProgress(0, 1)
    second = randomize_phases(halves[1], from_shell, generator)
    return (first, second), beyond


def judged_twins(
    made: tuple[Volume, Volume],
    twins: tuple[Volume, Volume],
    made_of_twins: tuple[Volume, Volume],
    mask: Volume,
    voxel_size: float,
    randomize_at: float,
) -> DenoiserTwins:
    """Judge what denoising gained in the twins, beside the denoised half-maps ``made``."""
    return result_of(judged_twins_steps(made, twins, made_of_twins, mask, voxel_size, randomize_at))


def judged_twins_steps(
    made: tuple[Volume, Volume],
    twins: tuple[Volume, Volume],
    made_of_twins: tuple[Volume, Volume],
    mask: Volume,
    voxel_size: float,
    randomize_at: float,
) -> Generator[float, None, DenoiserTwins]:
    """Do what ``judged_twins`` does, with the fraction done before each comparison."""

    def between(maps: tuple[Volume, Volume]) -> Spectrum:
        return fourier_shell_correlation(maps[0] * mask, maps[1] * mask)

    # What the denoiser's grid cannot hold is empty after denoising, and correlates with nothing.
    yield 0.0
    before = between(twins)
    yield 1 / 3
    after = between(made_of_twins)
    yield 2 / 3
    gained = (after - before.clamp(min=0)).clamp(min=-1)
    verdict = overfitting_verdict(
        between(made),
        gained,
        _shell(randomize_at, mask, voxel_size),
        voxel_size,
        mask=mask,
        name="gained by denoising",
    )
    return DenoiserTwins(verdict, before, after, randomize_at)


def _shell(resolution: float, volume: Volume, voxel_size: float) -> int:
    return max(1, round(resolution_to_shell(resolution, int(volume.shape[-1]), voxel_size)))
