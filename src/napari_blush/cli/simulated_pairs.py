"""The half-map pairs of one simulated experiment, at each of the levels of effort.

``noise-model`` draws them in Fourier space; ``poses`` makes images and reconstructs them from
poses with errors; ``refinement`` refines the images and keeps the halves of its iterations, with
the streaks, the overfitting and the misalignment that only a refinement has.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

import torch

from napari_blush.conventions import Volume
from napari_blush.data_model.experiment_settings import ExperimentSettings
from napari_blush.data_model.particles import Particles
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.data_model.tool_settings import ReconstructionSettings
from napari_blush.errors import RefinementError
from napari_blush.numerics.fft import irfftn_centered, rfftn_centered
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.rotations import random_rotations
from napari_blush.numerics.shells import shell_index_grid
from napari_blush.refine.events import HalfMapsReconstructed
from napari_blush.refine.known_poses import KnownPoseMaps, reconstruct_known_poses
from napari_blush.refine.run import run
from napari_blush.simulation.assemblies import GridSymmetry, assembled
from napari_blush.simulation.experiment_images import simulate_experiment, with_pose_errors
from napari_blush.simulation.experiment_plan import (
    ExperimentPlan,
    box_for,
    draw_plan,
    draw_symmetry,
)
from napari_blush.simulation.half_map_pairs import (
    HalfMapPair,
    simulate_pair,
)
from napari_blush.simulation.specimens import Specimen, make_specimen
from napari_blush.simulation.structures import Structure
from napari_blush.simulation.view_weights import ViewPlan

_FIRST_KEPT = 2  # the first iteration aligns to a map of 30 A and more, and looks like it
_ROUND_PARTICLE = (1.05, 1.25)  # particle diameter that is told, by the true one
_START_MAP = (30.0, 50.0)  # angstrom
_MOST_WRONG = 0.4  # share of images with a wrong pose, at the level of poses


@dataclass(frozen=True, slots=True)
class NamedPair:
    """A pair, and what to append to the name of its experiment."""

    suffix: str
    pair: HalfMapPair


def simulated_pairs(
    structure: Structure, settings: ExperimentSettings, generator: torch.Generator
) -> Iterator[NamedPair]:
    """Yield the pairs of one experiment on a structure.

    Parameters
    ----------
    structure : Structure
    settings : ExperimentSettings
        Its level says how.
    generator : torch.Generator
        Decides all that is drawn.
    """
    structure, symmetry = _drawn_assembly(structure, settings, generator)
    plan = draw_plan(structure.diameter, settings, generator, symmetry)
    if settings.level == "noise-model":
        yield NamedPair("", simulate_pair(structure, plan, generator))
        return
    # Errors of the poses are made for real, or come of themselves: none is put into the density.
    exact = replace(
        plan, angle_error_deg=0.0, shift_error=0.0, views=_fewer(plan, settings, generator)
    )
    specimen = make_specimen(structure, exact, generator)
    particles, scale = simulate_experiment(specimen.density, exact, generator)
    if settings.level == "poses":
        yield _from_poses(particles, specimen, plan, generator)
    else:
        diameter = structure.diameter
        yield from _from_refinement(
            particles, specimen, scale * specimen.density, diameter, symmetry, settings, generator
        )


def _drawn_assembly(
    structure: Structure, settings: ExperimentSettings, generator: torch.Generator
) -> tuple[Structure, GridSymmetry]:
    """Make a symmetric assembly of a structure, unless it would take too large a box."""
    symmetry = draw_symmetry(generator)
    turned = structure.centered().rotated(random_rotations(1, generator)[0])
    assembly = assembled(turned, symmetry, generator)
    if box_for(assembly.diameter, settings) is None:
        return structure, "C1"
    return assembly, symmetry


def _fewer(plan: ExperimentPlan, settings: ExperimentSettings, draw: torch.Generator) -> ViewPlan:
    """Return the plan's views, as many as images are to be made and aligned."""
    low, high = settings.images_min, settings.images_max
    images = low * (high / low) ** float(torch.rand(1, generator=draw))
    return replace(plan.views, count=max(1, round(images / 2)))


