"""Gathers what an iteration produced into the one value that leaves the engine."""

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.results import (
    Accuracy,
    FscCurves,
    IterationResult,
    PoseStatistics,
)
from napari_blush.likelihood.weighted_sums import ImageOutcomes
from napari_blush.refine.context import RefinementContext
from napari_blush.refine.half_expectation import search_plan
from napari_blush.refine.state import RefinementState

NO_ACCURACY = Accuracy(999.0, 999.0)  # before the first estimate, RELION's value for "unknown"


@dataclass(frozen=True, slots=True)
class IterationMaps:
    """Maps and curves of an iteration, on the CPU."""

    half_maps: HalfMaps
    wiener_maps: HalfMaps
    references: tuple[Tensor, Tensor]
    fsc: FscCurves
    cutoff_shell: int | None
    current_size: int
    resolution_angstrom: float
    messages: tuple[str, ...] = ()
    denoised: tuple[Tensor, Tensor] | None = None
    regularized_by: str = ""
    automatic_cutoff_shell: int | None = None
    denoiser_nyquist_shell: float | None = None


def iteration_result(
    context: RefinementContext,
    old: RefinementState,
    new: RefinementState,
    outcomes: list[ImageOutcomes],
    maps: IterationMaps,
    stage_seconds: dict[str, float],
) -> IterationResult:
    """Return the result of the iteration that led from ``old`` to ``new``."""
    plan = search_plan(context, old.sampling, maps.current_size)
    first, second = new.models
    denoised = None
    if maps.denoised is not None:
        denoised = HalfMaps(*maps.denoised, maps.half_maps.voxel_size)
    return IterationResult(
        iteration=new.iteration,
        half_maps=maps.half_maps,
        references=maps.references,
        wiener_maps=maps.wiener_maps,
        fsc=maps.fsc,
        resolution_angstrom=maps.resolution_angstrom,
        cutoff_shell=maps.cutoff_shell,
        tau2=(first.tau2, second.tau2),
        data_vs_prior=first.data_vs_prior,
        sigma2_noise=(first.sigma2_noise, second.sigma2_noise),
        sigma_offset_angstrom=(first.sigma_offset_angstrom, second.sigma_offset_angstrom),
        poses=new.poses,
        pose_statistics=pose_statistics(new, outcomes),
        pdf_direction=(first.pdf_direction, second.pdf_direction),
        group_scale=(first.group_scale, second.group_scale),
        sampling=old.sampling,
        accuracy=old.accuracy or NO_ACCURACY,
        changes_rotation_deg=new.progress.change_rotation_deg,
        changes_offset_angstrom=new.progress.change_offset_angstrom,
        average_p_max=new.progress.average_p_max,
        current_size=maps.current_size,
        coarse_size=2 * plan.levels[0].r_max,
        seconds=sum(stage_seconds.values()),
        stage_seconds=stage_seconds,
        messages=maps.messages,
        denoised_maps=denoised,
        regularized_by=maps.regularized_by,
        changes=context.changes,
        automatic_cutoff_shell=maps.automatic_cutoff_shell,
        denoiser_nyquist_shell=maps.denoiser_nyquist_shell,
    )


def pose_statistics(state: RefinementState, outcomes: list[ImageOutcomes]) -> PoseStatistics:
    """Return per-particle figures in the order of the particle table."""
    n = len(state.random_subset)
    p_max, n_significant = torch.zeros(n), torch.zeros(n, dtype=torch.int64)
    log_likelihood = torch.zeros(n, dtype=torch.float64)
    for half, outcome in enumerate(outcomes, start=1):
        index = torch.nonzero(state.random_subset == half).flatten()
        p_max[index] = outcome.p_max
        n_significant[index] = outcome.n_significant
        log_likelihood[index] = outcome.log_likelihood
    return PoseStatistics(p_max, log_likelihood, n_significant, state.norm.float())
