import numpy as np
import pytest
import torch

from napari_blush.numerics.gridding import gridding_correction


@pytest.mark.parametrize("box_size", [8, 9])
@pytest.mark.parametrize("padding", [1, 2])
def test_window_is_the_written_out_formula(box_size: int, padding: int) -> None:
    window = gridding_correction(box_size, padding, dtype=torch.float64)
    for z, y, x in np.ndindex(box_size, box_size, box_size):
        radius = np.linalg.norm(np.array([z, y, x]) - box_size // 2)
        expected = np.sinc(radius / (box_size * padding)) ** 2
        assert window[z, y, x].item() == pytest.approx(expected)


def test_window_is_the_transform_of_the_interpolation_kernel() -> None:
    # Along an axis: the transform of the triangle of half width one padded Fourier voxel.
    n, padding, fine = 16, 2, 400
    window = gridding_correction(n, padding, dtype=torch.float64)[n // 2, n // 2]
    frequency = (np.arange(2 * fine) + 0.5) / fine - 1
    place = np.arange(n) - n // 2
    waves = np.cos(2 * np.pi * np.outer(place, frequency) / (n * padding))
    np.testing.assert_allclose(window, waves @ (1 - abs(frequency)) / fine, atol=1e-5)


def test_no_corner_is_divided_by_next_to_nothing() -> None:
    assert gridding_correction(32, 2).min() > 0.5
    assert gridding_correction(32, 2).dtype == torch.float32
