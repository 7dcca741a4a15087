"""Denoising a map: onto the denoiser's grid, block by block through the network, and back.

Nothing beyond the Nyquist frequency of the denoiser's grid is in the result; what belongs there is
the caller's to say. Nothing here reads files or knows of half-maps.
"""

from collections.abc import Generator

import torch

from napari_blush.conventions import Volume
from napari_blush.denoiser.block_runner import BlockRunner, chosen_precision
from napari_blush.denoiser.denoise_options import BlockDenoiser as BlockDenoiser
from napari_blush.denoiser.denoise_options import DenoisedVolume as DenoisedVolume
from napari_blush.denoiser.denoise_options import DenoiseOptions as DenoiseOptions
from napari_blush.denoiser.denoise_options import DenoiseProgress as DenoiseProgress
from napari_blush.denoiser.patches import Blend, cut_blocks
from napari_blush.denoiser.prepared_map import prepare_default
from napari_blush.denoiser.release_recipe import prepare_release
from napari_blush.denoiser.working_grid import working_grid
from napari_blush.errors import SettingsError

_DEFAULTS = DenoiseOptions()


def denoise_volume(
    volume: Volume,
    voxel_size: float,
    denoiser: BlockDenoiser,
    options: DenoiseOptions = _DEFAULTS,
) -> DenoisedVolume:
    """Denoise a map; see ``denoise_steps``, of which this takes all."""
    steps = denoise_steps(volume, voxel_size, denoiser, options)
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            result: DenoisedVolume = finished.value
            return result


def denoise_steps(
    volume: Volume,
    voxel_size: float,
    denoiser: BlockDenoiser,
    options: DenoiseOptions = _DEFAULTS,
) -> Generator[DenoiseProgress, None, DenoisedVolume]:
    """Denoise a map, and say after each batch of blocks how far it is.

    Parameters
    ----------
    volume
        ``(n, n, n)``, any ``n``, particle white; any grey scale and offset.
    voxel_size
        Angstrom.
    denoiser
        On the device where the work is to be done.
    options
        See ``DenoiseOptions``.

    Yields
    ------
    DenoiseProgress
        Closing the generator stops the work within one batch.

    Returns
    -------
    DenoisedVolume

    Raises
    ------
    SettingsError
        When map, voxel size and options do not fit.
    """
    check_volume(volume, options)
    grid = working_grid(volume.shape[-1], voxel_size, denoiser.voxel_size)
    dtype = chosen_precision(
        options.precision, _device_of(denoiser), release=options.mode == "release"
    )
    runner = BlockRunner(denoiser.network, dtype)
    working = grid.to_working(volume.detach().float().to(runner.device))
    prepare = prepare_release if options.mode == "release" else prepare_default
    prepared = prepare(working, grid, denoiser, options)
    blend = Blend(prepared.density.shape[-1], prepared.plan.window, 2)
    total, batch, done = len(prepared.plan.origins), options.batch_size or 1, 0
    block = prepared.plan.block_size
    yield DenoiseProgress(0, total)
    while done < total:
        origins = prepared.plan.origins[done : done + batch]
        blocks = (cut_blocks(v, origins, block) for v in (prepared.density, prepared.local_std))
        blend.add(origins, *runner(*blocks))
        done += len(origins)
        yield DenoiseProgress(done, total)
    inside = slice(prepared.before, prepared.before + prepared.size)
    density, network_mask = blend.mean(prepared.least_weight)[:, inside, inside, inside]
    return DenoisedVolume(
        volume=grid.to_map(prepared.gain * density + prepared.offset).cpu(),
        network_mask=grid.to_map(prepared.support * network_mask).clamp(0, 1).cpu(),
        nyquist_shell=grid.nyquist_shell,
    )


def check_volume(volume: Volume, options: DenoiseOptions) -> None:
    """Refuse what cannot be denoised, before anything is computed."""
    if not bool(torch.isfinite(volume).all()):
        raise SettingsError(
            "The map to denoise holds values that are not finite (NaN or infinite); wanted numbers "
            "in every voxel; write the map again."
        )
    if options.mask is not None and options.mask.shape != volume.shape:
        raise SettingsError(
            f"A mask of {options.mask.shape[-1]} voxels was given for a map of "
            f"{volume.shape[-1]}; wanted the map's own grid: resample the mask."
        )


def _device_of(denoiser: BlockDenoiser) -> torch.device:
    parameter = next(denoiser.network.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
