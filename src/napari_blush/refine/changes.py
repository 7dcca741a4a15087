"""Applies what a person asked for between two iterations; refuses in words, never by failing."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

from napari_blush.data_model.results import AppliedChange
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import BlushError
from napari_blush.refine.context import RefinementContext
from napari_blush.refine.events import Message
from napari_blush.refine.half_comparison import spherical_solvent
from napari_blush.refine.inputs import check_diameter, checked_mask
from napari_blush.refine.sampling_changes import with_sampling
from napari_blush.refine.schedule import fine_step_deg, particle_diameter
from napari_blush.refine.state import RefinementState
from napari_blush.refine.steering import (
    Change,
    ChangeMask,
    ChangeOffsetSearch,
    ChangeSettings,
    FinishNow,
    SearchLocally,
    Steering,
)
from napari_blush.regularization.registry import make_regularizer

Steered: TypeAlias = tuple[RefinementContext, RefinementState, bool, list[Message]]

AT_THE_START_ONLY = frozenset(
    {
        "symmetry",
        "helical_twist",
        "helical_rise",
        "helical_fraction",
        "helical_tilt_range",
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
    {
        "regularizer",
        "denoiser",
        "denoise_from",
        "spectral_trailing",
        "trailing_shells",
        "trailing_limit",
        "trailing_fill",
        "denoiser_strength",
        "denoiser_gain",
        "denoiser_stride",
    }
)
"""Settings for which the regularizer is made anew."""


def steered(context: RefinementContext, state: RefinementState, steering: Steering) -> Steered:
    """Apply what was asked for since the last iteration.

    Returns
    -------
    context, state, finish, messages
        What was changed is added to ``context.changes``; ``finish`` is whether the next iteration
        is to be the last; what cannot be done is a warning among ``messages`` and changes nothing.
    """
    finish = False
    messages: list[Message] = []
    applied: list[AppliedChange] = []
    for change in steering.take():
        old = context
        message: Message | None = None
        match change:
            case FinishNow():
                finish = True
            case ChangeMask():
                context, message = with_mask(context, change)
            case ChangeSettings():
                context, message = with_settings(context, change)
            case _:
                state, message = with_sampling(state, change, context)
        if message is not None:
            messages.append(message)
        if message is None or not message.warning:
            applied.append(record_of(change, old, state))
    if applied:
        context = replace(context, changes=(*context.changes, *applied))
    return context, state, finish, messages


def record_of(change: Change, before: RefinementContext, state: RefinementState) -> AppliedChange:
    """Return what is kept of a change that was made; ``state`` is the one after it."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    match change:
        case FinishNow():
            return AppliedChange("finish", now)
        case ChangeMask(mask=None):
            return AppliedChange("no mask", now, {"solvent_mask": None})
        case ChangeMask(mask=mask):
            return AppliedChange("mask", now, mask=mask)
        case ChangeSettings(values=values):
            return AppliedChange(words_of(before.settings, values), now, values)
        case ChangeOffsetSearch():
            return AppliedChange(f"offsets to {state.sampling.offset_range_angstrom:.1f} A", now)
    step = fine_step_deg(state.sampling)
    where = "" if state.sampling.local_search_sigma_deg is None else ", local"
    return AppliedChange(f"step {step:.2f} deg{where}", now)


def asked_in_words(change: Change) -> str:
    """Return what waits for the next iteration, in words."""
    match change:
        case FinishNow():
            return "finish"
        case ChangeMask(mask=mask):
            return "no mask" if mask is None else "mask"
        case ChangeSettings(values=values):
            return ", ".join(f"{name} {value_in_words(values[name])}" for name in sorted(values))
        case ChangeOffsetSearch(range_angstrom=reach):
            return f"offsets to {reach:.1f} A"
        case SearchLocally():
            return "local search"
    return "finer step"


def words_of(before: RefinementSettings, values: Mapping[str, Any]) -> str:
    """Return settings that change, as ``tau2_fudge 1 to 2``."""
    return ", ".join(
        f"{name} {value_in_words(getattr(before, name))} to {value_in_words(value)}"
        for name, value in sorted(values.items())
    )


def value_in_words(value: Any) -> str:
    """Return the value of a setting as a person writes it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


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
