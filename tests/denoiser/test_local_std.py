"""The second channel beside plain sums over windows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_blush.denoiser.local_std import local_standard_deviation


@pytest.mark.parametrize(("voxel", "half_width"), [(1.5, 10), (3.0, 5), (2.0, 8)])
def test_agrees_with_weighted_windows(
    voxel: float, half_width: int, generator: torch.Generator
) -> None:
    volume = torch.randn(24, 24, 24, generator=generator).double()
    taps = np.exp(-(np.linspace(-1.5, 1.5, 2 * half_width + 1) ** 2))
    window = taps[:, None, None] * taps[:, None] * taps
    window /= window.sum()
    mean, square = (
        ndimage.correlate(v.numpy(), window, mode="constant") for v in (volume, volume**2)
    )
    expected = np.sqrt(np.maximum(square - mean**2, 0))
    found = local_standard_deviation(volume, voxel)
    np.testing.assert_allclose(found.numpy(), expected / expected.mean(), rtol=1e-7)


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(1e-2, 1e2))
def test_does_not_know_the_scale(scale: float) -> None:
    volume = torch.randn(16, 16, 16, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(
        local_standard_deviation(scale * volume, 3.0), local_standard_deviation(volume, 3.0)
    )


def test_maps_of_a_batch_do_not_mix(generator: torch.Generator) -> None:
    volumes = torch.randn(2, 16, 16, 16, generator=generator)
    volumes[1] *= 7
    together = local_standard_deviation(volumes, 3.0)
    for volume, found in zip(volumes, together, strict=True):
        torch.testing.assert_close(found, local_standard_deviation(volume, 3.0))
        assert float(found.mean()) == pytest.approx(1, abs=1e-5)


def test_an_empty_map_gives_zeros() -> None:
    assert local_standard_deviation(torch.zeros(16, 16, 16), 3.0).abs().max() == 0
