"""How well a set of views covers Fourier space: the weights that a reconstruction would have.

The weight of a Fourier voxel is the sum of the squared CTF of the views whose slices pass it.
The noise of an unregularized reconstruction has the power of the images' noise divided by it.
"""

from dataclasses import dataclass
from math import radians
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import RotationMatrices
from napari_blush.errors import SettingsError
from napari_blush.numerics.ctf import CtfEvaluator, CtfOptics
from napari_blush.numerics.packing import packed_coordinates
from napari_blush.numerics.rotations import random_rotations
from napari_blush.numerics.slice_insertion import SliceAccumulator
from napari_blush.simulation.orientations import draw_orientations, preferred_views

ViewKind = Literal["uniform", "side", "top", "several"]

_VIEWS_AT_A_TIME = 512
_ANGSTROM_PER_MICROMETER = 1e4


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """From where particles are seen, and at which defocus.

    Parameters
    ----------
    count : int
        Views of one half.
    kind : {"uniform", "side", "top", "several"}
        Preferred views: none, across the z axis, along it, or along several random axes.
    spread_deg : float
        Width of the preference.
    preferred_share : float
        Share of the views that follow the preference; the rest are uniform.
    defocus_um : (float, float)
        Range of the micrographs' underfocus.
    micrographs : int
        Distinct values of the defocus in that range.
    voltage_kv : float
    """

    count: int
    kind: ViewKind = "uniform"
    spread_deg: float = 15.0
    preferred_share: float = 1.0
    defocus_um: tuple[float, float] = (0.8, 2.5)
    micrographs: int = 20
    voltage_kv: float = 300.0

    def __post_init__(self) -> None:
        if self.count < 1 or self.micrographs < 1 or not 0 <= self.preferred_share <= 1:
            raise SettingsError(
                f"A plan of {self.count} views from {self.micrographs} micrographs with a "
                f"preferred share of {self.preferred_share} was given; wanted at least 1, at "
                "least 1, and a share from 0 to 1."
            )


def draw_views(
    plan: ViewPlan, axes: Float[Tensor, "a 3"], generator: torch.Generator
) -> RotationMatrices:
    """Draw the poses of one half, ``(count, 3, 3)`` float64.

    ``axes`` are the preferred viewing directions of the kind ``several``; both halves see the
    same molecule in the same ice, so they share them.
    """
    preferred = round(plan.count * plan.preferred_share) if plan.kind != "uniform" else 0
    parts = [random_rotations(plan.count - preferred, generator).double()]
    if preferred and plan.kind == "several":
        concentration = radians(plan.spread_deg) ** -2
        parts.append(preferred_views(preferred, axes, concentration, generator))
    elif preferred and plan.kind != "several":
        parts.append(draw_orientations(preferred, plan.kind, plan.spread_deg, generator))
    return torch.cat(parts)


def draw_squared_ctf(
    plan: ViewPlan,
    box_size: int,
    voxel_size: float,
    r_max: int,
    generator: torch.Generator,
) -> Float[Tensor, "count k"]:
    """Draw a defocus for each view and return the squared CTFs at the packed coefficients."""
    coordinates = packed_coordinates(box_size, r_max, torch.device("cpu"))
    evaluator = CtfEvaluator(
        CtfOptics(plan.voltage_kv, 2.7, 0.1, voxel_size, box_size), coordinates
    )
    m = plan.micrographs
    low, high = plan.defocus_um
    mean = low + (high - low) * torch.rand(m, generator=generator, dtype=torch.float64)
    half_difference = 0.02 * torch.rand(m, generator=generator, dtype=torch.float64)
    angle = 180 * torch.rand(m, generator=generator, dtype=torch.float64)
    defocus = torch.stack(
        [
            _ANGSTROM_PER_MICROMETER * (mean + half_difference),
            _ANGSTROM_PER_MICROMETER * (mean - half_difference),
            angle,
        ],
        dim=1,
    )
    nothing, ones = torch.zeros(m), torch.ones(m)
    squared = evaluator.ctf(defocus, nothing, nothing, ones, len(coordinates)).square()
    return squared[torch.randint(m, (plan.count,), generator=generator)]


def weight_volume(
    rotations: RotationMatrices,
    squared_ctf: Float[Tensor, "count k"],
    box_size: int,
    r_max: int,
) -> Float[Tensor, "n n half"]:
    """Sum squared CTFs over the Fourier voxels that the slices pass.

    Parameters
    ----------
    rotations : (count, 3, 3)
    squared_ctf : (count, k)
        At ``packed_coordinates(box_size, r_max)``.
    box_size : int
    r_max : int
        Fourier voxels.

    Returns
    -------
    (n, n, n // 2 + 1) float32
        On the layout of a half transform, Hermitian; 0 beyond ``r_max`` and at the origin.
    """
    coordinates = packed_coordinates(box_size, r_max, torch.device("cpu"))
    sums = SliceAccumulator(box_size, r_max=r_max, padding=1)
    for first in range(0, len(rotations), _VIEWS_AT_A_TIME):
        weights = squared_ctf[first : first + _VIEWS_AT_A_TIME]
        sums.insert(
            rotations[first : first + _VIEWS_AT_A_TIME],
            torch.zeros(weights.shape, dtype=torch.complex64),
            weights,
            coordinates,
        )
    sums.enforce_hermitian()
    return _on_half_transform(sums.weight, box_size, r_max)


def _on_half_transform(
    weight: Float[Tensor, "d d h"], box_size: int, r_max: int
) -> Float[Tensor, "n n half"]:
    center = weight.shape[0] // 2
    frequency = torch.fft.fftfreq(box_size, 1 / box_size).round().long()
    x = torch.arange(box_size // 2 + 1)
    held = frequency.abs() <= center
    rows = torch.nonzero(held).flatten()
    columns = x[x <= center]
    result = torch.zeros(box_size, box_size, box_size // 2 + 1)
    source = weight[frequency[rows] + center][:, frequency[rows] + center][:, :, columns]
    result[rows[:, None, None], rows[None, :, None], columns] = source
    squared = frequency[:, None, None] ** 2 + frequency[:, None] ** 2 + x**2
    result[squared > (r_max + 0.5) ** 2] = 0.0
    return result
