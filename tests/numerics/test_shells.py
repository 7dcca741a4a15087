import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from napari_blush.numerics.shells import (
    radius_grid,
    resolution_to_shell,
    shell_index_grid,
    shell_mean,
    shell_sum,
    shell_to_resolution,
    spectrum_to_grid,
)


def full_radius(n: int, ndim: int) -> np.ndarray:
    axis = np.fft.fftfreq(n, 1 / n)
    return np.sqrt(sum(grid**2 for grid in np.meshgrid(*[axis] * ndim, indexing="ij")))


def summed_over_full_transform(full: Tensor, n: int, ndim: int) -> np.ndarray:
    shells = np.floor(full_radius(n, ndim) + 0.5).astype(int)
    return ndimage.sum_labels(full.numpy(), shells, np.arange(n // 2 + 1))


@pytest.mark.parametrize("n", [6, 9])
@pytest.mark.parametrize("ndim", [2, 3])
def test_grids_hold_radius_and_shell(n: int, ndim: int) -> None:
    radius = full_radius(n, ndim)[..., : n // 2 + 1]
    np.testing.assert_allclose(radius_grid(n, ndim), radius, rtol=1e-6)
    np.testing.assert_array_equal(shell_index_grid(n, ndim), np.round(radius))


def test_float32_puts_every_radius_in_its_shell() -> None:
    # The closest calls: |k|^2 = s (s + 1) lies just below s + 1/2.
    shell = torch.arange(1, 1390)
    below, above = shell * (shell + 1), shell * (shell + 1) + 1
    assert torch.equal(below.float().sqrt().round().long(), shell)
    assert torch.equal(above.float().sqrt().round().long(), shell + 1)


@pytest.mark.parametrize("n", [8, 7])
@pytest.mark.parametrize("ndim", [2, 3])
def test_sum_over_half_is_sum_over_full_transform(n: int, ndim: int) -> None:
    rng = np.random.default_rng(1)
    dims = tuple(range(-ndim, 0))
    power = torch.fft.fftn(torch.from_numpy(rng.normal(size=(2, *[n] * ndim))), dim=dims).abs()
    expected = [summed_over_full_transform(one, n, ndim) for one in power]
    counts = summed_over_full_transform(torch.ones(power.shape[1:]), n, ndim)
    half = power[..., : n // 2 + 1]
    np.testing.assert_allclose(shell_sum(half, n, ndim), expected)
    np.testing.assert_allclose(shell_mean(half, n, ndim), expected / counts)


def test_sum_as_stored_counts_each_coefficient_once() -> None:
    n = 8
    stored = shell_sum(torch.ones(n, n, n // 2 + 1), n, 3, as_stored=True)
    expected = torch.bincount(shell_index_grid(n, 3).flatten())[: n // 2 + 1]
    assert torch.equal(stored, expected.float())


def test_float32_sums_are_exact_to_six_digits() -> None:
    n = 64
    values = torch.rand(n, n, n // 2 + 1, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        shell_sum(values, n, 3).double(), shell_sum(values.double(), n, 3), rtol=2e-6, atol=0
    )


def test_a_spectrum_is_spread_and_averaged_back() -> None:
    spectra = torch.rand(2, 5, dtype=torch.float64)
    for ndim in (2, 3):
        grid = spectrum_to_grid(spectra, 8, ndim, beyond=-1.0)
        assert torch.allclose(shell_mean(grid, 8, ndim), spectra)
        beyond = shell_index_grid(8, ndim) > 4
        assert torch.equal((grid == -1).all(dim=0), beyond)


def test_a_short_spectrum_ends_early() -> None:
    grid = spectrum_to_grid(torch.ones(3), 8, 3)
    assert torch.equal(grid == 1, shell_index_grid(8, 3) < 3)


def test_shells_and_resolutions_are_inverse() -> None:
    assert shell_to_resolution(32.0, 64, 3.54) == pytest.approx(7.08)
    assert resolution_to_shell(22.656, 64, 3.54) == pytest.approx(10)
    assert shell_to_resolution(0.0, 64, 3.54) == math.inf
