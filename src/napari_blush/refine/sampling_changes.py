"""Changes of how finely and how far poses are searched, at a person's word."""

import math
from dataclasses import replace
from typing import TypeAlias

from napari_blush.refine.context import RefinementContext
from napari_blush.refine.events import Message
from napari_blush.refine.schedule import FINEST_ORDER, fine_step_deg, finer_sampling
from napari_blush.refine.state import RefinementState
from napari_blush.refine.steering import ChangeOffsetSearch, SampleFiner, SearchLocally

SIGMA_STEPS = 2  # a local search reaches poses by a Gaussian of so many fine steps (RELION)
LEAST_STEPS = 1.5  # of the coarse pass to either side of an offset

SamplingChange: TypeAlias = SampleFiner | SearchLocally | ChangeOffsetSearch


def with_sampling(
    state: RefinementState, change: SamplingChange, context: RefinementContext
) -> tuple[RefinementState, Message]:
    """Return the state with another search, or as it was with a warning that says why."""
    match change:
        case SampleFiner():
            return with_finer_step(state, change, context)
        case SearchLocally():
            return with_local_search(state, context)
    return with_offset_search(state, change, context)


def with_finer_step(
    state: RefinementState, change: SampleFiner, context: RefinementContext
) -> tuple[RefinementState, Message]:
    """Return the state with the angular step halved."""
    if state.sampling.healpix_order + state.sampling.adaptive_oversampling >= FINEST_ORDER:
        step = fine_step_deg(state.sampling)
        return state, Message(f"The angular step stays: {step:.3f} degrees is the finest.", True)
    sampling, progress = finer_sampling(state.sampling, state.progress, context.settings)
    step = fine_step_deg(sampling)
    if change.local:
        sampling = replace(sampling, local_search_sigma_deg=SIGMA_STEPS * step)
    where = "" if sampling.local_search_sigma_deg is None else ", searched around the last poses"
    message = Message(f"The angular step is now {step:.2f} degrees{where}.")
    return replace(state, sampling=sampling, progress=progress), message


def with_local_search(
    state: RefinementState, context: RefinementContext
) -> tuple[RefinementState, Message]:
    """Return the state with searches around the last poses."""
    if state.iteration == 0 and not context.particles.has_poses:
        return state, Message(
            "Searches stay global: no pose is known yet; ask again after the first iteration.",
            warning=True,
        )
    if state.sampling.local_search_sigma_deg is not None:
        return state, Message("Searches are local already.", warning=True)
    sigma = SIGMA_STEPS * fine_step_deg(state.sampling)
    sampling = replace(state.sampling, local_search_sigma_deg=sigma)
    return replace(state, sampling=sampling), Message(
        f"Poses are now searched around the last ones, with a sigma of {sigma:.1f} degrees."
    )


def with_offset_search(
    state: RefinementState, change: ChangeOffsetSearch, context: RefinementContext
) -> tuple[RefinementState, Message]:
    """Return the state with another range of offsets."""
    reach = change.range_angstrom
    largest = context.geometry.box_size * context.geometry.pixel_size / 2
    if not (math.isfinite(reach) and 0 < reach <= largest):
        return state, Message(
            f"The offset range stays: {reach:g} A was given; wanted more than 0 and at most half "
            f"the box, {largest:g} A.",
            warning=True,
        )
    step = min(state.sampling.offset_step_angstrom, reach / LEAST_STEPS)
    sampling = replace(state.sampling, offset_range_angstrom=reach, offset_step_angstrom=step)
    return replace(state, sampling=sampling), Message(
        f"Offsets are now searched up to {reach:.1f} A, in steps of {step:.2f} A."
    )
