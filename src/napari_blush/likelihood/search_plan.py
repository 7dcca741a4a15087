"""Which poses are tried in an E-step, from the coarsest pass to the finest.

A pass at HEALPix order ``o`` looks at the Fourier shells that a rotation by its angular step
cannot blur (``coarse_size``), as RELION's first pass does. RELION has two passes; here a search
at order 3 may start with an exhaustive pass at order 2 and refine, pass by pass, only what holds
``adaptive_fraction`` of the posterior. ``exhaustive_order`` says where the exhaustive pass lies.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_blush.data_model.results import SamplingState
from napari_blush.numerics.orientation_grid import (
    OrientationGrid,
    offset_children,
    offset_grid,
    perturbation_rotation,
)


@dataclass(frozen=True, slots=True)
class SearchLevel:
    """One pass: orientations of ``grid`` up to Fourier radius ``r_max``; fine or coarse offsets."""

    grid: OrientationGrid
    r_max: int
    fine_offsets: bool
    last: bool


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """The passes of one E-step.

    Parameters
    ----------
    levels : tuple of SearchLevel
        Coarse to fine; each grid is the previous one with every cell halved.
    offsets_px : (t, 2) float32
        Coarse trial translations, added to each image's rounded old origin.
    fine_offsets_px : (t, c, 2) float32
        Children of each coarse translation, used by the last level.
    perturbation : (3, 3) float64
        Rotation that shifts the whole orientation grid this iteration.
    local_sigma_deg : float or None
        Width of the orientation prior of a local search; None for a global one.
    sampling : SamplingState
    """

    levels: tuple[SearchLevel, ...]
    offsets_px: Tensor
    fine_offsets_px: Tensor
    perturbation: Tensor
    local_sigma_deg: float | None
    sampling: SamplingState


def coarse_size(order: int, *, box_size: int, pixel_size: float, particle_diameter: float) -> int:
    """Return the image size (px) that a pass at ``order`` should look at.

    The step of the grid moves the rim of the particle by ``step / 360 * pi * D``; detail finer
    than that distance over 1.2 carries no information about which cell is right (RELION's rule).
    """
    step_deg = OrientationGrid(order).step_deg
    moved = step_deg / 360.0 * math.pi * particle_diameter
    size = 2 * math.ceil(pixel_size * box_size / (moved / 1.2))
    return min(size, box_size)


def make_search_plan(
    sampling: SamplingState,
    *,
    box_size: int,
    pixel_size: float,
    particle_diameter: float,
    current_size: int,
    exhaustive_order: int,
) -> SearchPlan:
    """Return the passes for ``sampling``, none looking beyond ``current_size``.

    The exhaustive pass of a global search is at ``min(exhaustive_order, healpix_order)``; a local
    search starts one order above ``healpix_order``, where its neighbourhood is a few dozen
    orientations at half the resolution.
    """
    local = sampling.local_search_sigma_deg is not None
    order = sampling.healpix_order
    first = max(order - 1, 0) if local else min(exhaustive_order, order)
    last = order + sampling.adaptive_oversampling
    levels = []
    for level_order in range(first, last + 1):
        size = coarse_size(
            level_order,
            box_size=box_size,
            pixel_size=pixel_size,
            particle_diameter=particle_diameter,
        )
        is_last = level_order == last
        r_max = current_size // 2 if is_last else min(size, current_size) // 2
        fine = is_last and sampling.adaptive_oversampling > 0
        levels.append(SearchLevel(OrientationGrid(level_order), r_max, fine, is_last))
    step = sampling.offset_step_angstrom / pixel_size
    moved = sampling.perturbation * step
    offsets = offset_grid(sampling.offset_range_angstrom / pixel_size, step) + moved
    children = offsets[:, None, :]
    for doubling in range(sampling.adaptive_oversampling):
        halved = offset_children(children.reshape(-1, 2), step / 2**doubling)
        children = halved.reshape(len(offsets), -1, 2)
    return SearchPlan(
        levels=tuple(levels),
        offsets_px=offsets.to(torch.float32),
        fine_offsets_px=children.to(torch.float32),
        perturbation=perturbation_rotation(sampling.perturbation, order),
        local_sigma_deg=sampling.local_search_sigma_deg,
        sampling=sampling,
    )
