"""The resolution report: closed cases, bad input, and RELION's post-processing of real halves."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_blush.errors import SettingsError
from napari_blush.io.mrc import read_map
from napari_blush.numerics.correlation import resolution_at
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.sharpening import sharpen
from napari_blush.numerics.solvent_correction import solvent_corrected_fsc
from napari_blush.simulation.phantoms import random_blobs
from napari_blush.validation.resolution import PHASE_DRAWS, ResolutionReport, resolution_report

ORACLE = Path(__file__).parents[1] / "oracles" / "relion_postprocess_betagal.json"
BOX, VOXEL = 32, 3.0


def noisy_halves(noise: float, b_factor: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    phantom = random_blobs(generator, n_blobs=60, radius_px=8.0, sigma_px=(0.6, 0.8))
    truth = sharpen(phantom.volume(BOX), VOXEL, b_factor=b_factor)
    half1, half2 = (
        truth + noise * torch.randn(BOX, BOX, BOX, generator=generator) for _ in range(2)
    )
    return half1, half2


def test_identical_halves_reach_nyquist() -> None:
    half, _ = noisy_halves(0.0)
    report = resolution_report(half, half, VOXEL, mask=soft_sphere(BOX, 12.0, 3.0))
    assert report.resolution == report.resolution_half == 2 * VOXEL
    assert report.fsc.randomized_from_shell is None


def test_noise_alone_has_no_resolution() -> None:
    generator = torch.Generator().manual_seed(1)
    half1, half2 = torch.randn(2, BOX, BOX, BOX, generator=generator)
    report = resolution_report(half1, half2, VOXEL, mask=soft_sphere(BOX, 8.0, 3.0))
    assert report.resolution > 30
    assert report.guinier is None
    assert report.b_factor == 0.0


def test_more_noise_is_less_resolution_and_masking_helps() -> None:
    mask = soft_sphere(BOX, 11.0, 3.0)
    reports = [resolution_report(*noisy_halves(noise), VOXEL, mask=mask) for noise in (0.2, 1.5)]
    assert reports[0].resolution < reports[1].resolution
    for report in reports:
        assert report.resolution <= report.resolution_unmasked
        assert report.resolution <= report.resolution_half


def test_the_fitted_b_factor_follows_the_blur() -> None:
    mask = soft_sphere(BOX, 12.0, 3.0)
    fits = [resolution_report(*noisy_halves(0.001, b), VOXEL, mask=mask) for b in (0.0, 100.0)]
    assert fits[0].guinier and fits[1].guinier
    assert fits[1].b_factor - fits[0].b_factor == pytest.approx(-100, rel=0.1)
    # Sharpening has undone the difference.
    a, b = fits[0].sharpened, fits[1].sharpened
    assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] > 0.98


def test_a_given_b_factor_is_applied() -> None:
    half1, half2 = noisy_halves(0.1)
    report = resolution_report(half1, half2, VOXEL, b_factor=-77.0)
    assert report.b_factor == -77.0
    assert report.guinier is not None and report.guinier.b_factor != -77.0


def test_the_automatic_mask_surrounds_the_particle() -> None:
    report = resolution_report(*noisy_halves(0.1), VOXEL)
    assert report.mask_is_automatic
    inside = (report.average.abs() * report.mask).sum() / report.average.abs().sum()
    assert 0.05 < report.mask.mean() < 0.8 and inside > report.mask.mean()


def test_volume_fraction_of_the_mask() -> None:
    report = resolution_report(*noisy_halves(0.5), VOXEL, mask=soft_sphere(BOX, 8.0, 0.0))
    assert report.box_over_mask == pytest.approx((BOX / 2 / 8) ** 3, rel=0.05)
    noise_over_signal = 1 / report.fsc.unmasked.clamp(min=1e-3) - 1
    wanted = 1 / (1 + noise_over_signal / report.box_over_mask)
    trusted = report.fsc.unmasked > 0.01
    torch.testing.assert_close(report.fsc_mask_fraction[trusted], wanted[trusted])


def test_the_seed_decides_the_phases() -> None:
    halves, mask = noisy_halves(1.0), soft_sphere(BOX, 10.0, 3.0)
    runs = [resolution_report(*halves, VOXEL, mask=mask, seed=s).fsc for s in (0, 0, 1)]
    assert torch.equal(runs[0].phase_randomized, runs[1].phase_randomized)
    assert not torch.equal(runs[0].phase_randomized, runs[2].phase_randomized)


def test_the_spread_is_that_of_single_draws() -> None:
    halves, mask = noisy_halves(1.0), soft_sphere(BOX, 8.0, 3.0)
    report = resolution_report(*halves, VOXEL, mask=mask)
    spread = report.spread
    assert spread is not None and spread.draws.shape == (PHASE_DRAWS, BOX // 2 + 1)
    torch.testing.assert_close(spread.draws.mean(dim=0), report.fsc.phase_randomized)
    # Single draws from another seed belong to the same family.
    other = torch.Generator().manual_seed(77)
    alone = [solvent_corrected_fsc(*halves, mask, other) for _ in range(24)]
    noise = torch.stack([each.phase_randomized for each in alone])
    assert 0.6 < float(spread.deviation.mean() / noise.std(dim=0).mean()) < 1.5
    found = sorted(resolution_at(each.corrected, 0.143, BOX, VOXEL) for each in alone)
    assert found[2] <= spread.coarsest and spread.finest <= found[-3]
    assert spread.finest < spread.coarsest
    corrected = torch.stack([each.corrected for each in alone])
    gap = (corrected.mean(dim=0) - spread.corrected_draws.mean(dim=0)).abs()
    assert float(gap.max()) < 3 * float(corrected.std(dim=0).max())


def test_halves_without_noise_have_no_spread() -> None:
    half, _ = noisy_halves(0.0)
    assert resolution_report(half, half, VOXEL, mask=soft_sphere(BOX, 12.0, 3.0)).spread is None


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(16, 16, 16), "wanted the same box"),
        (torch.zeros(BOX, BOX, BOX), "wanted 0 outside and 1 inside"),
        (2 * torch.ones(BOX, BOX, BOX), "from 2 to 2"),
        (torch.full((BOX, BOX, BOX), math.nan), "wanted 0 outside and 1 inside"),
    ],
)
def test_a_mask_without_sense_is_refused(mask: torch.Tensor, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        resolution_report(*noisy_halves(0.5), VOXEL, mask=mask)


def test_halves_of_different_boxes_are_refused() -> None:
    with pytest.raises(SettingsError, match="two equal cubes"):
        resolution_report(torch.zeros(16, 16, 16), torch.zeros(18, 18, 18), VOXEL)


@pytest.fixture(scope="module")
def betagal() -> ResolutionReport:
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("NAPARI_BLUSH_DATA", beside)) / "betagal_dev"
    halves = (read_map(folder / "relion313_reference" / f"half{h}_unfil.mrc") for h in (1, 2))
    half1, half2 = (half.volume for half in halves)
    mask = read_map(folder / "mask_soft_box64.mrc").volume
    return resolution_report(half1, half2, 3.54, mask=mask, seed=1)


@pytest.mark.real_data
def test_curves_are_those_of_relion(betagal: ResolutionReport) -> None:
    oracle = json.loads(ORACLE.read_text())
    np.testing.assert_allclose(betagal.fsc.unmasked, oracle["fsc_unmasked"], atol=1e-5)
    np.testing.assert_allclose(betagal.fsc.masked, oracle["fsc_masked"], atol=1e-5)
    # RELION draws random phases once; the correction scatters with that draw.
    np.testing.assert_allclose(betagal.fsc.corrected, oracle["fsc_corrected"], atol=0.05)
    difference = betagal.fsc.corrected - torch.tensor(oracle["fsc_corrected"])
    # That draw lies within what eight draws of ours spread over, and a little beyond.
    assert betagal.spread is not None
    room = 3 * betagal.spread.corrected_draws.std(dim=0) + 1e-3
    assert bool((difference.abs() <= room).all())
    assert difference.abs().mean() < 0.01
    assert betagal.fsc.randomized_from_shell == round(64 * 3.54 / oracle["randomize_from_angstrom"])
    f = oracle["mask_fraction"]
    ours = f * betagal.fsc.unmasked / (1 + (f - 1) * betagal.fsc.unmasked)
    np.testing.assert_allclose(ours, oracle["fsc_mask_fraction"], atol=1e-5)


@pytest.mark.real_data
def test_resolution_and_b_factor_are_those_of_relion(betagal: ResolutionReport) -> None:
    oracle = json.loads(ORACLE.read_text())
    assert betagal.resolution == pytest.approx(oracle["final_resolution"], abs=1e-3)
    fit = oracle["guinier_fits"][1]  # RELION's, up to the same shell; the weight scatters
    assert betagal.b_factor == pytest.approx(fit["b_factor"], rel=0.05)
