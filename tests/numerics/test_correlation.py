import math
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from napari_blush.numerics.correlation import (
    fourier_shell_correlation,
    fourier_shell_correlation_of_transforms,
    resolution_at,
    resolution_shell,
)
from napari_blush.numerics.fft import rfftn_centered

ORACLE = Path(__file__).parents[1] / "oracles" / "relion_postprocess_fsc_betagal.tsv"


def random_pair(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    common, *noise = torch.from_numpy(rng.normal(size=(3, n, n, n)))
    return common + noise[0], common + noise[1]


def written_out(a: Tensor, b: Tensor) -> np.ndarray:
    n = a.shape[-1]
    fa, fb = np.fft.rfftn(a.numpy()), np.fft.rfftn(b.numpy())
    full, half = np.fft.fftfreq(n, 1 / n), np.arange(n // 2 + 1)
    radius = np.sqrt(full[:, None, None] ** 2 + full[:, None] ** 2 + half**2)
    shells = np.round(radius).astype(int)

    def total(values: np.ndarray) -> np.ndarray:
        return np.asarray(ndimage.sum_labels(values, shells, half))

    return total((fa * fb.conj()).real) / np.sqrt(total(abs(fa) ** 2) * total(abs(fb) ** 2))


def test_curve_is_the_written_out_formula() -> None:
    a, b = random_pair(10)
    fsc = fourier_shell_correlation(a, b)
    np.testing.assert_allclose(fsc[1:], written_out(a, b)[1:])
    assert fsc[0] == 1


def test_batches_and_transforms_give_the_same_curve() -> None:
    a, b = random_pair(8)
    curve = fourier_shell_correlation(a, b)
    stacked = fourier_shell_correlation(torch.stack([a, b, a]), torch.stack([b, b, -a]))
    of_transforms = fourier_shell_correlation_of_transforms(rfftn_centered(a), rfftn_centered(b))
    assert torch.allclose(stacked[0], curve)
    assert torch.allclose(stacked[1], torch.ones(5, dtype=torch.float64))
    assert torch.allclose(stacked[2, 1:], -torch.ones(4, dtype=torch.float64))
    assert torch.allclose(of_transforms, curve)


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_scale_does_not_matter(scale_a: float, scale_b: float) -> None:
    a, b = random_pair(6)
    scaled = fourier_shell_correlation(a * scale_a, b * scale_b)
    assert torch.allclose(scaled, fourier_shell_correlation(a, b))


def test_maps_without_power_do_not_correlate() -> None:
    a, _ = random_pair(6)
    fsc = fourier_shell_correlation(a, torch.zeros_like(a))
    assert torch.equal(fsc, torch.tensor([1.0, 0, 0, 0], dtype=torch.float64))


def test_float32_is_safe_from_overflow() -> None:
    a, b = random_pair(8)
    large = fourier_shell_correlation((a * 1e15).float(), (b * 1e15).float())
    torch.testing.assert_close(large.double(), fourier_shell_correlation(a, b), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("curve", "shell"),
    [
        ([1, 0.9, 0.1, 0.9, 0.1], 1),
        ([1, 0.9, 0.5, 0.2, 0.143], 4),
        ([1, 0.9, 0.8, 0.7, 0.142], 3),
        ([1, 0.1, 0.9, 0.9, 0.9], 0),
        ([1, 0.9, math.nan, 0.9, 0.9], 1),
    ],
)
def test_resolution_is_where_the_curve_first_falls(curve: list[float], shell: int) -> None:
    assert resolution_shell(torch.tensor(curve)) == shell
    expected = 8 * 1.5 / shell if shell else math.inf
    assert resolution_at(torch.tensor(curve), 0.143, 8, 1.5) == pytest.approx(expected)


@pytest.mark.real_data
def test_curves_are_those_of_relion_postprocess(data_dir: Path) -> None:
    folder = data_dir / "betagal_dev"
    halves = [
        torch.from_numpy(mrcfile.read(folder / "relion313_reference" / f"half{k}_unfil.mrc").copy())
        for k in (1, 2)
    ]
    mask = torch.from_numpy(mrcfile.read(folder / "mask_soft_box64.mrc").copy())
    table = np.genfromtxt(ORACLE, names=True, skip_header=5)
    unmasked = fourier_shell_correlation(*halves)
    masked = fourier_shell_correlation(halves[0] * mask, halves[1] * mask)
    np.testing.assert_allclose(unmasked, table["unmasked"], atol=2e-5)
    np.testing.assert_allclose(masked, table["masked"], atol=2e-5)
    assert resolution_at(unmasked, 0.143, 64, 3.54) == pytest.approx(9.85, abs=0.01)
