import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.fft import rfftn_centered
from napari_blush.numerics.filters import (
    apply_spectrum,
    b_factor,
    crossover,
    high_pass,
    low_pass,
    low_pass_at_shell,
    randomize_phases,
)
from napari_blush.numerics.shells import radius_grid, shell_index_grid

VOXEL = 2.0
BOX = 16


@pytest.fixture
def volume(generator: torch.Generator) -> Tensor:
    return torch.randn(BOX, BOX, BOX, generator=generator, dtype=torch.float64)


def transfer(filtered: Tensor, volume: Tensor) -> Tensor:
    """What a filter multiplied each coefficient by."""
    factor = rfftn_centered(filtered) / rfftn_centered(volume)
    assert factor.imag.abs().max() < 1e-9
    return factor.real


@pytest.mark.parametrize(
    ("radius", "edge", "passed"),
    [(4, 2, 1), (4.5, 2, 0.853553), (5, 2, 0.5), (6, 2, 0), (5, 0, 1), (5.01, 0, 0)],
)
def test_crossover_is_a_raised_cosine(radius: float, edge: float, passed: float) -> None:
    value = crossover(torch.tensor([radius], dtype=torch.float64), 5.0, float(edge))
    assert value.item() == pytest.approx(passed, abs=1e-6)


def test_low_pass_is_one_half_at_its_resolution(volume: Tensor) -> None:
    resolution = BOX * VOXEL / 5
    factor = transfer(low_pass(volume, VOXEL, resolution), volume)
    radius = radius_grid(BOX, 3).double()
    expected = np.interp(radius, [4, 6], [0, np.pi])
    torch.testing.assert_close(factor, 0.5 + 0.5 * torch.from_numpy(np.cos(expected)))
    assert torch.allclose(factor[radius == 5], torch.tensor(0.5, dtype=torch.float64))


@given(st.floats(4.0, 40.0), st.floats(0.0, 4.0))
def test_high_and_low_pass_are_complements(resolution: float, edge: float) -> None:
    volume = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    high = high_pass(volume, VOXEL, resolution, edge_shells=edge)
    low = low_pass(volume, VOXEL, resolution, edge_shells=edge)
    torch.testing.assert_close(high + low, volume, rtol=0, atol=1e-5)


def test_b_factor_blurs_a_gaussian_by_its_own_formula() -> None:
    # A Gaussian of variance v has the transform exp(-2 pi^2 v s^2): B adds B / (8 pi^2) to v.
    sigma, b = 4.0, 200.0
    place = (torch.arange(32, dtype=torch.float64) - 16) * VOXEL
    squared = place[:, None, None] ** 2 + place[:, None] ** 2 + place**2

    def gaussian(variance: float) -> Tensor:
        return torch.exp(-squared / (2 * variance)) / variance**1.5

    blurred = gaussian(sigma**2 + b / (8 * np.pi**2))
    torch.testing.assert_close(b_factor(gaussian(sigma**2), VOXEL, b), blurred)
    torch.testing.assert_close(b_factor(blurred, VOXEL, -b), gaussian(sigma**2))


def test_spectrum_multiplies_each_shell(volume: Tensor) -> None:
    spectrum = torch.rand(BOX // 2 + 1, dtype=torch.float64)
    factor = transfer(apply_spectrum(volume, spectrum), volume)
    shells = shell_index_grid(BOX, 3)
    expected = torch.where(shells > BOX // 2, 0, spectrum[shells.clamp(max=BOX // 2)])
    torch.testing.assert_close(factor, expected)
    both = apply_spectrum(torch.stack([volume, volume]), torch.stack([spectrum, 2 * spectrum]))
    torch.testing.assert_close(both[1], 2 * both[0])


def test_random_phases_keep_the_amplitudes_of_the_real_map(
    volume: Tensor, generator: torch.Generator
) -> None:
    randomized = rfftn_centered(randomize_phases(volume, 4, generator))
    original = rfftn_centered(volume)
    kept = shell_index_grid(BOX, 3) < 4
    torch.testing.assert_close(randomized[kept], original[kept])
    torch.testing.assert_close(randomized.abs(), original.abs())
    assert not torch.isclose(randomized[~kept], original[~kept]).all()


def test_two_draws_do_not_correlate(generator: torch.Generator) -> None:
    volume = torch.randn(32, 32, 32, generator=generator)
    pair = randomize_phases(torch.stack([volume, volume]), 8, generator)
    fsc = fourier_shell_correlation(pair[0], pair[1])
    assert fsc[:8].min() > 0.999
    # About 800 coefficients and more a shell: one standard deviation is 0.05 or less.
    assert fsc[8:].abs().max() < 0.2


def test_phases_of_a_seed_are_the_same_again(volume: Tensor) -> None:
    once, again, other = (
        randomize_phases(volume, 3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(once, again)
    assert not torch.allclose(once, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_filters_keep_the_type(
    volume: Tensor, dtype: torch.dtype, generator: torch.Generator
) -> None:
    volume = volume.to(dtype)
    filtered = [
        low_pass(volume, VOXEL, 8.0),
        high_pass(volume, VOXEL, 8.0),
        b_factor(volume, VOXEL, 50.0),
        apply_spectrum(volume, torch.ones(BOX // 2 + 1)),
        randomize_phases(volume, 3, generator),
    ]
    assert {one.dtype for one in filtered} == {dtype}


@pytest.mark.relion
@pytest.mark.parametrize("option", ["--lowpass", "--highpass", "--bfactor"])
def test_filters_are_those_of_relion(
    option: str, tmp_path: Path, generator: torch.Generator
) -> None:
    volume = torch.randn(BOX, BOX, BOX, generator=generator)
    mrcfile.write(tmp_path / "in.mrc", volume.numpy(), voxel_size=VOXEL)
    command = f"relion_image_handler --i in.mrc --o out.mrc --angpix {VOXEL} {option} 8"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    ours = {
        "--lowpass": low_pass(volume, VOXEL, 8.0),
        "--highpass": high_pass(volume, VOXEL, 8.0),
        # RELION's B factor also removes what is beyond Nyquist.
        "--bfactor": low_pass_at_shell(b_factor(volume, VOXEL, 8.0), BOX / 2, edge_shells=0.0),
    }[option]
    theirs = torch.from_numpy(mrcfile.read(tmp_path / "out.mrc").copy())
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
