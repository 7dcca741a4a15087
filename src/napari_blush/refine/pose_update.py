"""Takes what the E-step found out about each particle over into the state of the run."""

from dataclasses import replace

import torch

from napari_blush.data_model.poses import Poses
from napari_blush.likelihood.maximization import updated_norm
from napari_blush.likelihood.weighted_sums import ImageOutcomes
from napari_blush.numerics.rotations import geodesic_distance_deg
from napari_blush.refine.context import RefinementContext
from napari_blush.refine.state import RefinementState


def is_by_correlation(context: RefinementContext, number: int) -> bool:
    """Return whether iteration ``number`` aligns by correlation, blind to the grey scale."""
    return number == 1 and context.settings.first_iteration_cc


def updated_poses(
    context: RefinementContext, state: RefinementState, outcomes: list[ImageOutcomes], number: int
) -> RefinementState:
    """Return the state with poses and norms of iteration ``number``, and how far poses moved.

    Alignment by correlation leaves norms alone: what a reference of unknown grey scale does not
    explain of an image says nothing about the image.
    """
    update_norm = context.settings.norm_correction and not is_by_correlation(context, number)
    rotations = state.poses.rotations.clone()
    shifts = state.poses.shifts_angstrom.clone()
    norm = state.norm.clone()
    models = list(state.models)
    for half, outcome in enumerate(outcomes):
        index = torch.nonzero(state.random_subset == half + 1).flatten()
        rotations[index] = outcome.rotations
        shifts[index] = outcome.shifts_px * context.geometry.pixel_size
        if update_norm:
            norm[index], average = updated_norm(
                norm[index],
                outcome.residual_power,
                models[half].average_norm,
                context.geometry.box_size,
            )
            models[half] = replace(models[half], average_norm=average)
    poses = Poses(rotations, shifts)
    changes = pose_changes(context, state.poses, poses)
    progress = replace(
        state.progress,
        average_p_max=float(torch.cat([outcome.p_max for outcome in outcomes]).mean()),
        change_rotation_deg=changes[0],
        change_offset_angstrom=changes[1],
    )
    return replace(
        state,
        iteration=number,
        models=(models[0], models[1]),
        poses=poses,
        norm=norm,
        progress=progress,
    )


def pose_changes(context: RefinementContext, old: Poses, new: Poses) -> tuple[float, float]:
    """Return the mean turn (degrees, the least over symmetry mates) and the shift change (A)."""
    turned = [
        geodesic_distance_deg(operator @ old.rotations, new.rotations)
        for operator in context.operators.to(old.rotations)
    ]
    rotation = torch.stack(turned).amin(0).mean()
    moved = (new.shifts_angstrom - old.shifts_angstrom).square().sum(1).mean() / 2
    return float(rotation), float(moved.sqrt())
