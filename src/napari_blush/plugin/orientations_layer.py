"""From where particles were seen: points on a sphere beside the map, larger where there are more.

Directions are counted in HEALPix pixels of equal area, about 7 degrees wide, and each particle at
all directions that the symmetry makes equal to its own: what stays empty on the whole sphere is
missing from the map. Of ``g`` symmetry operators the counts add up to ``g`` times the particles.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Points  # type: ignore[import-untyped]
from napari.utils.colormaps import ensure_colormap  # type: ignore[import-untyped]
from torch import Tensor

from napari_blush.numerics.healpix import n_pixels, pixel_angles, pixel_directions
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.plugin.layer_looks import TAG
from napari_blush.plugin.layers import Later, add_quietly, at_once

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

ORDER = 3
"""HEALPix order of the points: 768 of them, 7.3 degrees apart."""

_FINE_ORDER = 5
"""Order in which particles are counted before they are repeated by symmetry."""

_ROLE = "orientations"
_COLORS = "viridis"
_NOBODY = (0.5, 0.5, 0.5, 0.35)
_DISTANCE, _RADIUS = 1.1, 0.4
"""Of the sphere's centre from the map's, and of the sphere, in edges of the box."""


@dataclass(frozen=True, slots=True)
class OrientationCounts:
    """How many particles were seen along each direction, and how sure their poses are.

    Parameters
    ----------
    count : (768,) float64
    p_max : (768,) float64
        Mean of the largest probability of a pose; not a number where there is no particle.
    """

    count: Floats
    p_max: Floats


class OrientationsLayer:
    """The layer of one run in one viewer.

    Parameters
    ----------
    viewer : napari viewer or viewer model
    run_name : str
    symmetry : str
        Point group, whose operators repeat each direction.
    later : callable, optional
        Puts an action off to a later turn of the event loop; the layer is added there.
    """

    def __init__(
        self, viewer: Any, run_name: str, symmetry: str = "C1", later: Later = at_once
    ) -> None:
        self._viewer, self._run_name, self._later = viewer, run_name, later
        self._symmetry = symmetry
        self._counts: dict[int, OrientationCounts] = {}
        self._grid = 2, 1.0
        self._iteration = 0
        self._is_coming = False

    def keep(self, iteration: int, rotations: Tensor, p_max: Tensor) -> None:
        """Count the particles of an iteration.

        Parameters
        ----------
        iteration : int
        rotations : (n, 3, 3)
            Image frame to volume frame.
        p_max : (n,)
        """
        directions = rotations[:, :, 2].numpy().astype(np.float64)
        self._counts[iteration] = counted(directions, p_max.numpy(), self._symmetry)

    def begin_at(self, first: int) -> None:
        """Forget what is of iteration ``first`` or later."""
        self._counts = {n: counts for n, counts in self._counts.items() if n < first}

    def newest(self, up_to: int) -> int:
        """Return the last iteration up to a number that was counted, 0 without."""
        return max((number for number in self._counts if number <= up_to), default=0)

    def show(self, iteration: int, box_size: int, voxel_size: float) -> None:
        """Draw an iteration, or nobody where its particles were not counted.

        Parameters
        ----------
        iteration : int
        box_size : int
            Of the map beside, in voxels.
        voxel_size : float
            Angstrom.
        """
        self._iteration, self._grid = iteration, (box_size, voxel_size)
        layer = self.layer()
        if layer is not None:
            self._draw(layer)
        elif self._counts and not self._is_coming:
            self._is_coming = True
            self._later(self._add)

    def layer(self) -> Points | None:
        """Return the layer, None before it was made or after it was deleted."""
        for layer in self._viewer.layers:
            tag = layer.metadata.get(TAG, {})
            if (tag.get("run"), tag.get("role")) == (self._run_name, _ROLE):
                return layer
        return None

    def _add(self) -> None:
        self._is_coming = False
        layer = Points(
            positions(*self._grid),
            name=f"{self._run_name} · orientations",
            border_width=0,
            shading="spherical",
            units=("angstrom",) * 3,
            axis_labels=("z", "y", "x"),
            metadata={TAG: {"run": self._run_name, "role": _ROLE, "iteration": 0}},
        )
        self._draw(layer)
        add_quietly(self._viewer, layer)

    def _draw(self, layer: Points) -> None:
        nobody = OrientationCounts(np.zeros(n_pixels(ORDER)), np.full(n_pixels(ORDER), np.nan))
        counts = self._counts.get(self._iteration, nobody)
        places = positions(*self._grid)
        if not np.array_equal(layer.data, places):
            layer.data = places
        rot, tilt = (angles.numpy() for angles in pixel_angles(ORDER))
        layer.features = {
            "count": counts.count,
            "p_max": counts.p_max,
            "rot": rot,
            "tilt": tilt,
            "iteration": np.full(len(rot), self._iteration),
        }
        layer.size = sizes(counts.count, self._grid[0] * self._grid[1])
        layer.face_color = colors(counts.p_max)
        layer.metadata[TAG]["iteration"] = self._iteration


def counted(directions: Floats, p_max: npt.ArrayLike, symmetry: str = "C1") -> OrientationCounts:
    """Count viewing directions, each at all its equivalent places.

    Parameters
    ----------
    directions : (n, 3)
        Unit vectors (x, y, z).
    p_max : (n,)
    symmetry : str
    """
    fine = pixels_of(directions, _FINE_ORDER)
    n_fine, n_coarse = n_pixels(_FINE_ORDER), n_pixels(ORDER)
    count, total = np.zeros(n_coarse), np.zeros(n_coarse)
    of_fine = np.bincount(fine, minlength=n_fine)
    total_of_fine = np.bincount(fine, weights=np.asarray(p_max, float), minlength=n_fine)
    taken = np.flatnonzero(of_fine)
    for mates in _mates(symmetry):
        count += np.bincount(mates[taken], weights=of_fine[taken], minlength=n_coarse)
        total += np.bincount(mates[taken], weights=total_of_fine[taken], minlength=n_coarse)
    with np.errstate(invalid="ignore"):
        return OrientationCounts(count, total / count)


def pixels_of(directions: Floats, order: int) -> Integers:
    """Return the HEALPix pixel (nested) that each direction lies in.

    Source: Górski et al. 2005, ApJ 622, 759, equations 1 to 9: on a base pixel's own axes, which
    run north-east and north-west, pixels are squares.

    Parameters
    ----------
    directions : (n, 3)
        Unit vectors (x, y, z).
    order : int
    """
    n_side = 1 << order
    x, y, z = directions.T
    quarter = np.mod(np.arctan2(y, x), 2 * math.pi) / (math.pi / 2)
    quarter = np.where(quarter >= 4, 0.0, quarter)
    # The belt: lines of constant north-east and north-west distance.
    rising = np.floor(n_side * (0.5 + quarter - 0.75 * z)).astype(np.int64)
    falling = np.floor(n_side * (0.5 + quarter + 0.75 * z)).astype(np.int64)
    east, west = rising // n_side, falling // n_side
    face = np.where(east == west, east % 4 + 4, np.where(east < west, east, west + 8))
    i, j = falling % n_side, n_side - rising % n_side - 1
    # The caps: the same squares, pulled together towards the pole.
    is_cap = np.abs(z) > 2 / 3
    cap_face = np.minimum(quarter.astype(np.int64), 3)
    along = quarter - cap_face
    reach = n_side * np.sqrt(3 * np.maximum(1 - np.abs(z), 0))
    near = np.minimum((along * reach).astype(np.int64), n_side - 1)
    far = np.minimum(((1 - along) * reach).astype(np.int64), n_side - 1)
    north = z > 0
    face = np.where(is_cap, np.where(north, cap_face, cap_face + 8), face)
    i = np.where(is_cap, np.where(north, n_side - far - 1, near), i)
    j = np.where(is_cap, np.where(north, n_side - near - 1, far), j)
    return face * n_side**2 + _spread(i, order) + 2 * _spread(j, order)


def positions(box_size: int, voxel_size: float) -> Floats:
    """Return where the points lie (z, y, x) in angstrom: a sphere to the left of the map.

    Its centre is on a level with the map's own, voxel ``n // 2``.
    """
    edge, center = box_size * voxel_size, box_size // 2 * voxel_size
    middle = np.array([center, center, center - _DISTANCE * edge])
    return middle + _RADIUS * edge * pixel_directions(ORDER).numpy()[:, ::-1]


def sizes(count: Floats, edge: float) -> Floats:
    """Return diameters in angstrom: areas as the counts, and a dot where there is nobody."""
    spacing = _RADIUS * edge * math.sqrt(4 * math.pi / len(count))
    most = max(float(count.max()), 1.0)
    return np.maximum(1.6 * np.sqrt(count / most), 0.2) * spacing


def colors(p_max: Floats) -> Floats:
    """Return RGBA by mean ``p_max`` from 0 to 1, grey where there is nobody."""
    is_known = np.isfinite(p_max)
    found = np.asarray(ensure_colormap(_COLORS).map(np.where(is_known, p_max, 0.0)), float)
    found[~is_known] = _NOBODY
    return found


@lru_cache(maxsize=4)
def _mates(symmetry: str) -> list[Integers]:
    """Return for each operator where it takes the fine pixels."""
    fine = pixel_directions(_FINE_ORDER).numpy()
    return [pixels_of(fine @ s.numpy().T, ORDER) for s in symmetry_operators(symmetry)]


def _spread(values: Integers, order: int) -> Integers:
    """Return numbers with a zero bit after each of their bits."""
    spread = np.zeros_like(values)
    for bit in range(order):
        spread |= (values >> bit & 1) << (2 * bit)
    return spread
