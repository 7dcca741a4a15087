"""Prepared images against a step-by-step reference; what each step must and must not change."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from napari_blush.data_model.particles import Particles
from napari_blush.data_model.poses import Poses
from napari_blush.likelihood.half_model import HalfModel
from napari_blush.likelihood.prepared_images import (
    ImagePreparation,
    ImagePreparer,
    PreparedImages,
    roll_images,
)
from napari_blush.numerics.packing import packed_coordinates, packed_shell_sum
from napari_blush.simulation.exposure import DefocusPlan, draw_exposure
from napari_blush.simulation.images import simulate_particles
from napari_blush.simulation.phantoms import random_blobs

BOX, RADIUS = 24, 7.0
SHELLS = BOX // 2 + 1
COORDINATES = packed_coordinates(BOX, BOX // 2)
COUNT = COORDINATES.count(9)

Maker = Callable[..., Any]


@pytest.fixture
def particles(particles_of: Maker, generator: torch.Generator) -> Particles:
    """Return images of noise with a bright middle and a background that is not zero."""
    images = 3.0 + torch.randn(6, BOX, BOX, generator=generator)
    images[:, 8:15, 9:16] += 2.0
    return particles_of(images)


@pytest.fixture
def model(model_of: Maker) -> HalfModel:
    return model_of(torch.zeros(BOX, BOX, BOX))


def prepared(
    particles: Particles,
    model: HalfModel,
    index: Tensor | None = None,
    *,
    shifts_px: Tensor | None = None,
    norm: Tensor | None = None,
    count: int = COUNT,
    **preparation: Any,
) -> PreparedImages:
    index = torch.arange(len(particles)) if index is None else index
    preparer = ImagePreparer(
        particles,
        COORDINATES,
        torch.device("cpu"),
        ImagePreparation(**{"mask_radius_px": RADIUS, **preparation}),
    )
    shifts_px = torch.zeros(len(index), 2) if shifts_px is None else shifts_px
    norm = torch.full((len(index),), model.average_norm) if norm is None else norm
    return preparer.prepare(index, shifts_px, norm, model, count)


@pytest.mark.parametrize("whiten", [True, False])
@pytest.mark.parametrize("normalize_background", [True, False])
def test_images_are_those_of_the_slow_reference(
    particles: Particles,
    model: HalfModel,
    slow_image: Maker,
    whiten: bool,
    normalize_background: bool,
) -> None:
    index = torch.tensor([4, 0, 1, 3])
    shifts = particles.poses.shifts_angstrom[index] / 3.0
    norm = particles.norm_correction[index]
    options = {"normalize_background": normalize_background, "whiten": whiten}
    found = prepared(particles, model, index, shifts_px=shifts, norm=norm, **options)
    preparation = ImagePreparation(mask_radius_px=RADIUS, **options)
    for row, particle in enumerate(index.tolist()):
        slow = slow_image(
            particles,
            particle,
            model,
            preparation,
            shift_px=shifts[row].numpy(),
            norm=float(norm[row]),
        )
        deviation = np.sqrt(slow.variance) if whiten else np.ones_like(slow.variance)
        for name in ("masked", "unmasked", "ctf"):
            wanted = (getattr(slow, name) / deviation)[:COUNT]
            np.testing.assert_allclose(
                getattr(found, name)[row].numpy(), wanted, atol=2e-5, err_msg=name
            )
        assert found.base_shift_px[row].tolist() == slow.base.tolist()
        power = np.bincount(COORDINATES.shell.numpy(), np.abs(slow.masked) ** 2, minlength=SHELLS)
        np.testing.assert_allclose(found.power[row].numpy(), power[:SHELLS], rtol=1e-4)
        sigma2 = model.sigma2_noise[int(particles.optics_group_index[particle])]
        torch.testing.assert_close(found.sigma2[row], sigma2)


def test_optics_groups_are_whitened_by_their_own_noise(
    particles: Particles, model: HalfModel
) -> None:
    raw = prepared(particles, model, whiten=False)
    white = prepared(particles, model)
    shell = COORDINATES.shell[:COUNT]
    sigma = model.sigma2_noise.sqrt()[particles.optics_group_index][:, shell]
    torch.testing.assert_close(white.masked * sigma, raw.masked)
    torch.testing.assert_close(white.ctf * sigma, raw.ctf)
    assert not torch.allclose(sigma[0], sigma[1])


def test_white_noise_of_the_model_becomes_unit_noise(
    particles_of: Maker, model: HalfModel, generator: torch.Generator
) -> None:
    images = 2.0 * torch.randn(200, BOX, BOX, generator=generator)
    # Variance 4 per pixel is 2 in the real and 2 in the imaginary part.
    flat = replace(model, sigma2_noise=torch.full((2, SHELLS), 2.0))
    found = prepared(particles_of(images), flat).unmasked
    assert float(found.real.var()) == pytest.approx(1.0, abs=0.02)
    assert float(found.imag.var()) == pytest.approx(1.0, abs=0.02)


def test_norm_correction_scales_the_image(particles: Particles, model: HalfModel) -> None:
    plain = prepared(particles, model)
    halved = prepared(particles, model, norm=torch.full((6,), 2 * model.average_norm))
    torch.testing.assert_close(halved.masked, plain.masked / 2)
    torch.testing.assert_close(halved.unmasked, plain.unmasked / 2)
    torch.testing.assert_close(halved.power, plain.power / 4)
    torch.testing.assert_close(halved.ctf, plain.ctf)


@pytest.mark.parametrize("zero_mask", [True, False])
def test_a_batch_is_its_images_one_by_one(
    particles: Particles, model: HalfModel, zero_mask: bool
) -> None:
    shifts = torch.tensor(
        [[0.0, 0.0], [1.2, -3.4], [0.6, 0.4], [-7.0, 2.0], [0.0, 9.0], [3.0, 0.0]]
    )
    whole = prepared(particles, model, shifts_px=shifts, zero_mask=zero_mask)
    order = torch.tensor([5, 2, 3])
    part = prepared(particles, model, order, shifts_px=shifts[order], zero_mask=zero_mask)
    chosen = whole.rows(order)
    assert len(chosen) == 3
    for name in PreparedImages.__slots__:
        torch.testing.assert_close(getattr(part, name), getattr(chosen, name))


def test_a_prefix_is_the_beginning_of_the_whole(particles: Particles, model: HalfModel) -> None:
    whole = prepared(particles, model, count=len(COORDINATES))
    for name in ("masked", "unmasked", "ctf"):
        torch.testing.assert_close(
            getattr(prepared(particles, model, count=30), name), getattr(whole, name)[:, :30]
        )
    torch.testing.assert_close(prepared(particles, model, count=30).power, whole.power)
    raw = prepared(particles, model, count=len(COORDINATES), whiten=False).masked
    power = packed_shell_sum(raw.abs() ** 2, COORDINATES.shell, SHELLS)
    torch.testing.assert_close(whole.power, power)


def test_a_constant_added_to_an_image_changes_nothing(
    particles_of: Maker, particles: Particles, model: HalfModel
) -> None:
    images = particles.images.read(torch.arange(6))
    # Below 8, or float32 rounds the lifted images by more than the differences allowed below.
    plain, lifted = (prepared(particles_of(images + c), model) for c in (0.0, 4.0))
    torch.testing.assert_close(lifted.masked, plain.masked, atol=2e-5, rtol=0)
    torch.testing.assert_close(lifted.unmasked, plain.unmasked, atol=2e-5, rtol=0)


def test_normalizing_the_background_undoes_gain_and_offset(
    particles_of: Maker, particles: Particles, model: HalfModel
) -> None:
    images = particles.images.read(torch.arange(6))
    plain = prepared(particles_of(images), model, normalize_background=True)
    changed = prepared(particles_of(40.0 * images - 7.0), model, normalize_background=True)
    torch.testing.assert_close(changed.masked, plain.masked, atol=1e-4, rtol=0)
    torch.testing.assert_close(changed.power, plain.power, atol=1e-3, rtol=1e-3)


class TestNoiseFill:
    """What lies outside the mask when it is not set to the background's mean."""

    def test_is_the_same_every_time_and_differs_between_particles_and_seeds(
        self, particles_of: Maker, model: HalfModel
    ) -> None:
        particles = particles_of(torch.zeros(3, BOX, BOX))
        first = prepared(particles, model, zero_mask=False).masked
        torch.testing.assert_close(prepared(particles, model, zero_mask=False).masked, first)
        other = prepared(particles, model, zero_mask=False, seed=1).masked
        for found in (first[1] - first[0], first[2] - first[0], other[0] - first[0]):
            assert float(found.abs().max()) > 0.1

    def test_hides_what_was_outside(
        self, particles_of: Maker, particles: Particles, model: HalfModel, soft_mask: Maker
    ) -> None:
        images = particles.images.read(torch.arange(6))
        outside = torch.from_numpy(soft_mask(BOX, RADIUS) == 0)
        assert bool(outside.any())
        changed = images + 50.0 * outside
        plain = prepared(particles_of(images), model, zero_mask=False)
        found = prepared(particles_of(changed), model, zero_mask=False)
        torch.testing.assert_close(found.masked, plain.masked)
        assert not torch.allclose(found.unmasked, plain.unmasked)

    def test_has_the_spectrum_of_the_model(
        self, particles_of: Maker, model: HalfModel, soft_mask: Maker, optics: Maker
    ) -> None:
        n_images = 2000
        particles = particles_of(torch.zeros(n_images, BOX, BOX), groups=(optics(BOX),))
        found = prepared(particles, model, zero_mask=False).power.double().mean(0)
        # Noise seen through a window has its spectrum smeared by the window's.
        k = np.fft.fftfreq(BOX, 1 / BOX)
        shell = np.round(np.hypot(k[:, None], k[None])).astype(int).clip(max=BOX // 2)
        spectrum = 2 * model.sigma2_noise[0].double().numpy()[shell]
        window = np.abs(np.fft.fft2(1 - soft_mask(BOX, RADIUS))) ** 2 / BOX**4
        seen = np.fft.ifft2(np.fft.fft2(spectrum) * np.fft.fft2(window)).real
        at = seen[COORDINATES.ky.numpy(), COORDINATES.kx.numpy()]
        wanted = np.bincount(COORDINATES.shell.numpy(), at, minlength=SHELLS)
        independent = n_images * np.bincount(COORDINATES.shell.numpy(), minlength=SHELLS)
        for s in range(1, SHELLS):
            # Five standard deviations of independent coefficients, three of correlated ones.
            assert float(found[s]) == pytest.approx(wanted[s], rel=5 / independent[s] ** 0.5)


def test_beam_tilt_is_undone(model: HalfModel, optics: Maker, generator: torch.Generator) -> None:
    volume = random_blobs(generator, n_blobs=6, radius_px=4.0).volume(BOX)
    groups = (
        optics(BOX),
        optics(BOX, beam_tilt_mrad=(2.0, -1.5), odd_zernike=(0.1, 0.2, -0.1, 0.3)),
    )
    exposure = draw_exposure(3, groups[:1], DefocusPlan(), generator)
    straight, tilted = (
        simulate_particles(
            volume, Poses.identity(3), replace(exposure, optics_groups=(group,)), spectrum=None
        )
        for group in groups
    )
    index = torch.arange(3)
    assert not torch.allclose(straight.images.read(index), tilted.images.read(index), atol=1e-2)
    # A mask of its own would cut the displaced image elsewhere.
    found, wanted = (
        prepared(each, model, mask_radius_px=BOX / 2, whiten=False).unmasked
        for each in (tilted, straight)
    )
    tolerance = 1e-4 * float(wanted.abs().max())
    torch.testing.assert_close(found, wanted, atol=tolerance, rtol=0)


def test_slice_matrix_is_the_magnification_of_the_group(particles_of: Maker, optics: Maker) -> None:
    matrix = ((1.01, 0.02), (0.02, 0.98))
    groups = (optics(BOX), optics(BOX, magnification_matrix=matrix))
    particles = particles_of(torch.zeros(2, BOX, BOX), groups=groups)
    preparer = ImagePreparer(
        particles, COORDINATES, torch.device("cpu"), ImagePreparation(mask_radius_px=RADIUS)
    )
    assert preparer.slice_matrix(0) is None
    found = preparer.slice_matrix(1)
    assert found is not None
    wanted = torch.eye(3)
    wanted[:2, :2] = torch.tensor(matrix)
    torch.testing.assert_close(found, wanted)


@given(
    b=st.integers(1, 4),
    half=st.integers(2, 6),
    seed=st.integers(0, 2**31),
    reach=st.sampled_from([0, 3, 40]),
)
def test_rolling_is_that_of_numpy(b: int, half: int, seed: int, reach: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(b, 2 * half, 2 * half, generator=generator)
    shifts = torch.randint(-reach, reach + 1, (b, 2), generator=generator).float()
    found = roll_images(images, shifts)
    for image, (x, y), moved in zip(images, shifts.int().tolist(), found, strict=True):
        wanted = np.roll(image.numpy(), (y, x), axis=(0, 1))
        assert np.array_equal(moved.numpy(), wanted)
