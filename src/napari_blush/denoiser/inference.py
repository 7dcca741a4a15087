"""Denoising a map: onto the denoiser's grid, block by block through the network, and back.

Nothing beyond the Nyquist frequency of the denoiser's grid is in the result; what belongs there is
the caller's to say. Nothing here reads files or knows of half-maps.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass

import torch

from napari_blush.conventions import Volume
from napari_blush.denoiser.block_runner import (
    BlockRunner,
    chosen_precision,
    device_of,
)
from napari_blush.denoiser.denoise_options import BlockDenoiser as BlockDenoiser
from napari_blush.denoiser.denoise_options import DenoisedVolume as DenoisedVolume
from napari_blush.denoiser.denoise_options import DenoiseOptions as DenoiseOptions
from napari_blush.denoiser.denoise_options import DenoiseProgress as DenoiseProgress
from napari_blush.denoiser.patches import Blend, cut_blocks
from napari_blush.denoiser.prepared_map import PreparedMap, prepare_default
from napari_blush.denoiser.release_recipe import prepare_release
from napari_blush.denoiser.working_grid import WorkingGrid, working_grid
from napari_blush.denoiser.working_memory import MemoryPlan, plan_memory
from napari_blush.errors import SettingsError
from napari_blush.numerics.devices import is_out_of_memory

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
    ready = made_ready(volume, voxel_size, denoiser, options)
    grid, prepared, runner = ready.grid, ready.prepared, ready.runner
    messages = list(ready.memory.messages)
    blend = yield from blended_blocks(prepared, runner, ready.memory.batch_size, messages)
    if runner.overflowed:
        messages.append("Half precision overflowed: blocks were done in float32 from then on.")
    with torch.no_grad():
        inside = slice(prepared.before, prepared.before + prepared.size)
        density, network_mask = blend.mean(prepared.least_weight)[:, inside, inside, inside]
        return DenoisedVolume(
            volume=grid.to_map(torch.addcmul(prepared.offset, prepared.gain, density)).cpu(),
            network_mask=grid.to_map(network_mask * prepared.support).clamp_(0, 1).cpu(),
            nyquist_shell=grid.nyquist_shell,
            messages=tuple(messages),
        )


def denoise_part_steps(
    volume: Volume,
    voxel_size: float,
    denoiser: BlockDenoiser,
    options: DenoiseOptions,
    part: tuple[int, int],
) -> Generator[DenoiseProgress, None, DenoisedVolume]:
    """Denoise a map as one of several, with the progress of all; see ``denoise_steps``.

    ``part`` is its number, counted from 0, and how many there are.
    """
    number, count = part
    with closing(denoise_steps(volume, voxel_size, denoiser, options)) as steps:
        while True:
            try:
                step = next(steps)
            except StopIteration as finished:
                found: DenoisedVolume = finished.value
                return found
            yield DenoiseProgress(number * step.total + step.done, count * step.total)


@dataclass(frozen=True, slots=True)
class ReadyMap:
    """A map on the denoiser's grid, and what will run its blocks."""

    grid: WorkingGrid
    prepared: PreparedMap
    runner: BlockRunner
    memory: MemoryPlan


def made_ready(
    volume: Volume, voxel_size: float, denoiser: BlockDenoiser, options: DenoiseOptions
) -> ReadyMap:
    """Do all that comes before the first block; arguments and errors of ``denoise_steps``."""
    check_volume(volume, options)
    check_stride(options.stride, denoiser.block_size)
    grid = working_grid(volume.shape[-1], voxel_size, denoiser.voxel_size)
    is_release = options.mode == "release"
    device = device_of(denoiser.network)
    runner = BlockRunner(
        denoiser.network, chosen_precision(options.precision, device, release=is_release)
    )
    memory = plan_memory(grid, denoiser, options, device)
    prepare = prepare_release if is_release else prepare_default
    with torch.no_grad():
        working = grid.to_working(volume.detach().float().to(memory.store))
        prepared = prepare(working, grid, denoiser, options)
    return ReadyMap(grid, prepared, runner, memory)


def blended_blocks(
    prepared: PreparedMap, runner: BlockRunner, batch: int, messages: list[str]
) -> Generator[DenoiseProgress, None, Blend]:
    """Run all blocks, in smaller batches where memory runs out, and say so."""
    plan = prepared.plan
    blend = Blend(prepared.density.shape[-1], plan.window, 2)
    total, done = len(plan.origins), 0
    yield DenoiseProgress(0, total)
    while done < total:
        origins = plan.origins[done : done + batch]
        try:
            blocks = (
                cut_blocks(channel, origins, plan.block_size)
                for channel in (prepared.density, prepared.local_std)
            )
            blend.add(origins, *runner(*blocks))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if batch == 1:
                raise SettingsError(
                    f"A single block of {plan.block_size} voxels does not fit into the memory of "
                    f"{runner.device}; wanted room for one: free some, or choose another --device."
                ) from error
            batch = max(1, len(origins) // 2)
            messages.append(f"Memory ran out: batches of {batch} blocks from there on.")
            continue
        done += len(origins)
        yield DenoiseProgress(done, total)
    return blend


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


def check_stride(stride: int | None, block_size: int) -> None:
    """Refuse strides that leave voxels between the parts of blocks that count in either mode."""
    most = 5 * block_size // 8
    if stride is not None and stride > most:
        raise SettingsError(
            f"A stride of {stride} voxels was given for blocks of {block_size}; wanted at most "
            f"{most}, so that neighbours overlap: choose a smaller one."
        )
