"""One iteration: E-step of each half, M-step, comparison of the halves, the next references."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace

import torch
from torch import Tensor

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.likelihood.half_model import HalfModel
from napari_blush.likelihood.maximization import maximize_parameters
from napari_blush.likelihood.reconstruction import join_at_low_resolution, reconstruct
from napari_blush.likelihood.weighted_sums import ImageOutcomes, WeightedSums
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.helix import carried_along_helix, symmetrize_along_helix
from napari_blush.refine.both_halves import run_in_turn, run_side_by_side
from napari_blush.refine.context import RefinementContext
from napari_blush.refine.convergence import count_changes, count_resolution
from napari_blush.refine.events import (
    ExpectationProgress,
    HalfMapsReconstructed,
    IterationFinished,
    Message,
    ReferencesRegularized,
    RefinementEvent,
)
from napari_blush.refine.half_comparison import (
    compare_halves,
    driving_fsc,
    estimate_signal,
    join_shell,
)
from napari_blush.refine.half_expectation import HalfJob, expect_half, search_plan
from napari_blush.refine.iteration_result import IterationMaps, iteration_result
from napari_blush.refine.next_references import next_references
from napari_blush.refine.pose_update import is_by_correlation, updated_poses
from napari_blush.refine.schedule import count_fsc, resolution_shell
from napari_blush.refine.solvent import reference_masks
from napari_blush.refine.state import RefinementState
from napari_blush.regularization.regularizer import RegularizationInput, origin


def expect(
    context: RefinementContext, state: RefinementState, current_size: int
) -> Generator[
    RefinementEvent, None, tuple[tuple[WeightedSums, WeightedSums], list[ImageOutcomes]]
]:
    """Run the E-step of both halves."""
    number = state.iteration + 1
    plan = search_plan(context, state.sampling, current_size)
    correlation = is_by_correlation(context, number)
    total = len(state.random_subset)
    outcomes, jobs = [], []
    for half in (1, 2):
        index = torch.nonzero(state.random_subset == half).flatten()
        jobs.append(
            HalfJob(
                index,
                state.models[half - 1],
                state.poses,
                state.norm,
                plan,
                current_size,
                correlation,
            )
        )
        outcomes.append(ImageOutcomes.empty(len(index)))
    runs = [expect_half(context, job, out) for job, out in zip(jobs, outcomes, strict=True)]
    threads = torch.get_num_threads()
    parallel = context.device.type == "cpu" and threads > 1
    both = run_side_by_side(runs, threads) if parallel else run_in_turn(runs)
    done = [0, 0]
    with closing(both):
        while True:
            try:
                half, count = next(both)
            except StopIteration as finished:
                first, second = finished.value
                break
            done[half] = count
            yield ExpectationProgress(number, half + 1, sum(done), total)
    for job in jobs:
        for note in job.notes:
            yield Message(note, warning=True)
    return (first, second), outcomes


def symmetrize(context: RefinementContext, sums: tuple[WeightedSums, WeightedSums]) -> None:
    """Complete the accumulated transforms: Hermitian mates, then symmetry mates."""
    for half in sums:
        half.accumulator.enforce_hermitian()
        if len(context.operators) > 1:
            half.accumulator.symmetrize(context.operators.to(torch.float32).to(context.device))
        if context.helix is not None:
            voxel = context.geometry.pixel_size
            symmetrize_along_helix(half.accumulator, context.helix, voxel)


def half_maps_of(
    context: RefinementContext, sums: tuple[WeightedSums, WeightedSums], tau2: list[Tensor] | None
) -> HalfMaps:
    """Return the reconstructions of both halves."""
    first, second = (
        reconstruct(half.accumulator, None if tau2 is None else tau2[number]).cpu()
        for number, half in enumerate(sums)
    )
    return HalfMaps(first, second, context.geometry.pixel_size)


def iterate(
    context: RefinementContext, state: RefinementState, current_size: int
) -> Generator[RefinementEvent, None, RefinementState]:
    """Run one iteration; ends with ``IterationFinished`` and returns the new state."""
    started = context.clock.now()
    number = state.iteration + 1
    sums, outcomes = yield from expect(context, state, current_size)
    expected = context.clock.now()
    symmetrize(context, sums)
    shared = join_shell(context, shell_resolution(context, state.progress.resolution_shell))
    join_at_low_resolution(sums[0].accumulator, sums[1].accumulator, shared)
    half_maps = half_maps_of(context, sums, None)
    generator = torch.Generator().manual_seed(context.settings.seed + 7919 * number)
    curves = compare_halves(context, half_maps, generator)
    fsc = driving_fsc(context, curves, current_size)
    signals = [estimate_signal(context, half.accumulator, fsc, joined=False) for half in sums]
    wiener = half_maps_of(context, sums, [signal.tau2 for signal in signals])
    shell = resolution_shell(signals[0].data_vs_prior)
    yield HalfMapsReconstructed(number, half_maps, curves, shell_resolution(context, shell))
    reconstructed = context.clock.now()
    masks = reference_masks(context, half_maps, number)
    given = RegularizationInput(
        half_maps,
        wiener,
        fsc,
        context.mask,
        context.geometry.particle_diameter,
        context.operators,
        shared,
        masks,
    )
    made = yield from next_references(context, number, given)
    references = flatten_solvent(context, made.references, masks, number)
    yield ReferencesRegularized(
        number,
        references,
        made.cutoff_shell,
        made.automatic_cutoff_shell,
        made.denoiser_nyquist_shell,
    )
    models = tuple(
        replace(
            maximized(context, state, half, sums[half], number),
            reference=references[half],
            tau2=signals[half].tau2.float().cpu(),
            data_vs_prior=signals[half].data_vs_prior.float().cpu(),
        )
        for half in (0, 1)
    )
    state_after = replace(
        state, models=(models[0], models[1]), regularized_by=origin(context.regularizer)
    )
    new = updated_poses(context, state_after, outcomes, number)
    progress = replace(new.progress, resolution_shell=shell)
    progress = count_fsc(progress, fsc, current_size)
    progress = count_resolution(progress, 1 / shell_resolution(context, shell))
    progress = count_changes(progress, state.sampling)
    new = replace(new, progress=progress)
    maps = IterationMaps(
        half_maps,
        wiener,
        references,
        curves,
        made.cutoff_shell,
        current_size,
        shell_resolution(context, shell),
        made.messages,
        made.denoised,
        new.regularized_by,
        made.automatic_cutoff_shell,
        made.denoiser_nyquist_shell,
    )
    timing = {
        "expectation": expected - started,
        "reconstruction": reconstructed - expected,
        "regularization": context.clock.now() - reconstructed,
    }
    result = iteration_result(context, state, new, outcomes, maps, timing)
    yield IterationFinished(result, new)
    return new


def maximized(
    context: RefinementContext, state: RefinementState, half: int, sums: WeightedSums, number: int
) -> HalfModel:
    """Return the model of a half with its parameters re-estimated."""
    correlation = is_by_correlation(context, number)
    return maximize_parameters(
        state.models[half],
        sums,
        context.coordinates.to("cpu"),
        update_noise=not correlation,
        update_scale=context.settings.scale_correction and not correlation,
    )


def flatten_solvent(
    context: RefinementContext,
    references: tuple[Tensor, Tensor],
    masks: tuple[Tensor, Tensor],
    number: int,
) -> tuple[Tensor, Tensor]:
    """Return references inside their masks; after alignment by correlation, low-passed.

    Those of filaments are carried along their axis before.
    """
    whole = [reference.cpu() for reference in references]
    if context.helix is not None:
        voxel = context.geometry.pixel_size
        whole = [carried_along_helix(volume, context.helix, voxel) for volume in whole]
    kept = [reference * mask for reference, mask in zip(whole, masks, strict=True)]
    limit = context.settings.initial_low_pass
    if is_by_correlation(context, number) and limit is not None:
        kept = [low_pass(volume, context.geometry.pixel_size, limit) for volume in kept]
    return kept[0], kept[1]


def shell_resolution(context: RefinementContext, shell: int) -> float:
    """Return the resolution of a shell in angstrom."""
    return context.geometry.box_size * context.geometry.pixel_size / max(shell, 1)
