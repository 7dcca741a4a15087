"""How finely to search and how far to look, from what the last iteration has shown.

RELION's rules (Scheres 2012, section 2.5; method notes in the documentation), with offset steps in
angstrom throughout.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from napari_blush.conventions import FSC_AGAINST_TRUTH, FSC_GOLD_STANDARD
from napari_blush.data_model.results import Accuracy, SamplingState
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.numerics.orientation_grid import OrientationGrid
from napari_blush.refine.state import Progress

FINE_ENOUGH = 0.75  # of the rotational accuracy: a smaller step brings nothing
GRID_LIMITED = 2.0  # times the accuracy: a step so coarse is what limits the poses
FINEST_ORDER = 10  # HEALPix order of the last pass: 0.06 degrees, finer than any accuracy claimed
STEP_OF_ACCURACY = 0.75  # offset step as a part of the translational accuracy
LARGEST_NEW_STEP_PX = 1.5  # in the pixels of the images, before oversampling
RANGE_OF_CHANGE = 5.0  # the offset search reaches so many times the last changes
PERTURBATION = 0.5  # largest random shift of the grids, as a part of their step
HIGH_FSC = 0.2  # at the resolution limit: there is more to be had
HIGH_P_MAX = 0.1  # mean over the particles: poses are known well enough to go on fast
SHELLS_BEYOND_FALL = 5  # that are looked at beyond what the fall of the FSC takes
FAST_GROWTH = 0.25  # of the Nyquist radius, when p_max and FSC are high


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes that the schedule is computed from: box (px), pixel size and diameter (angstrom)."""

    box_size: int
    pixel_size: float
    particle_diameter: float


def first_sampling(settings: RefinementSettings, geometry: Geometry) -> SamplingState:
    """Return the sampling of the first iteration."""
    local = settings.healpix_order >= settings.local_search_from
    state = SamplingState(
        healpix_order=settings.healpix_order,
        adaptive_oversampling=settings.adaptive_oversampling,
        offset_range_angstrom=settings.offset_range * geometry.pixel_size,
        offset_step_angstrom=settings.offset_step * geometry.pixel_size,
        local_search_sigma_deg=None,
        perturbation=0.0,
    )
    return replace(state, local_search_sigma_deg=2 * fine_step_deg(state)) if local else state


def fine_step_deg(sampling: SamplingState) -> float:
    """Return the angular step of the last pass."""
    return float(
        OrientationGrid(sampling.healpix_order).step_deg / 2**sampling.adaptive_oversampling
    )


def perturb(sampling: SamplingState, generator: torch.Generator) -> SamplingState:
    """Return the sampling with its grids moved by a random part of their step."""
    step = PERTURBATION * (0.5 + 0.5 * float(torch.rand((), generator=generator)))
    moved = sampling.perturbation + step
    if moved > PERTURBATION:
        moved -= 2 * PERTURBATION
    return replace(sampling, perturbation=moved)


def next_sampling(
    sampling: SamplingState,
    progress: Progress,
    accuracy: Accuracy,
    settings: RefinementSettings,
    geometry: Geometry,
) -> tuple[SamplingState, Progress]:
    """Return the sampling of the next iteration and the counters it leaves.

    Finer when neither resolution nor poses improve any more, and never much finer than the
    accuracy can use. A global search that is clearly coarser than the accuracy does not wait: its
    poses cannot settle, whatever the iterations.
    """
    stalled = progress.iterations_without_gain >= 1 and progress.iterations_without_change >= 1
    step_deg = fine_step_deg(sampling)
    stays_global = sampling.healpix_order + 1 < settings.local_search_from
    limited_by_grid = stays_global and step_deg > GRID_LIMITED * accuracy.rotation_deg
    if not (stalled or limited_by_grid):
        return sampling, progress
    finest = sampling.healpix_order + sampling.adaptive_oversampling >= FINEST_ORDER
    if finest or step_deg < FINE_ENOUGH * accuracy.rotation_deg:
        return sampling, replace(progress, fine_enough=True)
    finer, reset = finer_sampling(sampling, progress, settings)
    step, reach = _offset_search(sampling, progress, accuracy, geometry)
    return replace(finer, offset_step_angstrom=step, offset_range_angstrom=reach), reset


