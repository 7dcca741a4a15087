"""Gold-standard auto-refinement: iterate until nothing improves, then once more on all data."""

from collections.abc import Generator
from dataclasses import replace

import torch

from napari_blush.data_model.results import Accuracy, Outcome, RefinementResult
from napari_blush.likelihood.accuracy import N_PARTICLES, AccuracyProblem, estimate_accuracy
from napari_blush.numerics.orientation_grid import change_pixel_order
from napari_blush.refine.changes import steered
from napari_blush.refine.context import RefinementContext
from napari_blush.refine.convergence import has_converged
from napari_blush.refine.events import IterationStarted, RefinementEvent
from napari_blush.refine.finalize import finalize
from napari_blush.refine.half_expectation import image_preparer, reference_slices
from napari_blush.refine.iteration import iterate
from napari_blush.refine.schedule import (
    next_current_size,
    next_sampling,
    perturb,
)
from napari_blush.refine.state import RefinementState
from napari_blush.refine.steering import Steering


def auto_refine(
    context: RefinementContext, state: RefinementState, steering: Steering
) -> Generator[RefinementEvent, None, RefinementResult]:
    """Iterate from ``state`` to the end of the run.

    Yields
    ------
    RefinementEvent
        The last one is ``RunFinished``.
    """
    while True:
        context, state, finish_now, messages = steered(context, state, steering)
        yield from messages
        convergence = has_converged(state.progress)
        if state.iteration >= context.settings.max_iterations:
            outcome, reason = Outcome.MAX_ITERATIONS, "the largest number of iterations was reached"
            break
        if finish_now:
            outcome, reason = Outcome.FINISHED_EARLY, "asked to finish with what was there"
            break
        if convergence.done:
            outcome, reason = Outcome.CONVERGED, convergence.reason
            break
        state = prepare(context, state)
        size = next_current_size(state.progress, context.geometry.box_size)
        changed = tuple(change.what for change in context.changes)
        yield IterationStarted(
            state.iteration + 1, state.sampling, state.accuracy, size, False, changed
        )
        state = yield from iterate(context, state, size)
        context = replace(context, changes=())
    state = prepare(context, state)
    return (yield from finalize(context, state, outcome, reason))


def prepare(context: RefinementContext, state: RefinementState) -> RefinementState:
    """Return the state with accuracy, sampling and grid perturbation of the next iteration."""
    number = state.iteration + 1
    generator = torch.Generator().manual_seed(context.settings.seed + 104_729 * number)
    progress = state.progress
    sampling = state.sampling
    if state.iteration > 0:
        accuracy = measured_accuracy(context, state, generator)
        state = replace(state, accuracy=accuracy)
        sampling, progress = next_sampling(
            sampling, progress, accuracy, context.settings, context.geometry
        )
    models = tuple(
        replace(
            model,
            pdf_direction=change_pixel_order(
                model.pdf_direction, model.pdf_order, sampling.healpix_order
            ),
            pdf_order=sampling.healpix_order,
        )
        for model in state.models
    )
    return replace(
        state,
        models=(models[0], models[1]),
        sampling=perturb(sampling, generator),
        progress=progress,
    )


def measured_accuracy(
    context: RefinementContext, state: RefinementState, generator: torch.Generator
) -> Accuracy:
    """Return the accuracy of poses against the current reference of half 1."""
    index = torch.nonzero(state.random_subset == 1).flatten()
    chosen = index[torch.randperm(len(index), generator=generator)[:N_PARTICLES]]
    size = next_current_size(state.progress, context.geometry.box_size)
    r_max = min(size // 2, context.coordinates.r_max)
    projector = reference_slices(context, state.models[0], r_max)
    problem = AccuracyProblem(chosen, state.poses.rotations[chosen], r_max, generator)
    return estimate_accuracy(
        problem, state.models[0], image_preparer(context, whiten=True), projector
    )
