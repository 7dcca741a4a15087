"""A map's surface, coloured by the resolution at each place; blobs that are dust are left out.

Knows no viewer and no tensor library.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import marching_cubes

from napari_blush.errors import SettingsError

Volume = npt.NDArray[np.float32]

_LEAST_SPAN = 0.1  # angstrom

_ALL_NEIGHBORS = np.ones((3, 3, 3), dtype=bool)
"""Voxels of one cube of the mesh count as joined: leaving a blob out changes no other."""


@dataclass(frozen=True, slots=True, eq=False)
class ColoredSurface:
    """Triangles with a value at each corner.

    Parameters
    ----------
    vertices : (v, 3) float32
        Angstrom, (z, y, x), the map's origin included.
    faces : (f, 3) int
    values : (v,) float32
        Of the other map, interpolated.
    n_hidden : int
        Blobs that were left out.
    """

    vertices: npt.NDArray[np.float32]
    faces: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    n_hidden: int

    def limits(self) -> tuple[float, float]:
        """Return the values between which nine tenths of the corners lie, apart from one another.

        The middle of the map is finer than its surface, and the mask's rim coarser: colours that
        spanned them all would hardly change from place to place.
        """
        low, high = (float(value) for value in np.quantile(self.values, (0.05, 0.95)))
        return low, max(high, low + _LEAST_SPAN)


def colored_surface(
    volume: Volume,
    colors: Volume,
    level: float,
    voxel_size: float,
    *,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    dust_angstrom: float = 0.0,
) -> ColoredSurface:
    """Return where a map crosses a level, with the values of another map there.

    Parameters
    ----------
    volume, colors : (n, n, n)
    level : float
        Of ``volume``.
    voxel_size : float
        Angstrom.
    origin : (x, y, z)
        Angstrom.
    dust_angstrom : float
        Blobs whose longest side is shorter are left out.

    Returns
    -------
    ColoredSurface

    Raises
    ------
    SettingsError
        When the map does not reach the level, or all is dust.
    """
    kept, n_hidden = _without_dust(volume, level, dust_angstrom / voxel_size)
    if not kept.any():
        raise SettingsError(
            f"Nothing of the map is above {level:.3g} and longer than {dust_angstrom:g} A; wanted "
            "a surface; lower the contour, or hide less."
        )
    # A rim of nothing closes what touches the box.
    shown = np.pad(np.where(kept | (volume <= level), volume, level), 1, constant_values=-np.inf)
    shown = np.maximum(shown, min(float(volume.min()), level - 1e-6 * (1 + abs(level))))
    corners, faces, _, _ = marching_cubes(shown, level)  # type: ignore[no-untyped-call]
    corners = np.clip(corners - 1, 0, np.array(volume.shape) - 1)
    values = ndimage.map_coordinates(colors, corners.T, order=1, mode="nearest")
    place = corners * voxel_size + np.array(origin[::-1])
    return ColoredSurface(
        place.astype(np.float32), faces.astype(np.int64), values.astype(np.float32), n_hidden
    )


def _without_dust(
    volume: Volume, level: float, least_voxels: float
) -> tuple[npt.NDArray[np.bool_], int]:
    """Return the voxels above a level in blobs that are long enough, and how many are not."""
    inside = volume > level
    if least_voxels <= 1:
        return inside, 0
    labels, n_blobs = ndimage.label(inside, _ALL_NEIGHBORS)
    is_kept = np.zeros(n_blobs + 1, dtype=bool)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        is_kept[number] = max(axis.stop - axis.start for axis in box) >= least_voxels
    return is_kept[labels], int(n_blobs - is_kept.sum())


def level_enclosing(volume: Volume, fraction: float) -> float:
    """Return the level above which a fraction of the voxels lies."""
    flat = volume.reshape(-1)
    return float(np.quantile(flat[:: max(1, flat.size // 500_000)], 1 - fraction))