def _from_poses(
    particles: Particles, specimen: Specimen, plan: ExperimentPlan, generator: torch.Generator
) -> NamedPair:
    wrong = _MOST_WRONG * float(torch.rand(1, generator=generator)) ** 2
    erroneous = with_pose_errors(
        particles, plan.angle_error_deg, plan.shift_error, wrong, generator
    )
    limit = plan.box_size * plan.voxel_size / plan.r_max
    steps = reconstruct_known_poses(
        erroneous,
        ReconstructionSettings(device="cpu", max_resolution=limit, symmetry=plan.symmetry),
    )
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            maps: KnownPoseMaps = finished.value
            break
    if maps.halves is None:
        raise RefinementError("Images without halves were reconstructed; wanted both halves.")
    half1, half2 = _joined(maps.halves.half1, maps.halves.half2, plan)
    return NamedPair("", _pair(half1, half2, specimen, plan.voxel_size))


def _joined(half1: Volume, half2: Volume, plan: ExperimentPlan) -> tuple[Volume, Volume]:
    """Give both halves their mean where a refinement would have joined them."""
    n = plan.box_size
    first, second = rfftn_centered(half1), rfftn_centered(half2)
    shared = shell_index_grid(n, 3) <= ceil(n * plan.voxel_size / plan.join_resolution)
    mean = (first + second) / 2
    first, second = torch.where(shared, mean, first), torch.where(shared, mean, second)
    return irfftn_centered(first, n), irfftn_centered(second, n)


def _from_refinement(
    particles: Particles,
    specimen: Specimen,
    truth: Volume,
    diameter: float,
    symmetry: GridSymmetry,
    settings: ExperimentSettings,
    generator: torch.Generator,
) -> Iterator[NamedPair]:
    voxel_size = settings.voxel_size
    box_length = truth.shape[-1] * voxel_size
    low, high = _ROUND_PARTICLE
    told = diameter * (low + (high - low) * float(torch.rand(1, generator=generator)))
    coarse = _START_MAP[0] + (_START_MAP[1] - _START_MAP[0]) * float(
        torch.rand(1, generator=generator)
    )
    refinement = RefinementSettings(
        particle_diameter=min(told, box_length - 5 * voxel_size),
        initial_low_pass=coarse,
        max_iterations=settings.max_iterations,
        regularizer=settings.regularizer,
        symmetry=symmetry,
        automatic_mask=bool(torch.rand(1, generator=generator) < 0.5),
        device="cpu",
        seed=int(torch.randint(2**31, (1,), generator=generator)),
    )
    start = (low_pass(truth, voxel_size, coarse), voxel_size)
    blind = replace(
        particles, has_poses=False, poses=type(particles.poses).identity(len(particles))
    )
    kept: dict[int, HalfMapPair] = {}
    for event in run(refinement, blind, start):
        if isinstance(event, HalfMapsReconstructed) and event.iteration >= _FIRST_KEPT:
            maps = event.half_maps
            kept[event.iteration] = _pair(maps.half1, maps.half2, specimen, voxel_size)
    chosen = _spread(sorted(kept), settings.iterations_kept)
    for iteration in chosen:
        yield NamedPair(f"_it{iteration:02d}", kept[iteration])


def _spread(numbers: list[int], count: int) -> list[int]:
    """Choose ``count`` of the numbers, the first and the last among them."""
    if count >= len(numbers):
        return numbers
    places = torch.linspace(0, len(numbers) - 1, count).round().long().tolist()
    return [numbers[place] for place in sorted(set(places))]


def _pair(half1: Volume, half2: Volume, specimen: Specimen, voxel_size: float) -> HalfMapPair:
    scale = (0.5 * (half1.var() + half2.var())).sqrt()
    return HalfMapPair(half1 / scale, half2 / scale, specimen.mask, voxel_size)
