"""HEALPix directions in the nested order: equal areas, and every pixel splits into four.

Source: Górski et al. 2005, ApJ 622, 759, section 5. Pixel ``p`` of order ``o`` has the children
``4p .. 4p + 3`` of order ``o + 1``; there are ``12 * 4**o`` pixels.

A pixel also has a frame: a rotation with the pixel's direction as its third column, from which
in-plane angles are counted. Base pixels have ``Rz(rot) Ry(tilt)``; a child has its parent's frame
carried over by the shortest rotation. Euler angles would do for a single order, but near the
poles the ``rot`` of a child is tens of degrees from its parent's, and with it the in-plane angle.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from napari_blush.conventions import Indices
from napari_blush.errors import SettingsError
from napari_blush.numerics.rotations import euler_to_matrix

MAX_ORDER = 12
"""Steps of 0.015 degrees, far below what images can tell; keeps all indices well inside int64."""

PIXEL_REACH_DEG = 61.3
"""No pixel of any finer order that descends from a pixel of order ``o`` has its centre farther than
``PIXEL_REACH_DEG / 2**o`` from that pixel's (sum of the steps to the children, 30.63 / 2**o)."""

_MAX_TABLE_ORDER = 7
"""Frames are kept for all 196,608 pixels of this order (14 MB) and computed beyond."""

_FACE_RING = (2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4)
"""Southern corner of each base pixel, in units of ``n_side`` rings from the north pole."""

_FACE_LONGITUDE = (1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7)
"""Longitude of each base pixel's centre, in units of 45 degrees."""


def check_order(order: int) -> None:
    """Raise ``SettingsError`` unless ``order`` is between 0 and ``MAX_ORDER``."""
    if not 0 <= order <= MAX_ORDER:
        raise SettingsError(
            f"HEALPix order {order} was asked for; orders go from 0 to {MAX_ORDER}: choose one."
        )


def n_pixels(order: int) -> int:
    """Return the number of pixels on the sphere, ``12 * 4**order``."""
    check_order(order)
    return 12 << (2 * order)


def pixel_directions(order: int) -> Float[Tensor, "pixels 3"]:
    """Return the centres of all pixels as unit vectors.

    Parameters
    ----------
    order
        ``n_side = 2**order``.

    Returns
    -------
    Tensor
        ``(12 * 4**order, 3)`` float64 (x, y, z), nested order.
    """
    return directions_of_pixels(torch.arange(n_pixels(order)), order)


def pixel_angles(order: int) -> tuple[Float[Tensor, " pixels"], Float[Tensor, " pixels"]]:
    """Return (rot, tilt) of all pixel centres.

    Parameters
    ----------
    order
        ``n_side = 2**order``.

    Returns
    -------
    rot, tilt : Tensor
        Degrees, float64, nested order; ``rot`` in [0, 360), ``tilt`` in (0, 180).
    """
    sine, cosine, longitude = _cylindrical(torch.arange(n_pixels(order)), order)
    return torch.rad2deg(longitude), torch.rad2deg(torch.atan2(sine, cosine))


def directions_of_pixels(pixels: Indices, order: int) -> Float[Tensor, "m 3"]:
    """Return the centres of some pixels as unit vectors.

    Parameters
    ----------
    pixels
        ``(m,)`` nested indices.
    order
        ``n_side = 2**order``.

    Returns
    -------
    Tensor
        ``(m, 3)`` float64 (x, y, z), on the device of ``pixels``.
    """
    check_order(order)
    sine, cosine, longitude = _cylindrical(pixels, order)
    x, y = sine * torch.cos(longitude), sine * torch.sin(longitude)
    return torch.stack([x, y, cosine], dim=-1)


def pixel_frames(pixels: Indices, order: int) -> Float[Tensor, "m 3 3"]:
    """Return the frames of some pixels: in-plane angle zero at each direction.

    Parameters
    ----------
    pixels
        ``(m,)`` nested indices.
    order
        ``n_side = 2**order``.

    Returns
    -------
    Tensor
        ``(m, 3, 3)`` float64 rotations, on the device of ``pixels``; the third column is the
        direction of the pixel.
    """
    check_order(order)
    if order <= _MAX_TABLE_ORDER:
        return _frame_table(order, pixels.device)[pixels]
    return _carried(pixel_frames(pixels >> 2, order - 1), directions_of_pixels(pixels, order))


@lru_cache(maxsize=32)
def _frame_table(order: int, device: torch.device) -> Float[Tensor, "pixels 3 3"]:
    """Return the frames of all pixels; callers must not write to them."""
    directions = pixel_directions(order).to(device)
    if order > 0:
        return _carried(_frame_table(order - 1, device).repeat_interleave(4, dim=0), directions)
    rot, tilt = pixel_angles(0)
    return euler_to_matrix(torch.stack([rot, tilt, torch.zeros_like(rot)], dim=-1)).to(device)


def _carried(
    frames: Float[Tensor, "m 3 3"], directions: Float[Tensor, "m 3"]
) -> Float[Tensor, "m 3 3"]:
    """Return frames taken to new directions by the shortest rotation.

    For ``f`` perpendicular to the old direction ``d`` that rotation gives
    ``f - (f . d') / (1 + d . d') (d + d')``.
    """
    old = frames[:, :, 2]
    cosine = (old * directions).sum(1)[:, None]
    slope = torch.einsum("mi,mij->mj", directions, frames[:, :, :2]) / (1 + cosine)
    in_plane = frames[:, :, :2] - (old + directions)[:, :, None] * slope[:, None, :]
    return torch.cat([in_plane, directions[:, :, None]], dim=2)


def _cylindrical(pixels: Indices, order: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return (sin tilt, cos tilt, longitude in radians) of pixel centres."""
    n_side = 2**order
    face = pixels >> (2 * order)
    within = pixels & (n_side * n_side - 1)
    east, north = _even_bits(within, order), _even_bits(within >> 1, order)

    ring = torch.tensor(_FACE_RING, device=pixels.device)[face] * n_side - east - north - 1
    # Rings of the polar caps have 4, 8, 12 ... pixels, those of the belt all 4 * n_side.
    from_pole = torch.minimum(ring, 4 * n_side - ring)
    in_cap = from_pole < n_side
    steps = torch.where(in_cap, from_pole, n_side)

    # 1 - |z| is exact in the caps; taking it from z would lose the digits of small tilts.
    below_pole = steps.to(torch.float64) ** 2 / (3 * n_side * n_side)
    cap_z = torch.where(ring < n_side, 1 - below_pole, below_pole - 1)
    belt_z = (2 * n_side - ring).to(torch.float64) * 2 / (3 * n_side)
    cosine = torch.where(in_cap, cap_z, belt_z)
    sine = torch.where(in_cap, below_pole * (2 - below_pole), 1 - belt_z * belt_z).sqrt()

    centre = torch.tensor(_FACE_LONGITUDE, device=pixels.device)[face] * steps
    eighths = torch.remainder(centre + east - north, 8 * steps)
    return sine, cosine, eighths.to(torch.float64) * (math.pi / 4) / steps


def _even_bits(values: Int[Tensor, " m"], n_bits: int) -> Int[Tensor, " m"]:
    """Return the number made of bits 0, 2, 4 ... of each value."""
    result = torch.zeros_like(values)
    for bit in range(n_bits):
        result |= ((values >> (2 * bit)) & 1) << bit
    return result
