"""Local resolution: a plain loop over voxels, a map of two known halves, RELION's on real ones."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from napari_blush.errors import SettingsError
from napari_blush.io.mrc import read_map
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.filters import low_pass, randomize_phases
from napari_blush.numerics.masks import soft_sphere
from napari_blush.validation.local_resolution import (
    LocalOptions,
    corrected_curves,
    crossing,
    local_resolution,
    locally_filtered,
    window_centers,
    windowed_fsc,
)

BOX, VOXEL = 32, 2.0
FINE, COARSE = 5.0, 10.0
ORACLE = Path(__file__).parents[1] / "oracles" / "relion_locres_betagal.json"


def two_sided(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return half-maps whose left side agrees to 5 A and whose right side agrees to 10 A."""
    white = torch.randn(BOX, BOX, BOX, generator=generator)
    fine, coarse = low_pass(white, VOXEL, FINE), low_pass(white, VOXEL, COARSE)
    right = torch.arange(BOX) >= BOX // 2
    signal = torch.where(right, coarse, fine)
    noise = 0.3 * torch.randn(2, BOX, BOX, BOX, generator=generator)
    return signal + noise[0], signal + noise[1]


def loop(maps: torch.Tensor, centers: torch.Tensor, window: int) -> torch.Tensor:
    """Correlate one window after the other, with the package's whole-map FSC."""
    half = window // 2
    ball = soft_sphere(window, half / 2, half / 2 - 0.5)
    padded = torch.nn.functional.pad(maps, (half,) * 6)
    curves = []
    for z, y, x in centers.tolist():
        cut = padded[:, z : z + window, y : y + window, x : x + window] * ball
        pairs = range(0, len(maps), 2)
        curves.append(torch.stack([fourier_shell_correlation(cut[i], cut[i + 1]) for i in pairs]))
    return torch.stack(curves)


def test_windows_against_a_plain_loop_and_much_faster(generator: torch.Generator) -> None:
    half1, half2 = two_sided(generator)
    randomized = [randomize_phases(half, 8, generator) for half in (half1, half2)]
    maps = torch.stack([half1, half2, *randomized])
    centers = window_centers(soft_sphere(BOX, 12.0, 1.0), 4)
    began = time.perf_counter()
    ours = windowed_fsc(maps, centers, 12)
    batched = (time.perf_counter() - began) / len(centers)
    some = centers[::6]
    began = time.perf_counter()
    theirs = loop(maps, some, 12)
    one_by_one = (time.perf_counter() - began) / len(some)
    torch.testing.assert_close(ours[::6], theirs, atol=2e-4, rtol=0)
    # A loop visits every voxel; batches visit one in eight, and each faster.
    assert 8 * one_by_one > 10 * batched


def test_each_side_has_its_resolution(generator: torch.Generator) -> None:
    half1, half2 = two_sided(generator)
    mask = soft_sphere(BOX, 13.0, 2.0)
    found = local_resolution(half1, half2, VOXEL, 5.0, mask).resolution
    left, right = (
        found[12:20, 12:20, side].median().item() for side in (slice(4, 9), slice(24, 29))
    )
    assert left == pytest.approx(FINE, rel=0.15)
    assert right == pytest.approx(COARSE, rel=0.2)
    assert float(found.min()) >= 2 * VOXEL


def test_the_step_hardly_matters(generator: torch.Generator) -> None:
    halves, mask = two_sided(generator), soft_sphere(BOX, 5.0, 2.0)
    every, fourth = (
        local_resolution(*halves, VOXEL, 5.0, mask, LocalOptions(step=step)) for step in (1, 3)
    )
    difference = (every.resolution / fourth.resolution).log()[mask > 0.5].abs()
    assert difference.median() < 0.05


def test_noise_is_as_coarse_as_it_gets(generator: torch.Generator) -> None:
    half1, half2 = torch.randn(2, BOX, BOX, BOX, generator=generator)
    mask = soft_sphere(BOX, 6.0, 2.0)
    found = local_resolution(half1, half2, VOXEL, 6.0, mask)
    low, median, high = found.quantiles()
    assert low <= median <= high <= found.window_voxels * VOXEL + 1e-3
    assert median > 0.5 * found.window_voxels * VOXEL


def test_correction_and_crossing_in_numbers() -> None:
    total = torch.tensor([[1.0, 0.9, 0.6, 0.55, 0.1]])
    random = torch.tensor([[0.0, 0.5, 0.2, 0.1, -0.4]])
    corrected = corrected_curves(total, random, 2)
    torch.testing.assert_close(corrected, torch.tensor([[1.0, 0.9, 0.5, 0.5, 0.1]]))
    curves = torch.tensor([[1.0, 0.9, 0.6, 0.4, 0.7], [1.0, 0.9, 0.9, 0.9, 0.9]])
    torch.testing.assert_close(crossing(curves, 0.5), torch.tensor([2.5, 4.0]))


def test_a_constant_resolution_filters_like_a_low_pass(generator: torch.Generator) -> None:
    volume = torch.randn(BOX, BOX, BOX, generator=generator)
    flat = torch.full_like(volume, 8.0)
    torch.testing.assert_close(
        locally_filtered(volume, flat, VOXEL), low_pass(volume, VOXEL, 8.0), atol=1e-5, rtol=0
    )
    flat[:, :, BOX // 2 :] = 16.0
    found = locally_filtered(volume, flat, VOXEL)
    torch.testing.assert_close(found[:, :, :5], low_pass(volume, VOXEL, 8.0)[:, :, :5])
    torch.testing.assert_close(found[:, :, -5:], low_pass(volume, VOXEL, 16.0)[:, :, -5:])


def test_what_does_not_fit_is_refused(generator: torch.Generator) -> None:
    halves = torch.randn(2, 16, 16, 16, generator=generator)
    with pytest.raises(SettingsError, match="lessen the window"):
        local_resolution(*halves, 2.0, 6.0, torch.ones(16, 16, 16))
    with pytest.raises(SettingsError, match="correct the mask"):
        local_resolution(
            *halves, 2.0, 3.0, torch.zeros(16, 16, 16), LocalOptions(window_angstrom=24.0)
        )


@pytest.mark.real_data
def test_real_halves_rank_as_in_relion(data_dir: Path) -> None:
    oracle = json.loads(ORACLE.read_text())
    folder = data_dir / "betagal_dev"
    halves = [
        read_map(folder / "relion313_reference" / f"half{h}_unfil.mrc").volume for h in (1, 2)
    ]
    mask = read_map(folder / "mask_soft_box64.mrc").volume
    options = LocalOptions(step=4, threshold=0.143)
    found = local_resolution(*halves, 3.54, 7.4, mask, options).resolution
    ours = np.array([float(found[z, y, x]) for z, y, x in oracle["zyx"]])
    theirs = np.array(oracle["angstrom"])
    # Windows and the way curves are read differ; places must rank alike, and sizes agree.
    assert spearmanr(ours, theirs).statistic > 0.85
    assert np.median(np.abs(np.log(ours / theirs))) < 0.12
