"""What denoising a map takes of memory: the maps, the blocks of a batch, and where each may lie."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from napari_blush.denoiser.denoise_options import BlockDenoiser, DenoiseOptions
from napari_blush.denoiser.working_grid import WorkingGrid
from napari_blush.errors import SettingsError

GIBI = 2**30
_MAPS = 16  # float32 volumes of the denoiser's grid, transforms and temporary ones included
_GIVEN_MAPS = 6  # the same of the map's own grid
_FEATURES = 10  # float32 voxels per channel of the first level; measured 8.3
_WIDTH = 16  # of a network that does not tell
_CPU_BATCH = 64**3  # voxels: more does not make it faster
_ACCELERATOR_BATCH = 32 * 64**3


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Where the maps are kept while blocks come and go, and how many blocks make a batch."""

    store: torch.device
    batch_size: int
    messages: tuple[str, ...] = ()


def free_bytes(device: torch.device) -> int:
    """Return the memory that is free on a device, as the system tells it."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    try:
        # What files hold in memory is given back when asked for; Linux alone says how much.
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration):
        return _free_pages()


def _free_pages() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 8 * GIBI


def map_bytes(grid: WorkingGrid, block_size: int) -> int:
    """Return what the volumes take, padded for the blocks at the rim."""
    return 4 * (_MAPS * (grid.size + block_size) ** 3 + _GIVEN_MAPS * grid.box_size**3)


def block_bytes(denoiser: BlockDenoiser) -> int:
    """Return what a block of a batch takes inside the network."""
    width = int(getattr(denoiser.network, "width", _WIDTH))
    return 4 * _FEATURES * width * denoiser.block_size**3


def plan_memory(
    grid: WorkingGrid, denoiser: BlockDenoiser, options: DenoiseOptions, device: torch.device
) -> MemoryPlan:
    """Return how a map is denoised within the memory there is.

    Raises
    ------
    SettingsError
        When the volumes alone do not fit.
    """
    maps = map_bytes(grid, denoiser.block_size)
    store = device
    is_too_large = device.type == "cuda" and maps > free_bytes(device) // 2
    if is_too_large or device.type == "mps":  # MPS has no float64, which levels are summed in
        store = torch.device("cpu")
    free = free_bytes(store)
    if maps > free:
        raise SettingsError(
            f"The map of {grid.box_size} voxels of {grid.voxel_size:g} A has {grid.size} of "
            f"{grid.working_voxel_size:.3g} A for the denoiser, which takes {maps / GIBI:.1f} GB "
            f"and {free / GIBI:.1f} GB are free; wanted a smaller box: crop the map, or use a "
            "machine with more memory."
        )
    limit = options.memory_bytes or free_bytes(device) // 2
    left = limit - (maps if store == device else 0)
    suits = _CPU_BATCH if device.type == "cpu" else _ACCELERATOR_BATCH
    most = max(1, suits // denoiser.block_size**3)
    wanted = options.batch_size or most
    batch = max(1, min(wanted, left // block_bytes(denoiser)))
    messages = []
    if batch < wanted:
        messages.append(
            f"The memory limit of {limit / GIBI:.1f} GB allows batches of {batch} blocks instead "
            f"of {wanted}."
        )
    if is_too_large:
        messages.append("The map is too large for the accelerator and stays in main memory.")
    return MemoryPlan(store, batch, tuple(messages))
