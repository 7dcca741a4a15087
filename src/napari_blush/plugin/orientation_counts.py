"""How many particles were seen along each direction, in pixels of equal area; no toolkit.

Directions are counted in HEALPix pixels, about 7 degrees wide, and each particle at all directions
that the symmetry makes equal to its own: what stays empty on the whole sphere is missing from the
map. Of ``g`` symmetry operators the counts add up to ``g`` times the particles.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from napari_blush.numerics.healpix import n_pixels, pixel_directions
from napari_blush.numerics.point_group import symmetry_operators

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

ORDER = 3
"""HEALPix order of the points: 768 of them, 7.3 degrees apart."""

_FINE_ORDER = 5
"""Order in which particles are counted before they are repeated by symmetry."""


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


def nobody() -> OrientationCounts:
    """Return the counts where no particle is known."""
    return OrientationCounts(np.zeros(n_pixels(ORDER)), np.full(n_pixels(ORDER), np.nan))


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
