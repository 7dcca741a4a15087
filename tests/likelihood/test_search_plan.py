"""Which poses are tried: sizes by hand, grids that nest, offsets that halve."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_blush.data_model.results import SamplingState
from napari_blush.likelihood.search_plan import SearchPlan, coarse_size, make_search_plan
from napari_blush.numerics.rotations import euler_to_matrix, geodesic_distance_deg

SAMPLING = SamplingState(
    healpix_order=2,
    adaptive_oversampling=1,
    offset_range_angstrom=10.0,
    offset_step_angstrom=4.0,
    local_search_sigma_deg=None,
    perturbation=0.0,
)


def plan(
    sampling: SamplingState, *, exhaustive_order: int = 1, current_size: int = 64
) -> SearchPlan:
    return make_search_plan(
        sampling,
        box_size=64,
        pixel_size=2.0,
        particle_diameter=100.0,
        current_size=current_size,
        exhaustive_order=exhaustive_order,
    )


@pytest.mark.parametrize(
    ("order", "box", "pixel", "diameter", "wanted"),
    [
        # 15 deg of a particle of 200 A: its rim moves 26.18 A; 1.2 * 2 * 128 / 26.18 = 11.7.
        (2, 128, 2.0, 200.0, 24),
        (3, 128, 2.0, 200.0, 48),
        (4, 128, 2.0, 200.0, 94),
        (5, 128, 2.0, 200.0, 128),
        (0, 64, 3.0, 150.0, 6),
    ],
)
def test_coarse_size_by_hand(
    order: int, box: int, pixel: float, diameter: float, wanted: int
) -> None:
    found = coarse_size(order, box_size=box, pixel_size=pixel, particle_diameter=diameter)
    assert found == wanted


@given(
    order=st.integers(0, 8),
    half=st.integers(8, 256),
    pixel=st.floats(0.5, 6.0),
    share=st.floats(0.2, 1.0),
)
def test_coarse_size_resolves_what_a_step_moves(
    order: int, half: int, pixel: float, share: float
) -> None:
    box = 2 * half
    diameter = share * box * pixel
    size = coarse_size(order, box_size=box, pixel_size=pixel, particle_diameter=diameter)
    assert size % 2 == 0
    assert 0 < size <= box
    moved = math.pi * diameter * (60 / 2**order) / 360
    finest = box * pixel / (size / 2)
    if size < box:
        assert finest <= moved / 1.2 * (1 + 1e-9)
        assert box * pixel / (size / 2 - 1) > moved / 1.2 if size > 2 else True


def test_levels_of_a_global_search() -> None:
    found = plan(SAMPLING, exhaustive_order=1, current_size=40)
    assert [level.grid.order for level in found.levels] == [1, 2, 3]
    assert [level.last for level in found.levels] == [False, False, True]
    assert [level.fine_offsets for level in found.levels] == [False, False, True]
    sizes = [
        coarse_size(order, box_size=64, pixel_size=2.0, particle_diameter=100.0) for order in (1, 2)
    ]
    assert [level.r_max for level in found.levels] == [sizes[0] // 2, sizes[1] // 2, 20]
    assert found.local_sigma_deg is None


def test_no_level_looks_beyond_the_current_size() -> None:
    found = plan(replace(SAMPLING, healpix_order=4), exhaustive_order=3, current_size=12)
    assert [level.r_max for level in found.levels] == [6, 6, 6]


@pytest.mark.parametrize(("order", "exhaustive", "first"), [(1, 3, 1), (3, 3, 3), (4, 2, 2)])
def test_the_exhaustive_pass_is_never_finer_than_asked(
    order: int, exhaustive: int, first: int
) -> None:
    found = plan(replace(SAMPLING, healpix_order=order), exhaustive_order=exhaustive)
    assert found.levels[0].grid.order == first
    assert found.levels[-1].grid.order == order + 1


def test_a_local_search_starts_one_order_coarser() -> None:
    sampling = replace(SAMPLING, healpix_order=4, local_search_sigma_deg=3.75)
    found = plan(sampling, exhaustive_order=1)
    assert [level.grid.order for level in found.levels] == [3, 4, 5]
    assert [level.last for level in found.levels] == [False, False, True]
    assert found.local_sigma_deg == 3.75


def test_without_oversampling_one_pass_takes_the_coarse_offsets() -> None:
    found = plan(replace(SAMPLING, adaptive_oversampling=0), exhaustive_order=2)
    assert len(found.levels) == 1
    assert found.levels[0].last
    assert not found.levels[0].fine_offsets
    assert found.levels[0].r_max == 32
    assert torch.equal(found.fine_offsets_px[:, 0], found.offsets_px)


def test_offsets_fill_the_circle() -> None:
    found = plan(SAMPLING).offsets_px
    steps = range(-2, 3)
    wanted = {(2.0 * x, 2.0 * y) for x in steps for y in steps if x * x + y * y <= 2.5**2}
    assert {(x, y) for x, y in found.tolist()} == wanted
    assert len(found) == len(wanted)


@pytest.mark.parametrize("oversampling", [1, 2])
def test_fine_offsets_nest(oversampling: int) -> None:
    found = plan(replace(SAMPLING, adaptive_oversampling=oversampling))
    per_edge = 2**oversampling
    children = found.fine_offsets_px
    assert children.shape == (len(found.offsets_px), per_edge**2, 2)
    # The children of a square cell are the centers of its quarters, again and again.
    step = 2.0 / per_edge
    ticks = [step * (i + 0.5) - 1.0 for i in range(per_edge)]
    wanted = sorted((x, y) for x in ticks for y in ticks)
    for coarse, own in zip(found.offsets_px, children, strict=True):
        assert sorted((x, y) for x, y in (own - coarse).tolist()) == wanted
    torch.testing.assert_close(children.mean(1), found.offsets_px)


def test_a_perturbation_moves_the_whole_grid_by_a_fraction_of_its_step() -> None:
    still = plan(SAMPLING)
    moved = plan(replace(SAMPLING, perturbation=-0.3))
    torch.testing.assert_close(moved.offsets_px, still.offsets_px - 0.3 * 2.0)
    torch.testing.assert_close(moved.fine_offsets_px, still.fine_offsets_px - 0.3 * 2.0)
    angle = -0.3 * 15.0
    wanted = euler_to_matrix(torch.full((3,), angle, dtype=torch.float64))
    torch.testing.assert_close(moved.perturbation, wanted)
    index = torch.arange(0, moved.levels[0].grid.size, 37)
    for level in moved.levels:
        index = index % level.grid.size
        turned = level.grid.rotations(index, moved.perturbation).double()
        plain = level.grid.rotations(index).double()
        apart = geodesic_distance_deg(turned, plain)
        torch.testing.assert_close(apart, apart[:1].expand_as(apart), atol=1e-3, rtol=0)
