"""Spectra of signal and noise against formulas and against noise whose spectrum is known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from napari_blush.likelihood.spectra import (
    NEGLIGIBLE_LOG_LIKELIHOOD,
    initial_sigma2_noise,
    shell_counts,
    signal_r_max,
    signal_to_noise,
)
from napari_blush.numerics.filters import low_pass_at_shell
from napari_blush.numerics.packing import packed_coordinates
from napari_blush.numerics.rotations import random_rotations
from napari_blush.numerics.slice_extraction import CentralSlices
from napari_blush.simulation.phantoms import random_blobs

Maker = Callable[..., Any]

BOX, RADIUS, EDGE = 24, 8.0, 5.0
SHELLS = BOX // 2 + 1
COORDINATES = packed_coordinates(BOX, BOX // 2)


@pytest.mark.parametrize(
    ("fsc", "half", "joined"),
    [
        (0.5, 1.0, 4.449490),  # joined: f = sqrt(2/3) = 0.816497
        (0.143, 0.166861, 1.000584),
        (1.0, 999.0, 999.0),
        (0.0, 0.001001001, 0.046785),  # f = sqrt(0.002 / 1.001) = 0.0446990
        (-0.7, 0.001001001, 0.046785),
    ],
)
def test_signal_to_noise_by_hand(fsc: float, half: float, joined: float) -> None:
    values = torch.tensor([fsc])
    assert float(signal_to_noise(values, joined=False)) == pytest.approx(half, rel=2e-4)
    assert float(signal_to_noise(values, joined=True)) == pytest.approx(joined, rel=2e-3)


@given(st.lists(st.floats(-1.0, 1.0, width=32), min_size=2, max_size=20))
def test_signal_to_noise_grows_with_the_correlation(values: list[float]) -> None:
    fsc = torch.tensor(sorted(values))
    for joined in (False, True):
        ratio = signal_to_noise(fsc, joined=joined)
        assert bool((ratio > 0).all())
        assert bool(torch.isfinite(ratio).all())
        assert bool((ratio.diff() >= 0).all())
    both, one = (signal_to_noise(fsc, joined=joined) for joined in (True, False))
    assert bool((both >= one * (1 - 1e-4)).all())


def test_shell_counts_are_those_of_half_a_plane() -> None:
    n = BOX // 2
    wanted = np.zeros(SHELLS)
    for kx in range(-n + 1, n):
        for ky in range(-n + 1, n):
            if (kx or ky) and kx * kx + ky * ky <= n * n:
                wanted[round((kx * kx + ky * ky) ** 0.5)] += 0.5
    wanted[0] = 1
    np.testing.assert_array_equal(shell_counts(COORDINATES).numpy(), wanted)


def colored(spectrum: np.ndarray, n_images: int, generator: torch.Generator) -> Tensor:
    """Return noise of power ``spectrum (n, n)`` in the units of ``FT / n``."""
    white = torch.randn(n_images, BOX, BOX, generator=generator)
    amplitude = torch.from_numpy(np.sqrt(spectrum)).float()
    return torch.fft.ifft2(torch.fft.fft2(white) * amplitude).real


def full_spectrum(slope: float) -> np.ndarray:
    k = np.fft.fftfreq(BOX, 1 / BOX)
    return 3.0 / (1.0 + slope * np.hypot(k[:, None], k[None]))


def estimated(particles: Any, **changes: Any) -> Tensor:
    settings: dict[str, Any] = {"normalize_background": False, **changes}
    index = settings.pop("index", torch.arange(len(particles)))
    return initial_sigma2_noise(particles, index, COORDINATES, RADIUS, EDGE, **settings)


class TestInitialNoise:
    """The first estimate: mean power of masked images less that of their mean."""

    @pytest.mark.parametrize("slope", [0.0, 0.5])
    def test_is_the_noise_seen_through_the_mask(
        self,
        particles_of: Maker,
        masked_noise_spectrum: Maker,
        generator: torch.Generator,
        slope: float,
    ) -> None:
        n_images = 3000
        spectrum = full_spectrum(slope)
        particles = particles_of(colored(spectrum, n_images, generator))
        found = estimated(particles, per_group=n_images).numpy()
        wanted = masked_noise_spectrum(BOX, RADIUS, spectrum)
        counts = shell_counts(COORDINATES).numpy()
        for group in range(2):
            # Each group has half of the images.
            spread = 1 / np.sqrt(n_images / 2 * counts)
            tolerance = np.maximum(0.02, 5 * spread)
            assert np.all(np.abs(found[group, 1:] / wanted[1:] - 1) < tolerance[1:])
            assert found[group, 0] == found[group, 1]

    def test_does_not_see_what_all_images_share(
        self, particles_of: Maker, generator: torch.Generator
    ) -> None:
        noise = torch.randn(40, BOX, BOX, generator=generator)
        shared = 0.3 * random_blobs(generator).volume(BOX).sum(0) + 1.0
        plain = estimated(particles_of(noise))
        found = estimated(particles_of(noise + shared))
        group = torch.arange(40) % 2
        apart = noise + shared * torch.where(group == 0, 1.0, -2.0)[:, None, None]
        torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(estimated(particles_of(apart)), plain, rtol=1e-4, atol=1e-6)

    def test_is_one_of_each_optics_group(
        self, particles_of: Maker, generator: torch.Generator
    ) -> None:
        noise = torch.randn(400, BOX, BOX, generator=generator)
        noise[1::2] *= 3.0
        found = estimated(particles_of(noise))
        ratio = (found[1] / found[0])[2:]
        assert float(ratio.mean()) == pytest.approx(9.0, rel=0.05)

    def test_of_normalized_images_forgets_gain_and_offset(
        self, particles_of: Maker, generator: torch.Generator
    ) -> None:
        noise = torch.randn(60, BOX, BOX, generator=generator)
        gain = 1.0 + 5.0 * torch.rand(60, 1, 1, generator=generator)
        plain = estimated(particles_of(noise), normalize_background=True)
        found = estimated(particles_of(gain * noise + 7.0), normalize_background=True)
        torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-5)

    def test_uses_as_many_images_as_asked_and_only_those(
        self, particles_of: Maker, generator: torch.Generator
    ) -> None:
        noise = torch.randn(50, BOX, BOX, generator=generator)
        index = torch.arange(10, 50)
        wanted = estimated(particles_of(noise), index=index, per_group=10)
        spoiled = noise.clone()
        spoiled[:10] = 100.0
        spoiled[30:] = 100.0
        torch.testing.assert_close(
            estimated(particles_of(spoiled), index=index, per_group=10), wanted
        )

    @pytest.mark.parametrize("others", [0, 1])
    def test_of_a_group_of_one_or_no_image_is_that_of_the_others(
        self, particles_of: Maker, generator: torch.Generator, others: int
    ) -> None:
        noise = torch.randn(31, BOX, BOX, generator=generator)
        noise[30] *= 5.0
        index = torch.arange(30 + others)
        groups = torch.zeros(31, dtype=torch.int64)
        groups[30] = 1
        found = estimated(particles_of(noise, optics_group_index=groups), index=index)
        torch.testing.assert_close(found[1], found[0])

    def test_of_single_images_is_their_power(
        self, particles_of: Maker, generator: torch.Generator
    ) -> None:
        noise = torch.randn(2, BOX, BOX, generator=generator)
        found = estimated(particles_of(noise))
        assert bool((found > 0.05).all())

    def test_of_few_images_has_no_bias(
        self, particles_of: Maker, generator: torch.Generator
    ) -> None:
        noise = torch.randn(400, BOX, BOX, generator=generator)
        many = estimated(particles_of(noise))[:, 3:].mean()
        pairs = [
            estimated(particles_of(noise), index=torch.arange(first, first + 4))[:, 3:].mean()
            for first in range(0, 200, 4)
        ]
        assert float(torch.stack(pairs).mean()) == pytest.approx(float(many), rel=0.03)


class TestSignalRadius:
    """How far out a reference has anything to compare images with."""

    @pytest.fixture
    def reference(self, generator: torch.Generator) -> Tensor:
        return 0.4 * random_blobs(generator, n_blobs=10, radius_px=5.0).volume(BOX)

    def contributions(self, reference: Tensor, sigma2: Tensor) -> np.ndarray:
        """Return what each shell of a slice adds to ``sum |P|^2 / (4 sigma^2)`` on average."""
        n = BOX
        transform = np.fft.fftn(reference.double().numpy()) / n
        k = np.fft.fftfreq(n, 1 / n)
        radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)
        shell = np.round(radius).astype(int).ravel()
        power = np.bincount(shell, np.abs(transform.ravel()) ** 2) / np.bincount(shell)
        counts = shell_counts(COORDINATES).numpy()
        return power[:SHELLS] * counts / (4 * sigma2.double().amin(0).numpy())

    @pytest.mark.parametrize("cutoff", [3, 5, 8])
    @pytest.mark.parametrize("level", [0.01, 1.0, 100.0])
    def test_shells_beyond_are_negligible_and_the_last_is_not(
        self, reference: Tensor, cutoff: int, level: float
    ) -> None:
        filtered = low_pass_at_shell(reference, cutoff)
        sigma2 = level * torch.linspace(2.0, 1.0, SHELLS).repeat(2, 1)
        sigma2[1] *= 4.0
        found = signal_r_max(filtered, sigma2, COORDINATES, BOX // 2)
        gain = self.contributions(filtered, sigma2)
        # The last shell that counts ends half a voxel beyond its radius.
        assert gain[found:].sum() <= NEGLIGIBLE_LOG_LIKELIHOOD * (1 + 1e-3)
        assert gain[found - 1 :].sum() > NEGLIGIBLE_LOG_LIKELIHOOD
        assert found <= cutoff + 2

    def test_log_likelihoods_hardly_change(self, generator: torch.Generator) -> None:
        """What shells beyond the radius say for one pose and against another is noise."""
        phantom = random_blobs(generator, n_blobs=10, radius_px=5.0, sigma_px=(2.0, 3.0))
        reference = 0.1 * phantom.volume(BOX)
        sigma2 = torch.ones(1, SHELLS)
        found = signal_r_max(reference, sigma2, COORDINATES, BOX // 2)
        assert 2 < found < 8
        rotations = random_rotations(60, generator)
        # Padded sixfold, slices have next to nothing that the map does not have.
        projector = CentralSlices(reference / BOX, r_max=BOX // 2, padding=6)
        slices = projector.extract(rotations, COORDINATES).to(torch.complex128)
        noise = torch.randn(2, *slices.shape, generator=generator, dtype=torch.float64)
        images = slices + torch.complex(noise[0], noise[1])
        beyond = COORDINATES.shell > found
        cross = (images[:, beyond] @ slices[:, beyond].conj().T).real
        power = (slices[:, beyond].abs() ** 2).sum(1)
        difference = cross - power / 2
        difference = difference - difference.diagonal()[:, None]
        expected = 4 * NEGLIGIBLE_LOG_LIKELIHOOD
        assert float(difference.mean().abs()) < 2 * expected
        # The noise of the image makes it fluctuate by the root of twice what is expected.
        assert float(difference.std()) < (2 * expected) ** 0.5

    def test_is_within_its_limits(self, reference: Tensor) -> None:
        sigma2 = torch.ones(1, SHELLS)
        assert signal_r_max(1e4 * reference, sigma2, COORDINATES, 7) == 7
        assert signal_r_max(torch.zeros_like(reference), sigma2, COORDINATES, 7) == 1
        radii = [
            signal_r_max(scale * reference, sigma2, COORDINATES, BOX // 2)
            for scale in (1e-3, 1e-2, 0.1, 1.0, 10.0)
        ]
        assert radii == sorted(radii)
        assert radii[0] < radii[-1]
