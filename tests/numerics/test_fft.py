import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from torch import Tensor

from napari_blush.errors import SettingsError
from napari_blush.numerics.fft import (
    fourier_resize,
    fourier_resize_images,
    fourier_resize_transform,
    half_spectrum_multiplicity,
    irfft2_centered,
    irfftn_centered,
    rfft2_centered,
    rfftn_centered,
)

even_boxes = st.integers(1, 7).map(lambda half: 2 * half)


def random_volume(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def resampled_by_scipy(array: Tensor, new_box: int, ndim: int) -> Tensor:
    resized = np.fft.ifftshift(array.numpy(), axes=range(-ndim, 0))
    for axis in range(-ndim, 0):
        resized = signal.resample(resized, new_box, axis=axis)
    return torch.from_numpy(np.fft.fftshift(resized, axes=range(-ndim, 0)))


def test_transform_is_the_written_out_sum() -> None:
    n = 4
    volume = random_volume(n, n, n)
    place = torch.arange(n, dtype=torch.float64) - n // 2
    frequency = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    waves = torch.exp(-2j * torch.pi * frequency[:, None] * place / n)
    expected = torch.einsum("zyx,az,by,cx->abc", volume + 0j, waves, waves, waves[: n // 2 + 1])
    # The Nyquist frequency is its own mate: fftfreq writes it negative, the half axis positive.
    assert torch.allclose(rfftn_centered(volume), expected)


@pytest.mark.parametrize("n", [2, 5, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_there_and_back_is_the_identity(n: int, dtype: torch.dtype) -> None:
    volumes = random_volume(2, n, n, n).to(dtype)
    images = volumes[0]
    assert irfftn_centered(rfftn_centered(volumes), n).dtype == dtype
    torch.testing.assert_close(irfftn_centered(rfftn_centered(volumes), n), volumes)
    torch.testing.assert_close(irfft2_centered(rfft2_centered(images), n), images)


def test_a_point_at_the_center_has_no_phase() -> None:
    volume = torch.zeros(6, 6, 6)
    volume[3, 3, 3] = 1
    assert torch.equal(rfftn_centered(volume), torch.ones(6, 6, 4, dtype=torch.complex64))


@pytest.mark.parametrize("n", [6, 7])
def test_multiplicity_makes_half_sums_whole(n: int) -> None:
    image = random_volume(n, n)
    whole = torch.fft.fft2(image).abs().square().sum()
    half = rfft2_centered(image).abs().square() * half_spectrum_multiplicity(n)
    assert torch.allclose(half.sum(), whole)


@settings(deadline=None, max_examples=40)
@given(even_boxes, even_boxes)
def test_resizing_agrees_with_scipy(old: int, new: int) -> None:
    volume = random_volume(old, old, old)
    images = random_volume(3, old, old)
    assert torch.allclose(fourier_resize(volume, new), resampled_by_scipy(volume, new, 3))
    assert torch.allclose(fourier_resize_images(images, new), resampled_by_scipy(images, new, 2))


def test_resizing_a_batch_is_resizing_each() -> None:
    volumes = random_volume(2, 8, 8, 8).float()
    resized = fourier_resize(volumes, 12)
    assert resized.dtype == torch.float32
    torch.testing.assert_close(resized[1], fourier_resize(volumes[1], 12))


def test_density_survives_a_finer_grid_and_its_return() -> None:
    volume = random_volume(8, 8, 8)
    finer = fourier_resize(volume, 16)
    assert torch.allclose(finer[::2, ::2, ::2], volume)
    assert torch.allclose(fourier_resize(finer, 8), volume)


@pytest.mark.parametrize("new", [6, 12])
@pytest.mark.parametrize("ndim", [2, 3])
def test_resized_transform_belongs_to_a_real_object(new: int, ndim: int) -> None:
    dims = tuple(range(-ndim, 0))
    transform = torch.fft.rfftn(random_volume(*(8,) * ndim), dim=dims)
    resized = fourier_resize_transform(transform, 8, new, ndim)
    round_trip = torch.fft.rfftn(torch.fft.irfftn(resized, s=(new,) * ndim), dim=dims)
    assert torch.allclose(resized, round_trip)


@pytest.mark.parametrize(("old", "new"), [(8, 5), (7, 8)])
def test_odd_boxes_are_refused(old: int, new: int) -> None:
    with pytest.raises(SettingsError, match="even box"):
        fourier_resize(random_volume(old, old, old), new)
