"""Plans: everything drawn is in range, boxes fit, and the generator decides."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_blush.data_model.experiment_settings import ExperimentSettings
from napari_blush.simulation.experiment_plan import box_for, draw_plan, draw_symmetry

SETTINGS = ExperimentSettings()


@given(seed=st.integers(0, 10**6), diameter=st.floats(40, 210))
def test_plans_stay_within_what_was_asked_for(seed: int, diameter: float) -> None:
    plan = draw_plan(diameter, SETTINGS, torch.Generator().manual_seed(seed))
    assert plan == draw_plan(diameter, SETTINGS, torch.Generator().manual_seed(seed))
    assert 6.0 <= plan.resolution <= 24.0
    length = plan.box_size * plan.voxel_size
    assert length / plan.resolution - 1 <= plan.r_max <= plan.box_size // 2
    assert diameter <= 0.75 * length
    assert plan.box_size % 2 == 0
    assert plan.views.defocus_um[0] < plan.views.defocus_um[1]


def test_particles_that_fit_no_box_are_left_out() -> None:
    assert box_for(100.0, SETTINGS) == 48
    assert box_for(200.0, SETTINGS) == 96
    assert box_for(300.0, SETTINGS) is None
    large = ExperimentSettings(largest_box=160)
    assert box_for(300.0, large) == 160


def test_all_kinds_of_experiments_occur() -> None:
    generator = torch.Generator().manual_seed(0)
    plans = [draw_plan(90.0, SETTINGS, generator) for _ in range(200)]
    assert {plan.surroundings for plan in plans} == {"none", "micelle", "blobs"}
    assert {plan.views.kind for plan in plans} == {"uniform", "side", "top", "several"}
    assert {plan.finer for plan in plans} == {True, False}
    assert min(plan.views.count for plan in plans) < 200
    assert max(plan.views.count for plan in plans) > 4000
    assert min(plan.resolution for plan in plans) < 7
    assert max(plan.resolution for plan in plans) > 20
    symmetries = [draw_symmetry(generator) for _ in range(200)]
    assert set(symmetries) >= {"C1", "C2", "C4", "D2"}
    assert 100 < symmetries.count("C1") < 165
