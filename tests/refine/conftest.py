"""Small simulated problems whose truth is known, and runs on them that several tests look at."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch

from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.particles import Particles
from napari_blush.data_model.poses import Poses
from napari_blush.data_model.results import RefinementResult
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.numerics.rotations import random_rotations
from napari_blush.refine.events import RefinementEvent
from napari_blush.refine.run import run
from napari_blush.simulation.exposure import DefocusPlan, draw_exposure
from napari_blush.simulation.images import ProjectedImages, scale_for_snr, simulate_particles
from napari_blush.simulation.phantoms import random_blobs


@dataclass(frozen=True, slots=True)
class Problem:
    """Particles without poses, and what they were made from."""

    density: torch.Tensor
    truth: Poses
    particles: Particles
    pixel_size: float

    @property
    def start(self) -> tuple[torch.Tensor, float]:
        """The density as a start map; a run filters it itself."""
        return self.density, self.pixel_size


@cache
def simulated(
    n: int, box: int, pixel_size: float, symmetry: str, n_blobs: int, radius: float, seed: int
) -> Problem:
    """Simulate images of a phantom at a signal-to-noise ratio of 1 over the box."""
    generator = torch.Generator().manual_seed(seed)
    phantom = random_blobs(
        generator, radius_px=radius, sigma_px=(1.0, 1.8), symmetry=symmetry, n_blobs=n_blobs
    )
    density = phantom.volume(box)
    shifts = pixel_size * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    truth = Poses(random_rotations(n, generator).double(), shifts)
    optics = (OpticsGroup("simulated", 300.0, 2.7, 0.1, pixel_size, box),)
    plan = DefocusPlan(range_um=(1.0, 2.5), particles_per_micrograph=max(1, n // 3))
    exposure = draw_exposure(n, optics, plan, generator)
    density = density * scale_for_snr(ProjectedImages(density, truth, exposure), 1.0)
    particles = simulate_particles(density, truth, exposure, seed=seed)
    blind = replace(particles, poses=Poses.identity(n), has_poses=False)
    return Problem(density, truth, blind, pixel_size)


@pytest.fixture(scope="session")
def asymmetric() -> Problem:
    """140 images of 32 px of a particle without symmetry."""
    return simulated(140, 32, 4.0, "C1", 24, 11.0, 2)


@pytest.fixture(scope="session")
def dihedral() -> Problem:
    """60 images of 32 px of a particle with D2 symmetry."""
    return simulated(60, 32, 4.0, "D2", 8, 11.0, 2)


@pytest.fixture(scope="session")
def tiny() -> Problem:
    """70 images of 24 px, for tests that do not ask how good the maps are: three batches a half."""
    return simulated(70, 24, 6.0, "C1", 24, 7.0, 1)


def small_settings(**changes: object) -> RefinementSettings:
    """Return settings of a short run on the CPU, without a denoiser."""
    values = {
        "device": "cpu",
        "regularizer": "smoothness",
        "healpix_order": 1,
        "exhaustive_order": 1,
        "initial_low_pass": 25.0,
        "offset_range": 3.0,
        "max_iterations": 2,
        "seed": 3,
    }
    return RefinementSettings.model_validate({**values, **changes})


@pytest.fixture(scope="session")
def settings_for() -> Callable[..., RefinementSettings]:
    """Return the maker of settings of a short run."""
    return small_settings


def drained(
    events: Generator[RefinementEvent, None, RefinementResult],
) -> tuple[list[RefinementEvent], RefinementResult]:
    """Return all events of a run, and what its generator returns."""
    seen = []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as finished:
            return seen, finished.value


@pytest.fixture(scope="session")
def drain() -> Callable[..., tuple[list[RefinementEvent], RefinementResult]]:
    """Return the function that runs a run to its end."""
    return drained


@pytest.fixture(scope="session")
def whole_run(tiny: Problem) -> list[RefinementEvent]:
    """The events of three iterations and the last one on the tiny problem."""
    return drained(run(small_settings(max_iterations=3), tiny.particles, tiny.start))[0]
