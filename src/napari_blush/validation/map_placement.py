"""Brings a known map into the frame of a refined one: a small rotation and a shift, no more.

Refinement leaves the place of a map open; a correlation with a known map is worth something only
when both lie alike. What is moved is the known map, which holds no noise to be smoothed.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from scipy import ndimage, optimize
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.numerics.fft import fourier_resize
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.rotations import axis_angle_to_matrix

_STAGES = (2.0, 1.0)
"""Low-pass of each stage of the search, in units of the resolution: coarse, then fine."""

_COARSEST = 15.0
_VOXELS_PER_RESOLUTION = 3.0
_LEAST_BOX = 32
_SHIFT_UNIT = 0.5
"""Angstrom that weigh as much as a degree in the search."""

_SETTLED, _MOST_STEPS = 1e-5, 50

_LARGEST_OVERSAMPLED = 160
"""Voxels along the edge of a box up to which maps are interpolated on a grid twice as fine."""


@dataclass(frozen=True, slots=True)
class RigidPlacement:
    """How a map was moved.

    Parameters
    ----------
    rotation : (3, 3) float64
        About voxel ``n // 2``: the moved map is ``v(R^-1 (x - t))``.
    shift_angstrom : (3,) float64
        ``t``, (x, y, z).
    """

    rotation: Float[Tensor, "3 3"]
    shift_angstrom: Float[Tensor, "3"]

    @property
    def angle_deg(self) -> float:
        """Of the rotation."""
        cosine = (float(self.rotation.diagonal().sum()) - 1) / 2
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    @property
    def distance_angstrom(self) -> float:
        """Length of the shift."""
        return float(self.shift_angstrom.norm())


def rigid_placement(
    moving: Volume, fixed: Volume, mask: Volume, voxel_size: float, resolution: float
) -> RigidPlacement:
    """Find the rotation and shift that correlate a map best with another inside a mask.

    Parameters
    ----------
    moving, fixed, mask : (n, n, n)
        On one grid, ``n`` even; the mask is in the frame of ``fixed``.
    voxel_size : float
        Angstrom.
    resolution : float
        Angstrom; both maps are low-passed to it, and to twice it first.

    Notes
    -----
    A local search from where the map lies: it corrects what a refinement drifts by, and finds no
    map that lies elsewhere.
    """
    n = fixed.shape[-1]
    found = np.zeros(6)
    for factor in _STAGES:
        wanted = max(factor * resolution, _COARSEST if factor > 1 else 2.5 * voxel_size)
        fitting = 2 * ceil(n * voxel_size / (wanted / _VOXELS_PER_RESOLUTION) / 2)
        box = min(n, max(_LEAST_BOX, fitting))
        maps = [
            fourier_resize(low_pass(one.double(), voxel_size, wanted), box).cpu().numpy()
            for one in (moving, fixed)
        ]
        inside = fourier_resize(mask.double(), box).cpu().numpy() > 0.5
        found = _climbed(maps[0], maps[1], inside, n * voxel_size / box, found)
    rotation, shift = _parts(found)
    return RigidPlacement(torch.from_numpy(rotation), torch.from_numpy(shift))


def moved(volume: Volume, placement: RigidPlacement, voxel_size: float) -> Volume:
    """Return a map moved by a placement, ``(n, n, n)`` float32 on the CPU.

    Cubic splines, on a grid twice as fine where the box allows it; what comes in is zero.
    """
    n = volume.shape[-1]
    finer = 2 if n <= _LARGEST_OVERSAMPLED else 1
    fine = fourier_resize(volume.double().cpu(), finer * n) if finer > 1 else volume.double().cpu()
    # Arrays are (z, y, x), rotations and shifts (x, y, z).
    inverse = placement.rotation.T.numpy()[::-1, ::-1]
    center = np.full(3, finer * n // 2, dtype=float)
    shift = placement.shift_angstrom.numpy()[::-1] / voxel_size * finer
    turned = ndimage.affine_transform(
        fine.numpy(), inverse, offset=center - inverse @ (center + shift), order=3
    )
    result = torch.from_numpy(turned)
    return (fourier_resize(result, n) if finer > 1 else result).float()


def _parts(found: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
    """Return rotation and shift of six parameters: degrees about axes, and shifts."""
    vector = torch.from_numpy(np.radians(found[:3]))
    angle = float(vector.norm())
    axis = vector / angle if angle > 0 else torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    rotation = axis_angle_to_matrix(axis, torch.tensor(np.degrees(angle), dtype=torch.float64))
    return rotation.numpy(), found[3:] * _SHIFT_UNIT


def _climbed(
    moving: npt.NDArray[np.float64],
    fixed: npt.NDArray[np.float64],
    inside: npt.NDArray[np.bool_],
    voxel_size: float,
    start: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return the six parameters of the best correlation near ``start``."""
    center = moving.shape[0] // 2
    places = np.argwhere(inside)[:, ::-1] - float(center)
    wanted = fixed[inside] - fixed[inside].mean()
    wanted = wanted / np.linalg.norm(wanted)
    spline = ndimage.spline_filter(moving, 3)

    def rest(parameters: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Twice one less the correlation is the square of this."""
        rotation, shift = _parts(parameters)
        source = (places - shift / voxel_size) @ rotation  # rows of R^-1 (x - t)
        values = ndimage.map_coordinates(
            spline, source[:, ::-1].T + center, order=3, prefilter=False
        )
        values = values - values.mean()
        difference: npt.NDArray[np.float64] = (
            values / max(float(np.linalg.norm(values)), 1e-30) - wanted
        )
        return difference

    result = optimize.least_squares(rest, start, xtol=_SETTLED, max_nfev=_MOST_STEPS)
    return np.asarray(result.x, dtype=np.float64)
