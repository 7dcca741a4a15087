"""The last iteration, on all data: the maps that a person keeps."""

from collections.abc import Generator
from dataclasses import replace

import torch
from torch import Tensor

from napari_blush.conventions import FSC_GOLD_STANDARD
from napari_blush.data_model.results import Outcome, RefinementResult
from napari_blush.likelihood.reconstruction import reconstruct
from napari_blush.numerics.correlation import resolution_at
from napari_blush.numerics.sharpening import fsc_weight, guinier_b_factor, sharpen
from napari_blush.refine.context import RefinementContext
from napari_blush.refine.events import (
    HalfMapsReconstructed,
    IterationFinished,
    IterationStarted,
    RefinementEvent,
    RunFinished,
)
from napari_blush.refine.half_comparison import compare_halves, driving_fsc, estimate_signal
from napari_blush.refine.iteration import (
    expect,
    half_maps_of,
    maximized,
    symmetrize,
)
from napari_blush.refine.iteration_result import IterationMaps, iteration_result
from napari_blush.refine.pose_update import updated_poses
from napari_blush.refine.state import RefinementState

FINAL_DRAWS = 5  # phase randomisations averaged for the resolution that is reported


def finalize(
    context: RefinementContext, state: RefinementState, outcome: Outcome, reason: str
) -> Generator[RefinementEvent, None, RefinementResult]:
    """Run the last iteration on all data to Nyquist; return maps that no regularizer touched.

    The halves are still aligned to their own references. Their unfiltered maps are reconstructed
    before the sums are joined and without the low-resolution join.
    """
    started = context.clock.now()
    number = state.iteration + 1
    box = context.geometry.box_size
    changed = tuple(change.what for change in context.changes)
    yield IterationStarted(number, state.sampling, state.accuracy, box, True, changed)
    sums, outcomes = yield from expect(context, state, box)
    expected = context.clock.now()
    symmetrize(context, sums)
    half_maps = half_maps_of(context, sums, None)
    generator = torch.Generator().manual_seed(context.settings.seed + 7919 * number)
    curves = compare_halves(context, half_maps, generator, n_draws=FINAL_DRAWS)
    fsc = driving_fsc(context, curves, box)
    joined = sums[0].accumulator.clone()
    joined.add(sums[1].accumulator)
    signal = estimate_signal(context, joined, fsc, joined=True)
    final_map = reconstruct(joined, signal.tau2).cpu()
    voxel = context.geometry.pixel_size
    resolution = resolution_at(curves.corrected, FSC_GOLD_STANDARD, box, voxel)
    yield HalfMapsReconstructed(number, half_maps, curves, resolution)
    models = [
        replace(
            maximized(context, state, half, sums[half], number),
            tau2=signal.tau2.float().cpu(),
            data_vs_prior=signal.data_vs_prior.float().cpu(),
        )
        for half in (0, 1)
    ]
    new = updated_poses(context, replace(state, models=(models[0], models[1])), outcomes, number)
    maps = IterationMaps(
        half_maps, half_maps, (final_map, final_map), curves, None, box, resolution
    )
    timing = {"expectation": expected - started, "reconstruction": context.clock.now() - expected}
    last = iteration_result(context, state, new, outcomes, maps, timing)
    yield IterationFinished(last, new)
    sharpened, factor = sharpened_map(context, half_maps.mean(), curves.corrected, resolution)
    result = RefinementResult(
        last_iteration=last,
        half_maps=half_maps,
        final_map=final_map,
        sharpened_map=sharpened,
        b_factor=factor,
        fsc=curves,
        resolution_angstrom=resolution,
        outcome=outcome,
        reason=reason,
    )
    yield RunFinished(result)
    return result


def sharpened_map(
    context: RefinementContext, volume: Tensor, fsc: Tensor, resolution: float
) -> tuple[Tensor, float | None]:
    """Return the FSC-weighted, sharpened map and its B-factor (None: too coarse to fit one)."""
    weight = fsc_weight(fsc)
    voxel = context.geometry.pixel_size
    fit = guinier_b_factor(volume, voxel, to_resolution=resolution, weight=weight)
    factor = None if fit is None else fit.b_factor
    sharpened = sharpen(volume, voxel, b_factor=factor or 0.0, weight=weight)
    return sharpened.to(torch.float32), factor
