"""How much memory a run may use, what its maps take of it, and what is left for batches.

The peak of a run on a CPU is about ``streams * padded_maps + batches`` with ``c = padding n / 2 +
1`` and ``padded_maps = (8 (c + 2) + 12 (c + 1)) (2 c + 1)^2`` bytes (the transform of a reference
and the sums of a half, at Nyquist); two halves run side by side on a CPU, one at a time elsewhere.
"""

import math
import os

import torch

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.likelihood.work_budget import MEBI, WorkBudget
from napari_blush.refine.events import Message
from napari_blush.refine.schedule import Geometry

GIBI = 2**30
LEAST_WORKING_BYTES = 64 * MEBI  # batches of a few images still fit


def memory_limit_bytes(settings: RefinementSettings, device: torch.device) -> int:
    """Return how much working memory may be used: as set, or half of what is free."""
    if settings.memory_limit is not None:
        return int(settings.memory_limit * GIBI)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) // 2
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 4 * GIBI
    return free // 2


def padded_map_bytes(box_size: int, padding: int) -> int:
    """Return the memory of a reference's transform and of the sums of one half, at Nyquist."""
    c = padding * box_size // 2 + 1
    return (8 * (c + 2) + 12 * (c + 1)) * (2 * c + 1) ** 2


def bytes_per_image(box_size: int, n_offsets: int) -> int:
    """Return what one image of a batch takes: itself, its transforms, its translated copies."""
    coefficients = math.pi / 8 * box_size**2
    return int(8 * coefficients * (8 + n_offsets) + 16 * box_size**2)


def plan_memory(
    settings: RefinementSettings, geometry: Geometry, device: torch.device, streams: int
) -> tuple[WorkBudget, list[Message]]:
    """Return the sizes of batches, and what a person should know of them.

    Parameters
    ----------
    settings : RefinementSettings
    geometry : Geometry
    device : torch.device
    streams : int
        Halves that run side by side.
    """
    limit = memory_limit_bytes(settings, device)
    maps = streams * padded_map_bytes(geometry.box_size, settings.padding)
    left = max(limit - maps, LEAST_WORKING_BYTES) // streams
    n_offsets = math.ceil(math.pi * (settings.offset_range / settings.offset_step) ** 2)
    per_image = bytes_per_image(geometry.box_size, n_offsets)
    budget = WorkBudget.for_device(device.type, left, bytes_per_image=per_image)
    messages = []
    if limit - maps < LEAST_WORKING_BYTES:
        messages.append(
            Message(
                f"The maps alone take {maps / GIBI:.1f} GB and the memory limit is "
                f"{limit / GIBI:.1f} GB: batches are as small as they can be; raise --memory-limit "
                "for speed.",
                warning=True,
            )
        )
    elif budget.particle_batch < WorkBudget.default_batch(device.type):
        messages.append(
            Message(
                f"The memory limit of {limit / GIBI:.1f} GB allows batches of "
                f"{budget.particle_batch} images instead of "
                f"{WorkBudget.default_batch(device.type)}.",
                warning=True,
            )
        )
    return budget, messages
