"""How particles lie in the ice: uniform, or with preferred views; and where they sit in the box.

The viewing direction of a pose is ``R[:, 2]``, a unit vector in the frame of the volume. Preferred
orientation is a distribution of that direction; the rotation in the plane of the image is uniform
always, because nothing in the ice knows the axes of the camera.
"""

from math import isfinite, pi, radians, sin
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import RotationMatrices
from napari_blush.errors import SettingsError
from napari_blush.numerics.rotations import euler_to_matrix, random_rotations

OrientationKind = Literal["uniform", "side", "top"]


def draw_orientations(
    n: int, kind: OrientationKind, spread_deg: float, generator: torch.Generator
) -> RotationMatrices:
    """Draw ``n`` poses of one of the usual kinds, ``(n, 3, 3)`` float64.

    Parameters
    ----------
    n : int
    kind : {"uniform", "side", "top"}
        Uniform on SO(3); the z axis of the volume lying in the plane of the image within the
        spread; or the z axis along the view, up or down alike.
    spread_deg : float
        Width of the preference in degrees, see ``side_views`` and ``preferred_views``; without
        meaning for uniform ones.
    generator : torch.Generator
    """
    if kind == "uniform":
        return random_rotations(n, generator).double()
    if kind == "side":
        return side_views(n, spread_deg, generator)
    poles = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], dtype=torch.float64)
    # Far from the pole the distribution is a Gaussian of variance 1 / concentration per axis.
    return preferred_views(n, poles, radians(_checked_spread(spread_deg)) ** -2, generator)


def preferred_views(
    n: int,
    axes: Float[Tensor, "a 3"],
    concentration: float,
    generator: torch.Generator,
) -> RotationMatrices:
    """Draw poses that look along one of some axes, von Mises-Fisher distributed about it.

    Parameters
    ----------
    n : int
    axes : (a, 3)
        Preferred viewing directions in the frame of the volume, any length; each is as likely.
    concentration : float
        ``kappa`` of the density ``exp(kappa cos(angle to the axis))``, above 0; the spread is
        about ``1 / sqrt(kappa)`` radian.
    generator : torch.Generator

    Returns
    -------
    (n, 3, 3) float64

    References
    ----------
    Ulrich (1984), Appl. Stat. 33, 158 (in three dimensions the inverse is in closed form).
    """
    if not (concentration > 0 and isfinite(concentration)):
        raise SettingsError(
            f"Preferred views were given a concentration of {concentration}; wanted above zero; "
            "use uniform orientations for none."
        )
    chosen = torch.randint(len(axes), (n,), generator=generator)
    pole = torch.nn.functional.normalize(axes.double(), dim=1)[chosen]
    u = _uniform(n, generator)
    # w = cos(angle); written with log1p and expm1 so that neither end loses its digits.
    decay = torch.expm1(torch.tensor(-2.0 * concentration, dtype=torch.float64))
    w = (1 + torch.log1p((1 - u) * decay) / concentration).clamp(-1, 1)
    azimuth = 2 * pi * _uniform(n, generator)
    ring = (1 - w * w).sqrt()
    near_z = torch.stack([ring * azimuth.cos(), ring * azimuth.sin(), w], dim=1)
    directions = (_turn_z_to(pole) @ near_z[:, :, None])[:, :, 0]
    return _looking_along(directions, generator)


def side_views(n: int, spread_deg: float, generator: torch.Generator) -> RotationMatrices:
    """Draw poses that look across the z axis of the volume.

    The elevation of the view above the xy plane has a sine that is Gaussian with standard
    deviation ``sin(spread)``, cut off at the poles; the azimuth is uniform.

    Parameters
    ----------
    n : int
    spread_deg : float
        Above 0, at most 90.
    generator : torch.Generator

    Returns
    -------
    (n, 3, 3) float64
    """
    sigma = sin(radians(_checked_spread(spread_deg)))
    cut = torch.erf(torch.tensor(1 / (sigma * 2**0.5), dtype=torch.float64))
    z = (sigma * 2**0.5 * torch.erfinv((2 * _uniform(n, generator) - 1) * cut)).clamp(-1, 1)
    azimuth = 2 * pi * _uniform(n, generator)
    ring = (1 - z * z).sqrt()
    directions = torch.stack([ring * azimuth.cos(), ring * azimuth.sin(), z], dim=1)
    return _looking_along(directions, generator)


def draw_shifts(
    n: int, sigma_px: float, generator: torch.Generator, *, at_most_px: float | None = None
) -> Float[Tensor, "n 2"]:
    """Draw centering errors, Gaussian along x and y, ``(n, 2)`` float64 in pixels.

    Parameters
    ----------
    n : int
    sigma_px : float
        Standard deviation along each axis.
    generator : torch.Generator
    at_most_px : float, optional
        Values are clipped to this; default: ``8 / 3`` of the standard deviation.
    """
    limit = sigma_px * 8 / 3 if at_most_px is None else at_most_px
    shifts = sigma_px * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return shifts.clamp(-limit, limit)


def _looking_along(
    directions: Float[Tensor, "n 3"], generator: torch.Generator
) -> RotationMatrices:
    """Return poses with ``R[:, 2]`` along the directions and a uniform in-plane angle."""
    rot = torch.atan2(directions[:, 1], directions[:, 0])
    tilt = torch.atan2(directions[:, :2].norm(dim=1), directions[:, 2])
    psi = 2 * pi * _uniform(len(directions), generator)
    return euler_to_matrix(torch.rad2deg(torch.stack([rot, tilt, psi], dim=1)))


def _turn_z_to(axes: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
    rot = torch.atan2(axes[:, 1], axes[:, 0])
    tilt = torch.atan2(axes[:, :2].norm(dim=1), axes[:, 2])
    return euler_to_matrix(torch.rad2deg(torch.stack([rot, tilt, 0 * rot], dim=1)))


def _uniform(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, dtype=torch.float64)


def _checked_spread(spread_deg: float) -> float:
    if not 0 < spread_deg <= 90:
        raise SettingsError(
            f"The spread of preferred views is {spread_deg} degrees; wanted above 0 and at most "
            "90; use uniform orientations for no preference."
        )
    return spread_deg
