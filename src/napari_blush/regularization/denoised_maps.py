"""Drives the denoiser over one map of several, as steps that a regularizer can pass on."""

from collections.abc import Generator
from contextlib import closing

from torch import Tensor

from napari_blush.denoiser.denoise_options import BlockDenoiser, DenoisedVolume, DenoiseOptions
from napari_blush.denoiser.inference import denoise_steps
from napari_blush.numerics.map_symmetry import symmetrize_map
from napari_blush.regularization.regularizer import RegularizationProgress


def denoised_steps(
    volume: Tensor,
    voxel_size: float,
    denoiser: BlockDenoiser,
    options: DenoiseOptions,
    part: tuple[int, int, str],
) -> Generator[RegularizationProgress, None, DenoisedVolume]:
    """Denoise a map and say how far all maps are.

    Parameters
    ----------
    volume : (n, n, n)
    voxel_size : float
        Angstrom.
    denoiser, options
        See ``denoiser.inference``.
    part : (int, int, str)
        Which map this is, counted from 0, of how many, and what is said of it.
    """
    number, count, what = part
    steps = denoise_steps(volume, voxel_size, denoiser, options)
    with closing(steps):
        while True:
            try:
                progress = next(steps)
            except StopIteration as finished:
                made: DenoisedVolume = finished.value
                return made
            fraction = progress.done / max(progress.total, 1)
            yield RegularizationProgress((number + fraction) / count, what)


def symmetrized(volume: Tensor, operators: Tensor) -> Tensor:
    """Re-impose a point group on a denoised map: the network knows of none."""
    return symmetrize_map(volume, operators) if len(operators) > 1 else volume
