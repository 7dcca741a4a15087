"""Images of simulated experiments: noise of variance 1, poses as wrong as asked for."""

from dataclasses import replace

import pytest
import torch

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.particles import Particles
from napari_blush.data_model.tool_settings import ReconstructionSettings
from napari_blush.numerics.correlation import fourier_shell_correlation, resolution_at
from napari_blush.numerics.fft import rfft2_centered
from napari_blush.numerics.rotations import geodesic_distance_deg
from napari_blush.numerics.shells import shell_mean
from napari_blush.refine.known_poses import reconstruct_known_poses
from napari_blush.simulation.experiment_images import simulate_experiment, with_pose_errors
from napari_blush.simulation.experiment_plan import ExperimentPlan, NoiseColor
from napari_blush.simulation.phantoms import random_blobs
from napari_blush.simulation.view_weights import ViewPlan

BOX, VOXEL = 32, 4.0
PLAN = ExperimentPlan(
    box_size=BOX,
    voxel_size=VOXEL,
    resolution=14.0,
    r_max=BOX // 2,
    views=ViewPlan(count=150),
    color=NoiseColor(0.4, 2.0, 0.5),
)
DENSITY = random_blobs(torch.Generator().manual_seed(0), radius_px=7.0).volume(BOX)


def test_noise_has_variance_one_and_the_color_of_the_plan() -> None:
    quiet = replace(PLAN, resolution=120.0)  # almost nothing but noise
    particles, _ = simulate_experiment(DENSITY, quiet, torch.Generator().manual_seed(0))
    assert particles.random_subset.bincount().tolist() == [0, 150, 150]
    images = particles.images.read(torch.arange(len(particles)))
    assert images.var() == pytest.approx(1.0, abs=0.05)
    power = shell_mean(rfft2_centered(images).abs().square(), BOX, 2).mean(dim=0)
    color = PLAN.color.power(torch.arange(BOX // 2 + 1) / (BOX * VOXEL))
    ratio = (power / color)[4:]
    assert (ratio / ratio.mean() - 1).abs().max() < 0.05


def reconstructed(particles: Particles) -> HalfMaps:
    """Back-project with the poses that the particles have."""
    steps = reconstruct_known_poses(particles, ReconstructionSettings(device="cpu"))
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            halves: HalfMaps | None = finished.value.halves
            assert halves is not None
            return halves


def resolution(halves: HalfMaps) -> float:
    return resolution_at(fourier_shell_correlation(halves.half1, halves.half2), 0.143, BOX, VOXEL)


def test_true_poses_lead_to_the_planned_resolution_and_wrong_ones_do_not() -> None:
    particles, scale = simulate_experiment(DENSITY, PLAN, torch.Generator().manual_seed(1))
    halves = reconstructed(particles)
    assert resolution(halves) == pytest.approx(PLAN.resolution, rel=0.25)
    mean = (halves.half1 + halves.half2) / 2
    assert fourier_shell_correlation(mean, DENSITY)[3:6].min() > 0.8
    off = with_pose_errors(particles, 15.0, 8.0, 0.3, torch.Generator().manual_seed(0))
    assert resolution(reconstructed(off)) > 1.2 * resolution(halves)
    assert scale > 0


def test_pose_errors_have_the_size_asked_for() -> None:
    particles, _ = simulate_experiment(DENSITY, PLAN, torch.Generator().manual_seed(1))
    off = with_pose_errors(particles, 2.0, 1.5, 0.0, torch.Generator().manual_seed(0))
    angles = geodesic_distance_deg(off.poses.rotations, particles.poses.rotations)
    # Three independent components of 2 degrees each.
    assert angles.square().mean().sqrt() == pytest.approx(2.0 * 3**0.5, rel=0.1)
    slips = off.poses.shifts_angstrom - particles.poses.shifts_angstrom
    assert slips.std() == pytest.approx(1.5, rel=0.15)
    wrong = with_pose_errors(particles, 0.0, 0.0, 0.5, torch.Generator().manual_seed(0))
    angles = geodesic_distance_deg(wrong.poses.rotations, particles.poses.rotations)
    assert (angles > 1.0).float().mean() == pytest.approx(0.5, abs=0.1)
