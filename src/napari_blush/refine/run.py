"""The one door to a refinement, for the command line, the plugin and a notebook alike."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace

import torch
from torch import Tensor

from napari_blush.data_model.particles import Particles
from napari_blush.data_model.results import AppliedChange, RefinementResult
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import RefinementError
from napari_blush.likelihood.work_budget import BudgetInUse, WorkBudget
from napari_blush.numerics.devices import chosen_device
from napari_blush.numerics.packing import packed_coordinates
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.slice_extraction import slice_backend
from napari_blush.refine.auto_refine import auto_refine
from napari_blush.refine.checked_images import CheckedImages
from napari_blush.refine.context import RefinementContext
from napari_blush.refine.events import Message, RefinementEvent, RunStarted
from napari_blush.refine.first_state import first_state
from napari_blush.refine.half_comparison import spherical_solvent
from napari_blush.refine.helical import halves_by_micrograph, helix_of
from napari_blush.refine.inputs import (
    check_state,
    checked_mask,
    checked_particles,
    checked_reference,
)
from napari_blush.refine.memory import plan_memory
from napari_blush.refine.next_references import check_origin
from napari_blush.refine.schedule import Geometry, particle_diameter
from napari_blush.refine.state import RefinementState
from napari_blush.refine.steering import Steering
from napari_blush.refine.work_clock import WorkClock
from napari_blush.regularization.registry import make_regularizer
from napari_blush.regularization.regularizer import Regularizer, origin

_NO_MASK = {
    True: "No mask was given: a soft one is drawn around each half's own map at every iteration.",
    False: "No mask was given: references keep the solvent inside the sphere, and the FSC without "
    "a mask drives the run.",
}


def run(
    settings: RefinementSettings,
    particles: Particles,
    reference: tuple[Tensor, float],
    *,
    mask: tuple[Tensor, float] | None = None,
    resume_from: RefinementState | None = None,
    branched: tuple[AppliedChange, ...] | None = None,
    steering: Steering | None = None,
    regularizer: Regularizer | None = None,
) -> Generator[RefinementEvent, None, RefinementResult]:
    """Refine particles against a start map; a generator of events that ends with ``RunFinished``.

    Pause by not asking for the next event; cancel with ``close()``; steer through ``steering``.
    The latency of all three is one particle batch.

    Parameters
    ----------
    settings : RefinementSettings
    particles : Particles
        Halves are taken from ``random_subset`` or drawn from ``settings.seed``.
    reference : ((n, n, n) tensor, float)
        Start map and its voxel size in angstrom; rescaled, padded or cropped to the particles.
    mask : ((n, n, n) tensor, float), optional
        Solvent mask with values in [0, 1] and its voxel size.
    resume_from : RefinementState, optional
        A state from an ``IterationFinished`` of the same run: it goes on exactly from there.
    branched : tuple of AppliedChange, optional
        Given when ``resume_from`` is of another run: what is done otherwise from here on.
    steering : Steering, optional
    regularizer : Regularizer, optional
        Instead of the one that ``settings.regularizer`` names.

    Raises
    ------
    SettingsError, RefinementError
        In one sentence, before anything is computed, when the input cannot be refined.
    """
    threads = torch.get_num_threads()
    try:
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        context, start, messages = prepared_run(
            settings, particles, reference, mask, resume_from, regularizer, branched
        )
        yield run_started(context, start)
        yield from messages
        events = auto_refine(context, start, steering or Steering())
        return (yield from without_gradients(events, context.clock))
    finally:
        torch.set_num_threads(threads)


def without_gradients(
    events: Generator[RefinementEvent, None, RefinementResult], clock: WorkClock
) -> Generator[RefinementEvent, None, RefinementResult]:
    """Pass events on, with gradients off while the next one is made and never in between.

    Gradient mode belongs to a thread: left off across a ``yield`` it would be off for whoever
    follows the run. In between, the clock of the run stands still.
    """
    with closing(events):
        while True:
            with torch.no_grad():
                try:
                    event = next(events)
                except StopIteration as finished:
                    result: RefinementResult = finished.value
                    return result
            with clock.stopped():
                yield event


@torch.no_grad()
def prepared_run(
    settings: RefinementSettings,
    particles: Particles,
    reference: tuple[Tensor, float],
    mask: tuple[Tensor, float] | None,
    resume_from: RefinementState | None,
    regularizer: Regularizer | None,
    branched: tuple[AppliedChange, ...] | None = None,
) -> tuple[RefinementContext, RefinementState, list[Message]]:
    """Check what a run is given; return its fixed part, its state, and what a person must know."""
    device = chosen_device(settings.device, RefinementError)
    messages = device_messages(settings, device)
    checks = checked_particles(particles, settings)
    messages += checks.messages
    if settings.helical_rise is not None and bool((particles.random_subset == 0).any()):
        subset, warning = halves_by_micrograph(particles, settings.seed)
        particles = replace(particles, random_subset=subset)
        messages += [] if warning is None else [warning]
    geometry = Geometry(
        checks.box_size,
        checks.pixel_size,
        particle_diameter(settings, checks.box_size, checks.pixel_size),
    )
    volume, notes = checked_reference(*reference, geometry)
    messages += notes
    solvent_mask = None
    if mask is not None:
        solvent_mask, notes = checked_mask(*mask, geometry)
        messages += notes
    else:
        messages.append(Message(_NO_MASK[settings.automatic_mask], warning=True))
    streams = 2 if device.type == "cpu" and torch.get_num_threads() > 1 else 1
    budget, notes = plan_memory(settings, geometry, device, streams)
    messages += notes
    context = make_context(
        settings,
        replace(particles, images=CheckedImages(particles.images)),
        geometry,
        solvent_mask,
        device,
        checks.normalize_background,
        regularizer,
        budget,
    )
    if resume_from is None:
        return context, first_state(context, volume), messages
    check_state(resume_from, particles, geometry)
    messages += check_origin(resume_from, context.regularizer, may_differ=branched is not None)
    return replace(context, changes=branched or ()), resume_from, messages


def run_started(context: RefinementContext, state: RefinementState) -> RunStarted:
    """Return the first event of a run."""
    halves = [int((state.random_subset == half).sum()) for half in (1, 2)]
    return RunStarted(
        n_particles=len(state.random_subset),
        n_per_half=(halves[0], halves[1]),
        box_size=context.geometry.box_size,
        pixel_size=context.geometry.pixel_size,
        first_iteration=state.iteration + 1,
        device=str(context.device),
        backend=slice_backend(context.device),
        regularizer=origin(context.regularizer),
    )


def device_messages(settings: RefinementSettings, device: torch.device) -> list[Message]:
    """Return what the user must know about where and how it runs."""
    messages = []
    if device.type == "cpu" and settings.device == "auto":
        messages.append(Message("No CUDA device found: running on the CPU.", warning=True))
    if device.type == "cpu" and slice_backend(device) != "numba":
        messages.append(
            Message(
                "numba is not installed: projections run several times slower; "
                "install napari-blush[cpu].",
                warning=True,
            )
        )
    return messages


def make_context(
    settings: RefinementSettings,
    particles: Particles,
    geometry: Geometry,
    mask: Tensor | None,
    device: torch.device,
    normalize_background: bool,
    regularizer: Regularizer | None,
    budget: WorkBudget,
) -> RefinementContext:
    """Return the fixed part of a run."""
    return RefinementContext(
        settings=settings,
        particles=particles,
        geometry=geometry,
        coordinates=packed_coordinates(geometry.box_size, geometry.box_size // 2, device),
        solvent=spherical_solvent(geometry) if mask is None else mask,
        mask=mask,
        operators=symmetry_operators(settings.symmetry),
        regularizer=regularizer or make_regularizer(settings, device),
        device=device,
        budget=BudgetInUse(budget),
        normalize_background=normalize_background,
        helix=helix_of(settings, geometry),
    )
