"""Rotations: Euler angles, matrices, quaternions, distances and uniform draws.

Angles are RELION's ZYZ triple (rot, tilt, psi) in degrees; matrices left-multiply (x, y, z)
columns and take the image frame to the volume frame (see ``conventions``). Everything returned is
float64 on the device of the input: poses are few and cheap, rounding them is not.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import RotationMatrices

_POLE_SINE = 1e-12
"""A smaller ``sin(tilt)`` is rounding: this is a pole, where only ``rot ± psi`` is known."""


def euler_to_matrix(angles_deg: Float[Tensor, "*batch 3"]) -> RotationMatrices:
    """Return ``R = Rz(rot) Ry(tilt) Rz(psi)``.

    Parameters
    ----------
    angles_deg
        (rot, tilt, psi) in degrees.

    Returns
    -------
    Tensor
        ``(..., 3, 3)`` float64; the transpose of RELION's own matrix.
    """
    angles = torch.deg2rad(angles_deg.to(torch.float64))
    ca, cb, cg = torch.cos(angles).unbind(-1)
    sa, sb, sg = torch.sin(angles).unbind(-1)
    rows = [
        *(ca * cb * cg - sa * sg, -ca * cb * sg - sa * cg, ca * sb),
        *(sa * cb * cg + ca * sg, -sa * cb * sg + ca * cg, sa * sb),
        *(-sb * cg, sb * sg, cb),
    ]
    return torch.stack(rows, dim=-1).reshape(*rows[0].shape, 3, 3)


def matrix_to_euler(rotations: RotationMatrices) -> Float[Tensor, "*batch 3"]:
    """Return the (rot, tilt, psi) of rotations.

    Parameters
    ----------
    rotations
        ``(..., 3, 3)``.

    Returns
    -------
    Tensor
        Degrees, float64: ``tilt`` in [0, 180], the others in [-180, 180]. At the poles, where
        only ``rot + psi`` or ``rot - psi`` is determined, ``rot`` is 0.

    Notes
    -----
    ``psi`` is read after undoing ``rot``, so the triple gives the matrix back to rounding however
    close to a pole it lies.
    """
    r = rotations.to(torch.float64)
    x, y = r[..., 0, 2], r[..., 1, 2]
    sin_tilt = torch.hypot(x, y)
    pole = sin_tilt < _POLE_SINE
    rot = torch.where(pole, 0.0, torch.atan2(y, x))
    tilt = torch.atan2(sin_tilt, r[..., 2, 2])
    sa, ca = torch.sin(rot), torch.cos(rot)
    psi = torch.atan2(ca * r[..., 1, 0] - sa * r[..., 0, 0], ca * r[..., 1, 1] - sa * r[..., 0, 1])
    return torch.rad2deg(torch.stack([rot, tilt, psi], dim=-1))


def geodesic_distance_deg(
    first: Float[Tensor, "*#batch 3 3"], second: Float[Tensor, "*#batch 3 3"]
) -> Float[Tensor, "*#batch"]:
    """Return the angle of the rotation that takes ``first`` to ``second``.

    Parameters
    ----------
    first, second
        ``(..., 3, 3)``; leading dimensions broadcast.

    Returns
    -------
    Tensor
        Degrees in [0, 180], float64.

    Notes
    -----
    From sine and cosine together: the arc cosine of the trace alone loses half of the digits
    of small angles, which are the ones that matter at convergence.
    """
    relative = first.to(torch.float64).mT @ second.to(torch.float64)
    twice_sine = torch.stack(
        [
            relative[..., 2, 1] - relative[..., 1, 2],
            relative[..., 0, 2] - relative[..., 2, 0],
            relative[..., 1, 0] - relative[..., 0, 1],
        ],
        dim=-1,
    ).norm(dim=-1)
    trace = relative.diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.rad2deg(torch.atan2(twice_sine, trace - 1))


def axis_angle_to_matrix(
    axis: Float[Tensor, "*batch 3"], angle_deg: Float[Tensor, "*batch"]
) -> RotationMatrices:
    """Return the right-handed rotation by ``angle_deg`` about ``axis``.

    Parameters
    ----------
    axis
        (x, y, z) of any length but zero.
    angle_deg
        Degrees, one per axis.

    Returns
    -------
    Tensor
        ``(..., 3, 3)`` float64.
    """
    unit = torch.nn.functional.normalize(axis.to(torch.float64), dim=-1)
    half = torch.deg2rad(angle_deg.to(torch.float64))[..., None] / 2
    return quaternion_to_matrix(torch.cat([torch.cos(half), torch.sin(half) * unit], dim=-1))


def quaternion_to_matrix(quaternions: Float[Tensor, "*batch 4"]) -> RotationMatrices:
    """Return the rotations of quaternions (w, x, y, z), which need not have unit length.

    Parameters
    ----------
    quaternions
        Scalar first; ``q`` and ``-q`` are the same rotation.

    Returns
    -------
    Tensor
        ``(..., 3, 3)`` float64.
    """
    q = torch.nn.functional.normalize(quaternions.to(torch.float64), dim=-1)
    w, x, y, z = q.unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, dim=-1).reshape(*rows[0].shape, 3, 3)


def matrix_to_quaternion(rotations: RotationMatrices) -> Float[Tensor, "*batch 4"]:
    """Return unit quaternions (w, x, y, z) with ``w >= 0``.

    Parameters
    ----------
    rotations
        ``(..., 3, 3)``.

    Returns
    -------
    Tensor
        ``(..., 4)`` float64.

    Notes
    -----
    ``4 q qᵀ`` is linear in the matrix. Its column with the largest diagonal element is a multiple
    of ``q`` that never comes near zero (Shepperd 1978).
    """
    r = rotations.to(torch.float64)
    xx, yy, zz = r.diagonal(dim1=-2, dim2=-1).unbind(-1)
    wx, wy, wz = (
        r[..., 2, 1] - r[..., 1, 2],
        r[..., 0, 2] - r[..., 2, 0],
        r[..., 1, 0] - r[..., 0, 1],
    )
    xy, xz, yz = (
        r[..., 0, 1] + r[..., 1, 0],
        r[..., 0, 2] + r[..., 2, 0],
        r[..., 1, 2] + r[..., 2, 1],
    )
    outer = torch.stack(
        [
            *(1 + xx + yy + zz, wx, wy, wz),
            *(wx, 1 + xx - yy - zz, xy, xz),
            *(wy, xy, 1 - xx + yy - zz, yz),
            *(wz, xz, yz, 1 - xx - yy + zz),
        ],
        dim=-1,
    ).reshape(*xx.shape, 4, 4)
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)
    q = outer.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    q = torch.nn.functional.normalize(q, dim=-1)
    return torch.where(q[..., :1] < 0, -q, q)


def random_rotations(n: int, generator: torch.Generator) -> Float[Tensor, "n 3 3"]:
    """Return ``n`` rotations drawn uniformly (Haar measure).

    Parameters
    ----------
    n
        How many.
    generator
        Source of randomness; the result lives on its device.

    Returns
    -------
    Tensor
        ``(n, 3, 3)`` float64.
    """
    normal = torch.randn(n, 4, generator=generator, device=generator.device, dtype=torch.float64)
    return quaternion_to_matrix(normal)
