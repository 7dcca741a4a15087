"""Half-map pairs of the noise model: spectra, independence, anisotropy, determinism."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from napari_blush.numerics.correlation import (
    fourier_shell_correlation_of_transforms,
    resolution_at,
)
from napari_blush.numerics.fft import irfftn_centered, rfftn_centered
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.shells import radius_grid, shell_mean
from napari_blush.simulation.assemblies import grid_symmetrized
from napari_blush.simulation.experiment_plan import ExperimentPlan, NoiseColor
from napari_blush.simulation.half_map_pairs import (
    HalfMapPair,
    draw_weights,
    noise_power,
    noise_spectrum,
    noisy_transforms,
    simulate_pair,
    symmetrized,
)
from napari_blush.simulation.specimens import make_specimen
from napari_blush.simulation.structures import Structure
from napari_blush.simulation.view_weights import (
    ViewPlan,
    draw_squared_ctf,
    draw_views,
    weight_volume,
)

BOX, VOXEL = 32, 4.0
PLAN = ExperimentPlan(
    box_size=BOX, voxel_size=VOXEL, resolution=12.0, r_max=BOX // 2, views=ViewPlan(count=1500)
)


def globule(n_atoms: int = 600, seed: int = 0) -> Structure:
    """Carbon atoms strewn in a flattened ball of 30 A."""
    generator = torch.Generator().manual_seed(seed)
    positions = torch.randn(n_atoms, 3, generator=generator)
    positions = 30 * positions / positions.norm(dim=1, keepdim=True)
    positions *= torch.rand(n_atoms, 1, generator=generator) ** (1 / 3)
    return Structure(
        positions * torch.tensor([1.0, 0.8, 0.6]),
        torch.full((n_atoms,), 6),
        20 + 30 * torch.rand(n_atoms, generator=generator),
    )


def pure_noise(plan: ExperimentPlan, seed: int) -> tuple[Tensor, Tensor]:
    """Return the transforms of both halves of empty images, and the power expected of them."""
    generator = torch.Generator().manual_seed(seed)
    weights = draw_weights(plan, generator)
    noise = plan.color.power(torch.arange(BOX // 2 + 1) / (BOX * VOXEL))
    nothing = torch.zeros(BOX, BOX, BOX // 2 + 1, dtype=torch.complex64)
    return noisy_transforms(nothing, weights, noise, plan, generator), noise_power(weights, noise)


@pytest.fixture(scope="module")
def pair() -> HalfMapPair:
    return simulate_pair(globule(), PLAN, torch.Generator().manual_seed(3))


def test_noise_has_the_power_of_the_closed_form_by_shell() -> None:
    plan = replace(PLAN, join_resolution=1e9)  # nothing shared
    measured, expected = [], []
    for seed in range(8):
        transforms, power = pure_noise(plan, seed)
        measured.append(shell_mean(transforms.abs().square(), BOX, 3))
        expected.append(power)
    ratio = torch.stack(measured).mean(dim=(0, 1)) / torch.stack(expected).mean(dim=(0, 1))
    assert (ratio[3:-1] - 1).abs().max() < 0.05  # 16 halves of 100 coefficients and more


def test_noise_power_is_one_over_the_number_of_views_where_nothing_else_varies() -> None:
    weights = torch.full((2, BOX, BOX, BOX // 2 + 1), 25.0)
    power = noise_power(weights, torch.full((BOX // 2 + 1,), 3.0))
    torch.testing.assert_close(power, torch.full_like(power, 3.0 / 25.0))


def test_noise_of_the_halves_is_independent() -> None:
    transforms, _ = pure_noise(replace(PLAN, join_resolution=1e9), 1)
    fsc = fourier_shell_correlation_of_transforms(*transforms)
    assert fsc[4:16].abs().max() < 0.15
    assert fsc[4:16].mean().abs() < 0.03


def test_halves_share_one_map_below_the_join() -> None:
    transforms, _ = pure_noise(replace(PLAN, join_resolution=20.0), 1)
    fsc = fourier_shell_correlation_of_transforms(*transforms)
    assert fsc[1:8].min() > 0.999  # 20 A is at 6.4, and so in the seventh
    assert fsc[8:16].abs().max() < 0.15


def test_fsc_is_that_of_the_designed_signal_to_noise_ratio() -> None:
    plan = replace(PLAN, join_resolution=1e9)
    curves, designed = [], []
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        specimen = make_specimen(globule(), plan, generator)
        weights = draw_weights(plan, generator)
        signal = rfftn_centered(specimen.density)
        noise = noise_spectrum(signal, weights, plan)
        transforms = noisy_transforms(signal, weights, noise, plan, generator)
        curves.append(fourier_shell_correlation_of_transforms(*transforms))
        ratio = shell_mean(signal.abs().square(), BOX, 3) / noise_power(weights, noise).mean(dim=0)
        designed.append(ratio / (ratio + 1))
    difference = torch.stack(curves).mean(dim=0) - torch.stack(designed).mean(dim=0)
    assert difference[2:16].abs().max() < 0.06


@pytest.mark.parametrize("resolution", [12.0, 16.0])
def test_resolution_comes_out_as_planned(resolution: float) -> None:
    plan = replace(PLAN, resolution=resolution)
    found = []
    for seed in range(5):
        pair = simulate_pair(globule(), plan, torch.Generator().manual_seed(seed))
        transforms = [rfftn_centered(half) for half in (pair.half1, pair.half2)]
        fsc = fourier_shell_correlation_of_transforms(*transforms)
        found.append(1 / resolution_at(fsc, 0.143, BOX, VOXEL))
    assert 1 / torch.tensor(found).median() == pytest.approx(resolution, rel=0.25)


def test_fewer_views_make_more_noise() -> None:
    views = ViewPlan(count=1500, kind="top", spread_deg=25.0)
    transforms, _ = pure_noise(replace(PLAN, views=views, join_resolution=1e6), 0)
    power = transforms.abs().square().mean(dim=0)
    radius = radius_grid(BOX, 3)
    frequency = torch.fft.fftfreq(BOX, 1 / BOX)[:, None, None].expand_as(radius)
    ring = (radius > 8) & (radius < 14)
    # Views along z: slices lie near the plane kz = 0 and none reaches the pole.
    cosine = (frequency / radius.clamp(min=1)).abs()
    seen, seldom = power[ring & (cosine < 0.2)].mean(), power[ring & (cosine > 0.5)]
    seldom = seldom[seldom > 0.05 * seldom.median()].mean()
    assert seldom > 2 * seen


def test_nothing_is_found_where_nothing_was_seen() -> None:
    weights = draw_weights(PLAN, torch.Generator().manual_seed(0))
    weights[:, :, :, 8:] = 0
    signal = rfftn_centered(make_specimen(globule(), PLAN, torch.Generator()).density)
    noise = torch.ones(BOX // 2 + 1)
    half = noisy_transforms(signal, weights, noise, PLAN, torch.Generator().manual_seed(0))[0]
    assert half[:, :, 8:].abs().max() == 0
    assert half[:, :, :8].abs().max() > 0


def test_noise_of_a_symmetric_reconstruction_is_symmetric_and_has_the_power_expected() -> None:
    plan = replace(PLAN, symmetry="D2", join_resolution=1e9, views=ViewPlan(count=400))
    generator = torch.Generator().manual_seed(0)
    weights = draw_weights(plan, generator)
    noise = torch.ones(BOX // 2 + 1)
    nothing = torch.zeros(BOX, BOX, BOX // 2 + 1, dtype=torch.complex64)
    halves = noisy_transforms(nothing, weights, noise, plan, generator)
    volume = irfftn_centered(halves[0], BOX)
    off = volume - grid_symmetrized(volume, "D2")
    assert off[1:, 1:, 1:].std() < 0.05 * volume.std()
    power = shell_mean(halves.abs().square(), BOX, 3).mean(dim=0)
    expected = noise_power(symmetrized(weights, "D2"), noise).mean(dim=0)
    # Four times fewer independent coefficients, and more on the axes, where the copies agree.
    assert (power / expected)[6:15].mean() == pytest.approx(1.0, abs=0.15)
    alone = noise_power(weights, noise).mean(dim=0)
    assert (alone / expected)[6:15].mean() == pytest.approx(4.0, rel=0.25)


def test_weights_of_a_symmetric_reconstruction_are_those_of_all_its_views() -> None:
    plan = replace(PLAN, symmetry="C4", views=ViewPlan(count=60, kind="side"))
    generator = torch.Generator().manual_seed(0)
    rotations = draw_views(plan.views, torch.zeros(1, 3, dtype=torch.float64), generator)
    squared = draw_squared_ctf(plan.views, BOX, VOXEL, plan.r_max, generator)
    alone = weight_volume(rotations, squared, BOX, plan.r_max)
    copies = torch.cat([each @ rotations for each in symmetry_operators("C4")])
    of_all = weight_volume(copies, squared.repeat(4, 1), BOX, plan.r_max)
    found = symmetrized(torch.stack([alone, alone]), "C4")[0]
    inner = radius_grid(BOX, 3) < BOX // 2 - 1
    torch.testing.assert_close(found[inner], of_all[inner], atol=0.02, rtol=0.02)


def test_excess_noise_is_where_the_particle_is() -> None:
    plan = replace(PLAN, excess_noise=1.0, resolution=20.0, join_resolution=1e9)
    pair = simulate_pair(globule(), plan, torch.Generator().manual_seed(0))
    difference = pair.half1 - pair.half2
    middle = difference[14:19, 14:19, 14:19].std()
    outside = difference[5:27, 5:27, 5:27][pair.mask[5:27, 5:27, 5:27] < 0.01].std()
    assert 1.4 < middle / outside < 2.2


def test_finer_images_fill_the_corners() -> None:
    corner = radius_grid(BOX, 3) > BOX // 2 + 2
    for finer in (False, True):
        plan = replace(PLAN, finer=finer)
        pair = simulate_pair(globule(), plan, torch.Generator().manual_seed(0))
        assert pair.half1.shape[-1] == BOX
        assert pair.voxel_size == VOXEL
        power = rfftn_centered(pair.half1).abs().square()
        share = power[corner].mean() / power[~corner].median()
        assert (share > 0.3) == finer


def test_the_seed_decides(pair: HalfMapPair) -> None:
    again = simulate_pair(globule(), PLAN, torch.Generator().manual_seed(3))
    other = simulate_pair(globule(), PLAN, torch.Generator().manual_seed(4))
    assert torch.equal(pair.half1, again.half1)
    assert torch.equal(pair.mask, again.mask)
    assert not torch.equal(pair.half1, other.half1)


def test_the_mask_holds_the_molecule(pair: HalfMapPair) -> None:
    assert pair.mask.min() == 0
    assert pair.mask.max() == 1
    mean = (pair.half1 + pair.half2) / 2
    assert mean[pair.mask > 0.9].mean() > mean[pair.mask < 0.1].mean() + 0.5 * mean.std()
    specimen = make_specimen(globule(), PLAN, torch.Generator().manual_seed(3))
    outside = specimen.density * (specimen.mask < 0.01)
    assert outside.square().sum() < 0.03 * specimen.density.square().sum()


def test_halves_have_unit_variance_and_fit_float16(pair: HalfMapPair) -> None:
    variance = (pair.half1.var() + pair.half2.var()) / 2
    assert variance == pytest.approx(1.0, rel=1e-4)
    assert max(pair.half1.abs().max(), pair.half2.abs().max()) < 1e3


def test_surroundings_are_in_the_density_and_not_in_the_mask() -> None:
    bare = make_specimen(globule(), PLAN, torch.Generator().manual_seed(0))
    plan = replace(PLAN, surroundings="micelle", surroundings_contrast=1.0)
    wrapped = make_specimen(globule(), plan, torch.Generator().manual_seed(0))
    assert torch.equal(bare.mask, wrapped.mask)
    added = (wrapped.density - bare.density).clamp(min=0)
    assert (added * (1 - bare.mask)).sum() > 0.3 * added.sum()
    transform = rfftn_centered(added)
    fine = radius_grid(BOX, 3) > BOX * VOXEL / 11  # made at 18 A with a soft edge
    coarse = irfftn_centered(transform * ~fine, BOX)
    assert (added - coarse).square().sum() < 0.02 * added.square().sum()


def test_noise_color_is_white_without_thick_ice_and_shoulder() -> None:
    frequency = torch.linspace(0, 0.3, 7)
    white = NoiseColor(0.5, 0.0, 0.0).power(frequency)
    torch.testing.assert_close(white, torch.full((7,), 0.5))
    colored = NoiseColor(0.3, 3.0, 0.7).power(frequency)
    assert (colored.diff() < 0).all()
