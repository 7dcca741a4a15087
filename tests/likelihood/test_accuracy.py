"""Estimated errors of alignment against a scan of one particle, error by error."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from napari_blush.data_model.results import Accuracy
from napari_blush.likelihood.accuracy import AccuracyProblem, estimate_accuracy
from napari_blush.likelihood.prepared_images import ImagePreparation, ImagePreparer
from napari_blush.numerics.packing import packed_coordinates
from napari_blush.numerics.rotations import random_rotations
from napari_blush.numerics.slice_extraction import CentralSlices
from napari_blush.simulation.phantoms import random_blobs

Maker = Callable[..., Any]

BOX, R_MAX, PIXEL = 24, 9, 3.0
COORDINATES = packed_coordinates(BOX, BOX // 2)
COUNT = COORDINATES.count(R_MAX)
EXCLUDED = np.log(100)  # a pose so much less likely has a probability of 0.01

ANGLES = np.concatenate(
    [
        np.arange(1, 5) * 0.05,
        0.2 + np.arange(1, 9) * 0.1,
        1 + np.arange(1, 6) * 0.2,
        2 + np.arange(1, 7) * 0.5,
        5 + np.arange(1, 6) * 1.0,
        10 + np.arange(1, 6) * 2.0,
        20 + np.arange(1, 3) * 5.0,
    ]
)
SHIFTS = np.concatenate(
    [
        np.arange(1, 11) * 0.1,
        1 + np.arange(1, 6) * 0.2,
        2 + np.arange(1, 7) * 0.5,
        5 + np.arange(1, 6) * 1.0,
    ]
)


class Particle:
    """Images of a phantom whose grey scale decides how well they can be aligned."""

    def __init__(self, particles_of: Maker, model_of: Maker, grey_scale: float, n: int) -> None:
        generator = torch.Generator().manual_seed(12)
        volume = grey_scale * random_blobs(generator, n_blobs=9, radius_px=5.0).volume(BOX)
        self.particles = particles_of(torch.zeros(n, BOX, BOX))
        self.model = model_of(volume)
        self.rotations = random_rotations(n, generator).double()
        self.projector = CentralSlices(volume / BOX, r_max=R_MAX)
        self.preparer = ImagePreparer(
            self.particles,
            COORDINATES,
            torch.device("cpu"),
            ImagePreparation(mask_radius_px=8.0),
        )

    def estimate(self, seed: int = 0, r_max: int = R_MAX) -> Accuracy:
        problem = AccuracyProblem(
            torch.arange(len(self.particles)),
            self.rotations,
            r_max,
            torch.Generator().manual_seed(seed),
        )
        return estimate_accuracy(problem, self.model, self.preparer, self.projector)

    def slices(self, rotation: np.ndarray) -> np.ndarray:
        pose = torch.from_numpy(rotation)[None]
        return self.projector.extract(pose, COORDINATES, COUNT)[0].numpy().astype(np.complex128)

    def transfer(self, slow_image: Maker, row: int) -> np.ndarray:
        """Return the CTF with its scale over the standard deviation of the noise."""
        image = slow_image(
            self.particles,
            row,
            self.model,
            ImagePreparation(mask_radius_px=8.0),
            shift_px=np.zeros(2),
            norm=self.model.average_norm,
        )
        return (image.ctf / np.sqrt(image.variance))[:COUNT]

    def limits(self, slow_image: Maker, row: int) -> tuple[list[float], list[float]]:
        """Return the first error that is noticed, about each axis and along each."""
        transfer, pose = self.transfer(slow_image, row), self.rotations[row].numpy()
        true = transfer * self.slices(pose)
        turned, moved = [], []
        for axis in np.eye(3):
            evidence = [
                np.sum(np.abs(true - transfer * self.slices(pose @ turn(a * axis))) ** 2) / 2
                for a in ANGLES
            ]
            turned.append(first_noticed(ANGLES, evidence))
        for k in (COORDINATES.kx, COORDINATES.ky):
            phases = [np.exp(-2j * np.pi * s * k[:COUNT].numpy() / BOX) for s in SHIFTS]
            evidence = [np.sum(np.abs(true - true * phase) ** 2) / 2 for phase in phases]
            moved.append(PIXEL * first_noticed(SHIFTS, evidence))
        return turned, moved


def turn(axis_deg: np.ndarray) -> np.ndarray:
    """Return the rotation about an axis by its length."""
    return Rotation.from_rotvec(axis_deg, degrees=True).as_matrix()


def first_noticed(errors: np.ndarray, evidence: list[float]) -> float:
    noticed = np.flatnonzero(np.array(evidence) > EXCLUDED)
    return float(errors[noticed[0]] if len(noticed) else errors[-1])


@pytest.mark.parametrize("grey_scale", [1.0, 4.0])
def test_one_particle_is_scanned(
    particles_of: Maker, model_of: Maker, slow_image: Maker, grey_scale: float
) -> None:
    particle = Particle(particles_of, model_of, grey_scale, 1)
    turned, moved = particle.limits(slow_image, 0)
    assert len(set(turned)) > 1
    found = [particle.estimate(seed) for seed in range(20)]
    for values, wanted in (
        ({each.rotation_deg for each in found}, turned),
        ({each.translation_angstrom for each in found}, moved),
    ):
        # Every axis has its turn, and nothing else is found.
        assert sorted(values) == pytest.approx(sorted(set(wanted)), rel=1e-5)


def test_the_mean_of_particles_is_taken(
    particles_of: Maker, model_of: Maker, slow_image: Maker
) -> None:
    particle = Particle(particles_of, model_of, 0.5, 4)
    limits = [particle.limits(slow_image, row) for row in range(4)]
    found = particle.estimate()
    for value, which in ((found.rotation_deg, 0), (found.translation_angstrom, 1)):
        low = np.mean([min(limit[which]) for limit in limits])
        high = np.mean([max(limit[which]) for limit in limits])
        assert low * (1 - 1e-6) <= value <= high * (1 + 1e-6)


def test_stronger_signals_are_aligned_better(particles_of: Maker, model_of: Maker) -> None:
    found = [Particle(particles_of, model_of, g, 20).estimate() for g in (0.1, 0.3, 1.0, 3.0)]
    for name in ("rotation_deg", "translation_angstrom"):
        errors = [getattr(each, name) for each in found]
        assert errors == sorted(errors, reverse=True)
        assert errors[0] > 3 * errors[-1]


def test_finer_detail_aligns_better(particles_of: Maker, model_of: Maker) -> None:
    particle = Particle(particles_of, model_of, 0.5, 20)
    coarse, fine = particle.estimate(r_max=3), particle.estimate(r_max=R_MAX)
    assert coarse.rotation_deg > fine.rotation_deg
    assert coarse.translation_angstrom >= fine.translation_angstrom


def test_more_noise_aligns_worse(particles_of: Maker, model_of: Maker) -> None:
    particle = Particle(particles_of, model_of, 4.0, 10)
    plain = particle.estimate()
    particle.model = replace(particle.model, sigma2_noise=25.0 * particle.model.sigma2_noise)
    noisy = particle.estimate()
    assert noisy.rotation_deg > 2 * plain.rotation_deg
    assert noisy.translation_angstrom > 2 * plain.translation_angstrom


def test_nothing_to_align_to_gives_the_limits(particles_of: Maker, model_of: Maker) -> None:
    found = Particle(particles_of, model_of, 0.0, 3).estimate()
    assert found == Accuracy(30.0, 10.0 * PIXEL)
