"""Applies what a person asked for between two iterations; refuses in words, never by failing."""

from dataclasses import replace
from typing import Any, TypeAlias

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import BlushError
from napari_blush.refine.context import RefinementContext
from napari_blush.refine.events import Message
from napari_blush.refine.half_comparison import spherical_solvent
from napari_blush.refine.inputs import check_diameter, checked_mask
from napari_blush.refine.schedule import (
    FINEST_ORDER,
    fine_step_deg,
    finer_sampling,
    particle_diameter,
)
from napari_blush.refine.state import RefinementState
from napari_blush.refine.steering import (
    ChangeMask,
    ChangeSettings,
    FinishNow,
    SampleFiner,
    Steering,
)
from napari_blush.regularization.registry import make_regularizer

Steered: TypeAlias = tuple[RefinementContext, RefinementState, bool, list[Message]]

AT_THE_START_ONLY = frozenset(
    {
        "symmetry",
        "initial_low_pass",
        "solvent_mask",
        "first_iteration_cc",
        "healpix_order",
        "adaptive_oversampling",
        "offset_range",
        "offset_step",
        "seed",
        "device",
        "threads",
        "memory_limit",
    }
)
"""Settings that a run reads once: changing them later would do nothing, or half of something."""

OF_THE_REGULARIZER = frozenset(
    {"regularizer", "denoiser", "spectral_trailing", "denoiser_gain", "denoiser_stride"}
)
"""Settings for which the regularizer is made anew."""


def steered(context: RefinementContext, state: RefinementState, steering: Steering) -> Steered:
    """Apply what was asked for since the last iteration.

    Returns
    -------
    context, state, finish, messages
        ``finish`` is whether the next iteration is to be the last; what cannot be done is a
        warning among ``messages`` and changes nothing.
    """
    finish = False
    messages = []
    for change in steering.take():
        match change:
            case FinishNow():
                finish = True
                continue
            case SampleFiner():
                state, message = with_finer_sampling(state, change, context.settings)
            case ChangeMask():
                context, message = with_mask(context, change)
            case ChangeSettings():
                context, message = with_settings(context, change)
        messages.append(message)
    return context, state, finish, messages


def with_finer_sampling(
    state: RefinementState, change: SampleFiner, settings: RefinementSettings
) -> tuple[RefinementState, Message]:
    """Return the state with the angular step halved."""
    if state.sampling.healpix_order + state.sampling.adaptive_oversampling >= FINEST_ORDER:
        step = fine_step_deg(state.sampling)
        return state, Message(f"The angular step stays: {step:.3f} degrees is the finest.", True)
    sampling, progress = finer_sampling(state.sampling, state.progress, settings)
    step = fine_step_deg(sampling)
    if change.local:
        sampling = replace(sampling, local_search_sigma_deg=2 * step)
    where = "" if sampling.local_search_sigma_deg is None else ", searched around the last poses"
    message = Message(f"The angular step is now {step:.2f} degrees{where}.")
    return replace(state, sampling=sampling, progress=progress), message


def with_mask(context: RefinementContext, change: ChangeMask) -> tuple[RefinementContext, Message]:
    """Return the context with another solvent mask, or with none."""
    geometry = context.geometry
    if change.mask is None:
        return (
            replace(context, mask=None, solvent=spherical_solvent(geometry)),
            Message("The solvent mask of the run is no longer used."),
        )
    if change.mask.shape[-1] != geometry.box_size:
        return context, Message(
            f"The mask was not changed: it has {change.mask.shape[-1]} voxels along an edge and "
            f"the particles {geometry.box_size}; rescale it to the box of the run.",
            warning=True,
        )
    try:
        mask, _ = checked_mask(change.mask, geometry.pixel_size, geometry)
    except BlushError as error:
        return context, Message(f"The mask was not changed: {error}", warning=True)
    return replace(context, mask=mask, solvent=mask), Message("The solvent mask was changed.")


def with_settings(
    context: RefinementContext, change: ChangeSettings
) -> tuple[RefinementContext, Message]:
    """Return the context with other settings and all that follows from them, or why not."""
    names = ", ".join(sorted(change.values))
    fixed = sorted(AT_THE_START_ONLY & set(change.values))
    if fixed:
        return context, Message(
            f"Not changed ({names}): {', '.join(fixed)} can only be set at the start of a run.",
            warning=True,
        )
    try:
        changed = changed_context(context, change.values)
    except (ValueError, BlushError) as error:
        return context, Message(f"Not changed ({names}): {error}", warning=True)
    return changed, Message(f"Changed: {names}.")


def changed_context(context: RefinementContext, values: dict[str, Any]) -> RefinementContext:
    """Return the context with other settings.

    Raises
    ------
    ValueError, BlushError
        When a value cannot be.
    """
    merged = {**context.settings.model_dump(), **values}
    settings = RefinementSettings.model_validate(merged)
    old = context.geometry
    diameter = particle_diameter(settings, old.box_size, old.pixel_size)
    check_diameter(diameter, old.box_size, old.pixel_size)
    geometry = replace(old, particle_diameter=diameter)
    regularizer = context.regularizer
    if OF_THE_REGULARIZER & values.keys():
        regularizer = make_regularizer(settings, context.device)
    return replace(
        context,
        settings=settings,
        geometry=geometry,
        solvent=spherical_solvent(geometry) if context.mask is None else context.mask,
        regularizer=regularizer,
    )
