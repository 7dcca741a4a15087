"""The images of a simulated experiment, with the noise that its planned resolution asks for."""

from dataclasses import replace
from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import RotationMatrices, Spectrum, Volume
from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.particles import Particles
from napari_blush.data_model.poses import Poses
from napari_blush.numerics.fft import rfftn_centered
from napari_blush.numerics.rotations import axis_angle_to_matrix, random_rotations
from napari_blush.simulation.experiment_plan import ExperimentPlan
from napari_blush.simulation.exposure import DefocusPlan, Exposure, draw_exposure
from napari_blush.simulation.half_map_pairs import draw_weights, noise_spectrum
from napari_blush.simulation.images import simulate_particles
from napari_blush.simulation.noise import noise_power
from napari_blush.simulation.orientations import draw_shifts
from napari_blush.simulation.view_weights import draw_views

_CENTERING_ERROR_PX = 1.5  # of picked particles


def simulate_experiment(
    density: Volume, plan: ExperimentPlan, generator: torch.Generator
) -> tuple[Particles, float]:
    """Make the images of both halves of an experiment.

    Parameters
    ----------
    density : (n, n, n) float32
        Of the specimen, of any scale.
    plan : ExperimentPlan
        ``plan.views.count`` images for each half; the noise is as strong as leads to
        ``plan.resolution`` when every pose is known without error.
    generator : torch.Generator

    Returns
    -------
    particles : Particles
        In memory, with true poses; the first half of them are half 1. Noise has variance 1.
    scale : float
        From the density given to the signal in the images.
    """
    axes = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    rotations = torch.cat([draw_views(plan.views, axes, generator) for _ in range(2)])
    n = len(rotations)
    shifts = plan.voxel_size * draw_shifts(n, _CENTERING_ERROR_PX, generator)
    noise = noise_spectrum(rfftn_centered(density), draw_weights(plan, generator), plan)
    scale = _scale(noise, plan)
    particles = simulate_particles(
        scale * density,
        Poses(rotations, shifts),
        _exposure(n, plan, generator),
        spectrum=plan.color.power,
        seed=int(torch.randint(2**31, (1,), generator=generator)),
        padding=2,
    )
    halves = torch.ones(n, dtype=torch.int64)
    halves[plan.views.count :] = 2
    return replace(particles, random_subset=halves), scale


def with_pose_errors(
    particles: Particles,
    angle_error_deg: float,
    shift_error: float,
    wrong_share: float,
    generator: torch.Generator,
) -> Particles:
    """Return particles whose poses are off.

    Parameters
    ----------
    particles : Particles
        With true poses.
    angle_error_deg : float
        Standard deviation about each of three axes.
    shift_error : float
        Standard deviation along each axis, angstrom.
    wrong_share : float
        Share of the images whose orientation has nothing to do with the true one.
    generator : torch.Generator
    """
    n = len(particles)
    axes = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    turns = axis_angle_to_matrix(axes, angle_error_deg * axes.norm(dim=1))
    rotations = _turned(particles.poses.rotations, turns)
    wrong = torch.rand(n, generator=generator) < wrong_share
    rotations[wrong] = random_rotations(n, generator).to(rotations)[wrong]
    slips = shift_error * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    shifts = particles.poses.shifts_angstrom + slips.to(particles.poses.shifts_angstrom)
    return replace(particles, poses=Poses(rotations, shifts))


def _turned(rotations: RotationMatrices, turns: Float[Tensor, "n 3 3"]) -> Tensor:
    return rotations @ turns.to(rotations)


def _scale(noise: Spectrum, plan: ExperimentPlan) -> float:
    """Return the factor of the density that makes the noise of a pixel have variance 1."""
    shells = torch.arange(len(noise), dtype=torch.float64)
    color = plan.color.power(shells / (plan.box_size * plan.voxel_size))
    strength = float((noise.double() / color).mean())
    # Images have power n^2 times the color that is normalized to a mean of 1.
    normalized = noise_power(plan.color.power, plan.box_size, plan.voxel_size)
    at_origin = float(normalized[0, 0]) / float(color[0])
    return float(plan.box_size * (at_origin / strength) ** 0.5)


def _exposure(n: int, plan: ExperimentPlan, generator: torch.Generator) -> Exposure:
    views = plan.views
    optics = OpticsGroup(
        name="opticsGroup1",
        voltage_kv=views.voltage_kv,
        spherical_aberration_mm=2.7,
        amplitude_contrast=0.1,
        pixel_size=plan.voxel_size,
        box_size=plan.box_size,
    )
    defocus = DefocusPlan(
        range_um=views.defocus_um,
        particles_per_micrograph=max(1, ceil(n / views.micrographs)),
    )
    return draw_exposure(n, (optics,), defocus, generator)
