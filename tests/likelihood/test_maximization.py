"""Parameters re-estimated from images whose parameters are known, and from sums by hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_blush.data_model.particles import ImagesInMemory
from napari_blush.data_model.poses import Poses
from napari_blush.likelihood.maximization import (
    DIRECTION_PSEUDOCOUNT,
    MIN_SIGMA2_OFFSET,
    SCALE_LIMIT,
    maximize_parameters,
    updated_norm,
)
from napari_blush.likelihood.weighted_sums import WeightedSums
from napari_blush.numerics.fft import rfft2_centered
from napari_blush.numerics.packing import pack, packed_coordinates, packed_shell_sum
from napari_blush.numerics.slice_insertion import SliceAccumulator

Maker = Callable[..., Any]

BOX = 16
SHELLS = BOX // 2 + 1
COORDINATES = packed_coordinates(BOX, BOX // 2)
COUNTS = np.bincount(COORDINATES.shell.numpy(), minlength=SHELLS)[:SHELLS].clip(min=1)


def sums_of(**changes: Any) -> WeightedSums:
    """Return the sums of six images, two of them in the first of three optics groups."""
    fields: dict[str, Any] = {
        "accumulator": SliceAccumulator(BOX, r_max=3),
        "residual": torch.ones(3, SHELLS, dtype=torch.float64),
        "n_images": torch.tensor([2.0, 4.0, 0.0], dtype=torch.float64),
        "offset_squared": 6 * 2 * 9.0,
        "direction": torch.zeros(12, dtype=torch.float64),
        "scale_cross": torch.ones(3, dtype=torch.float64),
        "scale_power": torch.ones(3, dtype=torch.float64),
    }
    return WeightedSums(**{**fields, **changes})


@pytest.fixture
def model(model_of: Maker) -> Any:
    return model_of(torch.zeros(BOX, BOX, BOX), n_groups=3, group_scale=torch.ones(3))


def maximized(model: Any, sums: WeightedSums, *, noise: bool = True, scale: bool = True) -> Any:
    return maximize_parameters(model, sums, COORDINATES, update_noise=noise, update_scale=scale)


class TestByHand:
    def test_noise_is_the_mean_residual_of_one_part(self, model: Any) -> None:
        residual = torch.rand(3, SHELLS, dtype=torch.float64) + 0.5
        residual[1, 4] = -1e-9
        found = maximized(model, sums_of(residual=residual)).sigma2_noise
        for group, images in ((0, 2), (1, 4)):
            wanted = residual[group].numpy() / (2 * images * COUNTS)
            # Where nothing was measured the old value stays.
            if group == 1:
                wanted[4] = float(model.sigma2_noise[1, 4])
            np.testing.assert_allclose(found[group].numpy(), wanted, rtol=1e-6)
        torch.testing.assert_close(found[2], model.sigma2_noise[2])
        assert found.dtype == torch.float32

    def test_offsets(self, model: Any) -> None:
        # Six images, two coordinates each, of variance 9 square angstrom.
        assert maximized(model, sums_of()).sigma_offset_angstrom == pytest.approx(3.0)
        found = maximized(model, sums_of(offset_squared=1.0)).sigma_offset_angstrom
        assert found == pytest.approx(MIN_SIGMA2_OFFSET**0.5)

    def test_directions_have_a_uniform_prior(self, model: Any) -> None:
        counts = torch.arange(12, dtype=torch.float64)
        found = maximized(model, sums_of(direction=counts)).pdf_direction
        wanted = (counts + DIRECTION_PSEUDOCOUNT) / (66 + 12 * DIRECTION_PSEUDOCOUNT)
        torch.testing.assert_close(found.double(), wanted, rtol=1e-6, atol=0)

    def test_scales_have_a_mean_of_one_and_stay_near_their_median(self, model: Any) -> None:
        cross = torch.tensor([2.0, 4.0, 1000.0], dtype=torch.float64)
        found = maximized(model, sums_of(scale_cross=cross)).group_scale.double()
        raw = torch.tensor([2.0, 4.0, 4.0 * SCALE_LIMIT], dtype=torch.float64)
        torch.testing.assert_close(found, raw / raw.mean(), rtol=1e-6, atol=0)

    def test_a_micrograph_that_was_not_measured_has_the_median_scale(self, model: Any) -> None:
        sums = sums_of(
            scale_cross=torch.tensor([3.0, 0.0, 1.5], dtype=torch.float64),
            scale_power=torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64),
        )
        torch.testing.assert_close(maximized(model, sums).group_scale, torch.ones(3))

    @pytest.mark.parametrize("cross", [0.0, -1.0])
    def test_scales_without_signal_stay(self, model: Any, cross: float) -> None:
        changed = replace(model, group_scale=torch.tensor([0.5, 1.0, 1.5]))
        nothing = torch.full((3,), cross, dtype=torch.float64)
        power = torch.full((3,), abs(cross), dtype=torch.float64)
        sums = sums_of(scale_cross=nothing, scale_power=power)
        assert torch.equal(maximized(changed, sums).group_scale, changed.group_scale)

    def test_what_is_not_to_change_does_not(self, model: Any) -> None:
        sums = sums_of(scale_cross=torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
        found = maximized(model, sums, noise=False, scale=False)
        assert torch.equal(found.sigma2_noise, model.sigma2_noise)
        assert torch.equal(found.group_scale, model.group_scale)
        assert found.reference is model.reference
        assert found.average_norm == model.average_norm


def test_noise_of_images_without_signal(
    problem_of: Maker, masked_noise_spectrum: Maker, generator: torch.Generator
) -> None:
    """The mask is part of the model: what is estimated is the noise seen through it."""
    n_images = 1600
    k = np.fft.fftfreq(BOX, 1 / BOX)
    spectrum = 4.0 / (1.0 + 0.3 * np.hypot(k[:, None], k[None]))
    white = torch.randn(n_images, BOX, BOX, generator=generator)
    amplitude = torch.from_numpy(np.sqrt(spectrum)).float()
    images = torch.fft.ifft2(torch.fft.fft2(white) * amplitude).real
    problem = problem_of(n_images=n_images, oversampling=0, offset_range_px=0.0)
    particles = replace(
        problem.particles,
        images=ImagesInMemory(images),
        norm_correction=torch.full((n_images,), 0.9, dtype=torch.float64),
        poses=Poses.identity(n_images),
    )
    model = replace(problem.model, reference=torch.zeros(BOX, BOX, BOX))
    problem = replace(problem, particles=particles, model=model)
    sums, _ = problem.run()
    found = maximize_parameters(
        model, sums, COORDINATES, update_noise=True, update_scale=True
    ).sigma2_noise
    wanted = masked_noise_spectrum(BOX, problem.preparation.mask_radius_px, spectrum)
    for group in range(2):
        tolerance = np.maximum(0.02, 5 / np.sqrt(n_images / 2 * COUNTS))
        assert np.all(np.abs(found[group, 1:].numpy() / wanted[1:] - 1) < tolerance[1:])


class TestFromImages:
    """Local searches about the true poses of images with little noise."""

    @pytest.fixture
    def problem(self, problem_of: Maker) -> Any:
        return problem_of(
            n_images=48,
            noise=0.3,
            local_sigma_deg=8.0,
            orders=(1, 2),
            perturbation=0.0,
            offset_step_px=1.0,
        )

    def test_scales_of_micrographs_come_back(self, problem: Any) -> None:
        truth = problem.model.group_scale
        blind = replace(problem.model, group_scale=torch.ones(2), data_vs_prior=torch.ones(9) * 9)
        sums, _ = replace(problem, model=blind).run()
        found = maximize_parameters(
            blind, sums, COORDINATES, update_noise=False, update_scale=True
        ).group_scale
        torch.testing.assert_close(found, truth, atol=0.04, rtol=0)
        assert float(found.mean()) == pytest.approx(1.0)

    def test_only_shells_with_signal_speak_about_scale(self, problem: Any) -> None:
        silent = replace(problem.model, data_vs_prior=torch.full((SHELLS,), 2.9))
        sums, _ = replace(problem, model=silent).run()
        assert float(sums.scale_power.abs().sum()) == 0.0

    def test_spread_of_origins_comes_back(self, problem: Any) -> None:
        generator = torch.Generator().manual_seed(9)
        drawn = 4.0 * torch.randn(48, 2, generator=generator, dtype=torch.float64)
        images = problem.particles.images.read(torch.arange(48))
        # Images are moved to where the particle needs these shifts in place of its own.
        old = problem.true_shifts_px
        phase = shift_images(images, old - drawn / 3.0)
        particles = replace(
            problem.particles,
            images=ImagesInMemory(phase),
            poses=Poses(problem.particles.poses.rotations, drawn),
        )
        sums, outcomes = replace(problem, particles=particles).run()
        found = maximize_parameters(
            problem.model, sums, COORDINATES, update_noise=False, update_scale=False
        ).sigma_offset_angstrom
        truth = float(drawn.square().mean().sqrt())
        assert found == pytest.approx(truth, rel=0.1)
        apart = outcomes.shifts_px - drawn / 3.0
        assert float(apart.square().mean().sqrt()) < 0.6


def shift_images(images: torch.Tensor, shift_px: torch.Tensor) -> torch.Tensor:
    """Move images by fractions of pixels."""
    k = torch.fft.fftfreq(BOX, 1 / BOX, dtype=torch.float64)
    kx = torch.arange(BOX // 2 + 1, dtype=torch.float64)
    turns = k[:, None] * shift_px[:, 1, None, None] + kx * shift_px[:, 0, None, None]
    phases = torch.exp(-2j * torch.pi * turns / BOX)
    return torch.fft.irfft2(torch.fft.rfft2(images) * phases, s=images.shape[1:]).float()


class TestNorm:
    def test_by_hand(self) -> None:
        norm = torch.tensor([1.0, 2.0], dtype=torch.float64)
        power = torch.tensor([32.0, 128.0], dtype=torch.float64)
        found, average = updated_norm(norm, power, 0.5, 4)
        # norm / average * sqrt(2 power) / n
        torch.testing.assert_close(found, torch.tensor([4.0, 16.0], dtype=torch.float64))
        assert average == pytest.approx(10.0)

    def test_no_residual_is_no_division_by_zero(self) -> None:
        zero = torch.zeros(1, dtype=torch.float64)
        found, _ = updated_norm(torch.ones(1, dtype=torch.float64), zero, 1.0, 4)
        assert 0.0 < float(found) < 1e-5

    def test_images_of_any_power_come_to_the_same_power(self, generator: torch.Generator) -> None:
        images = torch.randn(6, BOX, BOX, generator=generator)
        images = images * torch.linspace(0.3, 4.0, 6)[:, None, None]
        norm, average = torch.ones(6, dtype=torch.float64), 1.0
        powers = []
        for _ in range(3):
            scaled = images * (average / norm).float()[:, None, None]
            packed = pack(rfft2_centered(scaled) / BOX, COORDINATES)
            power = packed_shell_sum(packed.abs() ** 2, COORDINATES.shell, SHELLS).sum(1)
            powers.append(power)
            norm, average = updated_norm(norm, power.double(), average, BOX)
        assert float(powers[0].max() / powers[0].min()) > 50
        torch.testing.assert_close(powers[1], powers[1].mean().expand(6))
        torch.testing.assert_close(powers[2], powers[1])
