"""Where the halves meet: the join, the curve that drives the run, and signal from it."""

from dataclasses import replace

import pytest
import torch

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.results import FscCurves
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.slice_insertion import SliceAccumulator
from napari_blush.numerics.solvent_correction import solvent_corrected_fsc
from napari_blush.refine.half_comparison import (
    compare_halves,
    driving_fsc,
    estimate_signal,
    join_shell,
    spherical_solvent,
)
from napari_blush.refine.run import prepared_run
from napari_blush.refine.schedule import Geometry


@pytest.fixture(scope="module")
def context(tiny, settings_for):
    """Of 24 px of 6 A: a box of 144 A."""
    return prepared_run(settings_for(), tiny.particles, tiny.start, None, None, None)[0]


def with_settings(context, **changes):
    return replace(context, settings=context.settings.model_copy(update=changes))


@pytest.mark.parametrize(
    ("join", "resolution", "shell"),
    [
        (40.0, 20.0, 4),  # 144 / 40 = 3.6
        (48.0, 20.0, 3),  # 144 / 48 exactly
        (47.9, 20.0, 4),
        (40.0, 60.0, 3),  # not further than the resolution reached: 144 / 60 = 2.4
        (12.0, 28.8, 5),
        (144.0, 20.0, 1),
        (145.0, 20.0, -1),  # beyond the box: nothing
        (1e9, 20.0, -1),
    ],
)
def test_the_last_shared_shell(context, join: float, resolution: float, shell: int) -> None:
    assert join_shell(with_settings(context, low_resolution_join=join), resolution) == shell


def curves(**changes: torch.Tensor) -> FscCurves:
    values = {
        "unmasked": torch.full((13,), 0.5),
        "masked": torch.full((13,), 0.6),
        "phase_randomized": torch.full((13,), 0.1),
        "corrected": torch.full((13,), 0.7),
        "randomized_from_shell": 4,
    }
    return FscCurves(**{**values, **changes})


@pytest.mark.parametrize("current_size", [8, 10, 24])
def test_the_driving_curve_ends_with_what_was_looked_at(context, current_size: int) -> None:
    given = curves()
    curve = driving_fsc(with_settings(context, automatic_mask=False), given, current_size)
    assert torch.equal(curve[: current_size // 2 + 1], given.unmasked[: current_size // 2 + 1])
    assert not bool(curve[current_size // 2 + 1 :].any())
    assert float(given.unmasked.min()) == 0.5  # what was given is untouched


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("automatic", [True, False])
@pytest.mark.parametrize("has_mask", [True, False])
def test_the_corrected_curve_drives_with_a_mask_only(
    context, wanted: bool, automatic: bool, has_mask: bool
) -> None:
    chosen = with_settings(context, solvent_corrected_fsc=wanted, automatic_mask=automatic)
    chosen = replace(chosen, mask=torch.ones(24, 24, 24) if has_mask else None)
    corrected = wanted and (automatic or has_mask)
    value = 0.7 if corrected else 0.5
    assert float(driving_fsc(chosen, curves(), 24)[5]) == pytest.approx(value)


def test_halves_are_compared_inside_the_mask_of_the_user(context, generator) -> None:
    maps = HalfMaps(*torch.randn(2, 24, 24, 24, generator=generator), 6.0)
    mask = soft_sphere(24, 5.0, 3.0)
    found = compare_halves(replace(context, mask=mask), maps, torch.Generator().manual_seed(1))
    wanted = solvent_corrected_fsc(maps.half1, maps.half2, mask, torch.Generator().manual_seed(1))
    for name in ("unmasked", "masked", "phase_randomized", "corrected"):
        assert torch.allclose(getattr(found, name), getattr(wanted, name).float())
    assert found.randomized_from_shell == wanted.randomized_from_shell


def test_maps_without_a_particle_are_compared_inside_the_sphere(context) -> None:
    empty = torch.zeros(24, 24, 24)
    found = compare_halves(context, HalfMaps(empty, empty, 6.0), torch.Generator().manual_seed(1))
    assert not bool(found.masked[1:].any())


def test_a_mask_is_drawn_around_the_particle(context, tiny, generator) -> None:
    noise = 0.1 * float(tiny.density.max()) * torch.randn(2, 24, 24, 24, generator=generator)
    maps = HalfMaps(tiny.density + noise[0], tiny.density + noise[1], 6.0)
    found = compare_halves(context, maps, torch.Generator().manual_seed(1))
    assert float(found.masked[1:].mean()) > float(found.unmasked[1:].mean())


def test_signal_is_the_ratio_times_the_variance_of_the_map(context) -> None:
    sums = SliceAccumulator(24, r_max=12, padding=2)
    sums.weight += 0.25
    fsc = torch.full((13,), 0.8)
    estimate = estimate_signal(context, sums, fsc, joined=False)
    # 0.8 / 0.2 = 4; one over the weight of a voxel, which is 2^3 padded ones of 0.25.
    assert torch.allclose(estimate.data_vs_prior, torch.full((13,), 4.0))
    assert torch.allclose(estimate.tau2, torch.full((13,), 4.0 / (0.25 * 8)))
    joined = estimate_signal(context, sums, fsc, joined=True)
    # sqrt(1.6 / 1.8) = 0.9428; 0.9428 / 0.0572 = 16.485
    assert torch.allclose(joined.data_vs_prior, torch.full((13,), 16.485), atol=1e-2)
    stronger = estimate_signal(with_settings(context, tau2_fudge=3.0), sums, fsc, joined=False)
    assert torch.allclose(stronger.tau2, 3 * estimate.tau2)


def test_the_solvent_sphere_has_the_diameter_of_the_particle() -> None:
    sphere = spherical_solvent(Geometry(32, 2.0, 32.0))
    assert sphere.dtype == torch.float32
    profile = sphere[16, 16, 16:]
    assert torch.equal(profile[:9], torch.ones(9))  # 16 A are 8 px
    assert 0 < float(profile[10]) < 1
    assert not bool(profile[13:].any())  # 5 px of edge
