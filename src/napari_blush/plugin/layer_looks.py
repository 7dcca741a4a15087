"""How maps look: the arguments of napari layers, limits that follow the data, and the layer tags.

numpy alone: what reads files and what follows a run share it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]

TAG = "napari_blush"
"""Key of a layer's metadata under which its run and role are kept."""

ISO_FRACTION = 0.01
"""Part of the voxels that the first contour encloses (ChimeraX's rule)."""

DARKEST, BRIGHTEST = 0.10, 0.999
"""Parts of the voxels below the first contrast limits."""

CHANGE_SIGMA = 3.0
"""The colours of a change reach so many standard deviations."""

SECTION_VOXELS = 1.0
"""How thick a section is."""

_SAMPLED_VOXELS = 60_000


@dataclass(frozen=True, slots=True)
class Look:
    """Display levels of a map: contrast limits and contour, in its own grey values."""

    low: float
    high: float
    iso: float


def in_angstrom(
    shape: tuple[int, ...], voxel_size: float, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> dict[str, Any]:
    """Return where a map lies: scale and units in angstrom, axes z, y, x.

    Parameters
    ----------
    shape : tuple of int
        Of the map; a leading axis counts images.
    voxel_size : float
        Angstrom.
    origin : (x, y, z)
        Angstrom.
    """
    n_leading = len(shape) - 3
    return {
        "scale": (1.0,) * n_leading + (voxel_size,) * 3,
        "translate": (0.0,) * n_leading + tuple(origin[::-1]),
        "units": ("pixel",) * n_leading + ("angstrom",) * 3,
        "axis_labels": ("iteration",) * n_leading + ("z", "y", "x"),
    }


def first_look(values: Array) -> Look:
    """Return limits and contour for a map that nobody has looked at yet."""
    low, high, iso = levels_at(values, (DARKEST, BRIGHTEST, 1 - ISO_FRACTION))
    if not high > low:
        high = low + 1.0
    return Look(low, high, min(max(iso, low), high))


def symmetric_look(values: Array) -> Look:
    """Return limits for a change in standard deviations: zero in the middle."""
    return Look(-CHANGE_SIGMA, CHANGE_SIGMA, CHANGE_SIGMA / 2)


def middle_section(shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what shows a map by the section through its origin, across its first axis."""
    middle = tuple(size // 2 for size in shape)
    plane = {"position": middle, "normal": (1.0, 0.0, 0.0), "thickness": SECTION_VOXELS}
    return {"depiction": "plane", "plane": plane}


def levels_at(values: Array, parts: tuple[float, ...]) -> tuple[float, ...]:
    """Return the grey values below which these parts of the voxels lie."""
    return tuple(float(level) for level in np.quantile(_sample(values), parts))


def parts_below(values: Array, levels: tuple[float, ...]) -> tuple[float, ...]:
    """Return which part of the voxels lies below each grey value."""
    ordered = np.sort(_sample(values))
    return tuple(float(part) for part in np.searchsorted(ordered, levels) / len(ordered))


def carried_over(look: Look, before: Array, after: Array) -> Look:
    """Return the look of new data that encloses what the old one did.

    A level outside of the old values keeps its distance in standard deviations, so that limits
    that a person drew wide stay wide.
    """
    old, new = _sample(before), _sample(after)
    if not (np.ptp(old) > 0 and np.ptp(new) > 0):
        return first_look(after)
    levels = []
    for level in (look.low, look.high, look.iso):
        if old.min() < level < old.max():
            levels.append(float(np.quantile(new, (old < level).mean())))
        else:
            levels.append(float(new.mean() + (level - old.mean()) / old.std() * new.std()))
    low, high, iso = levels
    if not high > low:
        return first_look(after)
    return Look(low, high, min(max(iso, low), high))


def map_arguments(
    values: Array, voxel_size: float, name: str, origin: tuple[float, float, float] = (0.0,) * 3
) -> dict[str, Any]:
    """Return the keyword arguments of an image layer for a map."""
    look = first_look(values)
    return {
        "name": name,
        "contrast_limits": (look.low, look.high),
        "iso_threshold": look.iso,
        "rendering": "iso",
        "colormap": "gray",
        **in_angstrom(values.shape, voxel_size, origin),
    }


def _sample(values: Array) -> npt.NDArray[np.float32]:
    """Return voxels spread over a map, few enough to sort between two frames."""
    flat = values.reshape(-1)
    return np.asarray(flat[:: max(1, flat.size // _SAMPLED_VOXELS)], dtype=np.float32)