def finer_sampling(
    sampling: SamplingState, progress: Progress, settings: RefinementSettings
) -> tuple[SamplingState, Progress]:
    """Return half the angular step and the counters it leaves; local from the order set for it."""
    finer = replace(sampling, healpix_order=sampling.healpix_order + 1)
    was_local = sampling.local_search_sigma_deg is not None
    if was_local or finer.healpix_order >= settings.local_search_from:
        finer = replace(finer, local_search_sigma_deg=2 * fine_step_deg(finer))
    reset = replace(
        progress,
        iterations_without_gain=0,
        iterations_without_change=0,
        smallest_change_rotation_deg=999.0,
        smallest_change_offset_angstrom=999.0,
    )
    return finer, reset


def _offset_search(
    sampling: SamplingState, progress: Progress, accuracy: Accuracy, geometry: Geometry
) -> tuple[float, float]:
    """Return the new offset step and range in angstrom."""
    doubled = 2**sampling.adaptive_oversampling
    largest = LARGEST_NEW_STEP_PX * geometry.pixel_size
    step = min(largest, STEP_OF_ACCURACY * accuracy.translation_angstrom) * doubled
    step = min(step, sampling.offset_step_angstrom)
    reach = RANGE_OF_CHANGE * progress.change_offset_angstrom
    reach = max(min(reach, 1.3 * sampling.offset_range_angstrom), 1.5 * step)
    if reach > 4 * step:
        reach /= 2
        if reach > 4 * step:
            step = min(reach / 4, sampling.offset_step_angstrom)
    return step, reach


def resolution_shell(data_vs_prior: Tensor) -> int:
    """Return the last shell before the signal-to-noise ratio first falls below 1.

    A second crossing is believed when it lies more than three shells further: a CTF zero in the
    middle of good data must not stop the refinement. At least shell 5.
    """
    below = torch.nonzero(data_vs_prior[1:] < 1)
    first = int(below[0]) if len(below) else len(data_vs_prior) - 1
    above = torch.nonzero(data_vs_prior >= 1)
    last = int(above[-1]) if len(above) else 0
    return max(last if last > first + 3 else first, 5)


def count_fsc(progress: Progress, fsc: Tensor, current_size: int) -> Progress:
    """Return the counters after an iteration that looked at ``current_size`` and found ``fsc``.

    The next image size reaches at least 5 shells further beyond the resolution than the curve
    takes from 0.5 to 0.143: the slower it falls, the more may lie beyond. A curve that is still
    high at the limit of the iteration (once is enough) lets the size grow fast.
    """
    falls = _first_below(fsc, FSC_GOLD_STANDARD) - _first_below(fsc, FSC_AGAINST_TRUTH)
    limit = min(current_size // 2, len(fsc)) - 1
    return replace(
        progress,
        increment_size=max(progress.increment_size, falls + SHELLS_BEYOND_FALL),
        high_fsc_at_limit=progress.high_fsc_at_limit or float(fsc[limit]) > HIGH_FSC,
    )


def next_current_size(progress: Progress, box_size: int) -> int:
    """Return the image size to look at, from the resolution shell reached so far."""
    grow = progress.increment_size
    if progress.average_p_max > HIGH_P_MAX and progress.high_fsc_at_limit:
        grow = max(grow, math.floor(FAST_GROWTH * box_size / 2 + 0.5))
    return min(2 * (progress.resolution_shell + grow), box_size)


def _first_below(fsc: Tensor, threshold: float) -> int:
    """Return the first shell whose correlation is below ``threshold``; their number if none is."""
    below = torch.nonzero(fsc < threshold)
    return int(below[0]) if len(below) else len(fsc)


def particle_diameter(settings: RefinementSettings, box_size: int, pixel_size: float) -> float:
    """Return the mask diameter in angstrom: as set, or the box less 5 px."""
    return settings.particle_diameter or (box_size - 5) * pixel_size
