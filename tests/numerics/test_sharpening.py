"""Guinier fit, FSC weight and sharpening against closed forms and RELION's post-processing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_blush.errors import SettingsError
from napari_blush.io.mrc import read_map
from napari_blush.numerics.sharpening import (
    fsc_weight,
    guinier_b_factor,
    sharpen,
    shell_amplitude,
    squared_frequency,
)

ORACLE = Path(__file__).parents[1] / "oracles" / "relion_postprocess_betagal.json"


def point(box_size: int) -> torch.Tensor:
    """A volume whose Fourier coefficients all have modulus 1."""
    volume = torch.zeros(box_size, box_size, box_size)
    volume[3, 1, 2] = 1.0
    return volume


@settings(max_examples=10, deadline=None)
@given(b=st.floats(20.0, 300.0), voxel_size=st.floats(1.0, 2.0))
def test_fit_finds_the_blur_of_a_point(b: float, voxel_size: float) -> None:
    blurred = sharpen(point(48), voxel_size, b_factor=b)
    fit = guinier_b_factor(blurred, voxel_size, to_resolution=2.2 * voxel_size)
    assert fit is not None
    assert fit.b_factor == pytest.approx(-b, rel=0.02, abs=0.5)
    assert fit.r_squared > 0.99
    assert fit.first_shell == np.ceil(48 * voxel_size / 10 * (1 - 1e-6))


def test_sharpening_undoes_a_blur() -> None:
    original = point(48).double()
    blurred = sharpen(original, 1.2, b_factor=150.0)
    restored = sharpen(blurred, 1.2, b_factor=-150.0)
    torch.testing.assert_close(restored, original, atol=1e-8, rtol=0)


def test_sharpening_multiplies_each_frequency_by_the_written_formula(
    generator: torch.Generator,
) -> None:
    n, voxel_size, b = 10, 1.7, -80.0
    volume = torch.randn(n, n, n, generator=generator, dtype=torch.float64)
    weight = torch.linspace(1, 0.4, n // 2 + 1, dtype=torch.float64)
    frequency = np.fft.fftfreq(n, 1 / n)
    wanted = np.fft.fftn(volume.numpy())
    for iz, kz in enumerate(frequency):
        for iy, ky in enumerate(frequency):
            for ix, kx in enumerate(frequency):
                k = np.sqrt(kx**2 + ky**2 + kz**2)
                factor = np.exp(-b / 4 * (k / (n * voxel_size)) ** 2)
                factor *= weight[round(k)].item() if k <= n / 2 else 0.0
                wanted[iz, iy, ix] *= factor
    sharpened = sharpen(volume, voxel_size, b_factor=b, weight=weight)
    np.testing.assert_allclose(sharpened.numpy(), np.fft.ifftn(wanted).real, atol=1e-12)


def test_shell_amplitude_is_the_mean_modulus(generator: torch.Generator) -> None:
    n = 8
    volume = torch.randn(n, n, n, generator=generator, dtype=torch.float64)
    modulus = np.abs(np.fft.rfftn(volume.numpy())) / n**3
    k, half = np.fft.fftfreq(n, 1 / n), np.arange(n // 2 + 1)
    radius = np.sqrt(k[:, None, None] ** 2 + k[None, :, None] ** 2 + half**2)
    wanted = [modulus[np.rint(radius) == shell].mean() for shell in half]
    np.testing.assert_allclose(shell_amplitude(volume).numpy(), wanted, rtol=1e-12)


def test_fsc_weight_is_the_correlation_expected_of_the_full_map() -> None:
    weight = fsc_weight(torch.tensor([1.0, 0.5, 1 / 3, 0.0, 0.9]))
    torch.testing.assert_close(weight, torch.tensor([1.0, (2 / 3) ** 0.5, 0.5**0.5, 0.0, 0.0]))


def test_a_map_without_shells_beyond_ten_angstrom_has_no_b_factor() -> None:
    assert guinier_b_factor(point(32), 5.5, to_resolution=11.0) is None


def test_shells_of_weight_zero_are_left_out() -> None:
    weight = torch.ones(25)
    weight[20:] = 0
    fit = guinier_b_factor(point(48), 1.0, to_resolution=2.0, weight=weight)
    assert fit is not None
    assert fit.last_shell == 19


def test_a_weight_of_another_box_is_refused() -> None:
    with pytest.raises(SettingsError, match="wanted 17"):
        sharpen(point(32), 1.0, b_factor=0.0, weight=torch.ones(16))


def test_squared_frequency_is_in_reciprocal_square_angstrom() -> None:
    assert squared_frequency(5, 40, 2.5)[4].item() == pytest.approx((4 / 100) ** 2)


@pytest.mark.real_data
def test_guinier_fit_is_that_of_relion(data_dir: Path) -> None:
    oracle = json.loads(ORACLE.read_text())
    folder = data_dir / "betagal_dev" / "relion313_reference"
    full = sum(read_map(folder / f"half{h}_unfil.mrc").volume for h in (1, 2)) / 2
    weight = fsc_weight(torch.tensor(oracle["fsc_corrected"], dtype=torch.float64))
    np.testing.assert_allclose(
        shell_amplitude(full).log().numpy(), oracle["ln_amplitude"], atol=2e-5
    )
    for case in oracle["guinier_fits"]:
        fit = guinier_b_factor(full, 3.54, to_resolution=case["to_resolution"], weight=weight)
        assert fit is not None
        assert fit.b_factor == pytest.approx(case["b_factor"], abs=0.01)
        assert fit.intercept == pytest.approx(case["intercept"], abs=1e-4)
        assert fit.r_squared == pytest.approx(case["r_squared"], abs=1e-4)
