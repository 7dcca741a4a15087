"""Sampling and image sizes against values worked out by hand from RELION's rules."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_blush.data_model.results import Accuracy, SamplingState
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.refine.schedule import (
    FINEST_ORDER,
    Geometry,
    count_fsc,
    fine_step_deg,
    finer_sampling,
    first_sampling,
    next_current_size,
    next_sampling,
    particle_diameter,
    perturb,
    resolution_shell,
)
from napari_blush.refine.state import Progress

GEOMETRY = Geometry(box_size=256, pixel_size=1.5, particle_diameter=300.0)
SETTINGS = RefinementSettings()
SAMPLING = SamplingState(
    healpix_order=2,
    adaptive_oversampling=1,
    offset_range_angstrom=7.5,
    offset_step_angstrom=3.0,
    local_search_sigma_deg=None,
    perturbation=0.0,
)
STALLED = Progress(
    iterations_without_gain=1,
    iterations_without_change=1,
    change_offset_angstrom=1.0,
    smallest_change_rotation_deg=3.0,
    smallest_change_offset_angstrom=1.0,
)

samplings = st.builds(
    SamplingState,
    healpix_order=st.integers(0, 7),
    adaptive_oversampling=st.integers(0, 2),
    offset_range_angstrom=st.floats(0.5, 60.0),
    offset_step_angstrom=st.floats(0.1, 10.0),
    local_search_sigma_deg=st.none() | st.floats(0.1, 15.0),
    perturbation=st.floats(-0.5, 0.5),
)
accuracies = st.builds(Accuracy, st.floats(0.05, 30.0), st.floats(0.1, 50.0))


# the first sampling ---------------------------------------------------------------------------


def test_the_first_sampling_is_that_of_the_settings_in_angstrom() -> None:
    settings = RefinementSettings(healpix_order=3, offset_range=6.0, offset_step=2.0)
    assert first_sampling(settings, GEOMETRY) == SamplingState(3, 1, 9.0, 3.0, None, 0.0)


def test_a_fine_start_is_local_at_once() -> None:
    settings = RefinementSettings(healpix_order=4, local_search_from=4)
    # Order 4 is 3.75 degrees, its one oversampling 1.875, and sigma twice that.
    assert first_sampling(settings, GEOMETRY).local_search_sigma_deg == pytest.approx(3.75)


@pytest.mark.parametrize(
    ("order", "oversampling", "step"), [(2, 0, 15.0), (2, 1, 7.5), (3, 1, 3.75), (5, 2, 0.46875)]
)
def test_the_fine_step(order: int, oversampling: int, step: float) -> None:
    sampling = replace(SAMPLING, healpix_order=order, adaptive_oversampling=oversampling)
    assert fine_step_deg(sampling) == pytest.approx(step)


def test_the_particle_diameter_defaults_to_the_box_less_five_pixels() -> None:
    assert particle_diameter(RefinementSettings(), 64, 3.0) == 177.0
    assert particle_diameter(RefinementSettings(particle_diameter=120.0), 64, 3.0) == 120.0


# perturbation ---------------------------------------------------------------------------------


@given(sampling=samplings, seed=st.integers(0, 2**31))
def test_a_perturbation_stays_within_half_a_step_and_moves_by_a_quarter_at_least(
    sampling: SamplingState, seed: int
) -> None:
    moved = perturb(sampling, torch.Generator().manual_seed(seed))
    assert -0.5 <= moved.perturbation <= 0.5
    assert replace(moved, perturbation=sampling.perturbation) == sampling
    # On the circle of length 1 it goes forward by a quarter to a half.
    forward = (moved.perturbation - sampling.perturbation) % 1.0
    assert 0.25 - 1e-9 <= forward <= 0.5 + 1e-9


def test_perturbations_of_many_iterations_cover_the_step() -> None:
    generator = torch.Generator().manual_seed(0)
    seen, sampling = [], SAMPLING
    for _ in range(400):
        sampling = perturb(sampling, generator)
        seen.append(sampling.perturbation)
    counts = torch.histc(torch.tensor(seen), bins=4, min=-0.5, max=0.5)
    assert int(counts.min()) > 60


# finer or not ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gain", "change", "accuracy", "order", "fine_enough"),
    [
        (0, 1, 5.0, 2, False),  # the resolution still improves
        (1, 0, 5.0, 2, False),  # poses still change
        (1, 1, 5.0, 3, False),  # 7.5 is not below 0.75 * 5
        (1, 1, 10.0, 3, False),  # 7.5 is not below 0.75 * 10: equal is not fine enough
        (1, 1, 10.1, 2, True),  # 7.5 < 7.575
        (3, 2, 30.0, 2, True),
        (0, 0, 3.8, 2, False),  # 7.5 is not above twice 3.8
        (0, 0, 3.7, 3, False),  # clearly coarser than the accuracy: does not wait
    ],
)
def test_when_a_search_becomes_finer(
    gain: int, change: int, accuracy: float, order: int, fine_enough: bool
) -> None:
    progress = replace(STALLED, iterations_without_gain=gain, iterations_without_change=change)
    sampling, left = next_sampling(SAMPLING, progress, Accuracy(accuracy, 2.0), SETTINGS, GEOMETRY)
    assert sampling.healpix_order == order
    assert left.fine_enough is fine_enough
    if order == 2:
        assert sampling == SAMPLING
        assert left == replace(progress, fine_enough=fine_enough)
    else:
        assert (left.iterations_without_gain, left.iterations_without_change) == (0, 0)
        assert left.smallest_change_rotation_deg == 999.0
        assert left.smallest_change_offset_angstrom == 999.0


def test_a_step_from_global_to_local_waits_until_nothing_improves() -> None:
    third = replace(SAMPLING, healpix_order=3)
    moving = replace(STALLED, iterations_without_gain=0)
    assert next_sampling(third, moving, Accuracy(0.5, 1.0), SETTINGS, GEOMETRY)[0] == third
    local, _ = next_sampling(third, STALLED, Accuracy(0.5, 1.0), SETTINGS, GEOMETRY)
    assert local.healpix_order == 4
    assert local.local_search_sigma_deg == pytest.approx(2 * 1.875)


def test_a_local_search_narrows_as_it_becomes_finer() -> None:
    local = replace(SAMPLING, healpix_order=5, local_search_sigma_deg=1.875)
    finer, _ = finer_sampling(local, STALLED, SETTINGS)
    assert finer.local_search_sigma_deg == pytest.approx(0.9375)
    # Made local by hand before its time, it stays local.
    early = replace(SAMPLING, local_search_sigma_deg=15.0)
    assert finer_sampling(early, STALLED, SETTINGS)[0].local_search_sigma_deg == pytest.approx(7.5)


def test_there_is_a_finest_sampling() -> None:
    finest = replace(SAMPLING, healpix_order=FINEST_ORDER - 1, local_search_sigma_deg=0.1)
    sampling, progress = next_sampling(finest, STALLED, Accuracy(0.01, 0.1), SETTINGS, GEOMETRY)
    assert sampling == finest
    assert progress.fine_enough


@pytest.mark.parametrize(
    ("accuracy", "change", "old_range", "old_step", "step", "reach"),
    [
        # min(1.5 px * 1.5 A, 0.75 * 2) * 2 = 3; 5 * 1 = 5 is above 1.5 * 3 and below 4 * 3
        (2.0, 1.0, 7.5, 3.0, 3.0, 5.0),
        # 0.75 * 0.8 * 2 = 1.2; 5 * 0.6 = 3 fits
        (0.8, 0.6, 7.5, 3.0, 1.2, 3.0),
        # the accuracy allows 1.5 px * 1.5 A * 2 = 4.5 and no coarser than 3 before
        (9.0, 1.0, 7.5, 3.0, 3.0, 5.0),
        # 1.5 px at most: 2.25 * 2 = 4.5 of 6 before
        (9.0, 1.2, 15.0, 6.0, 4.5, 6.75),
        # at least 1.5 steps: 5 * 0.1 = 0.5 becomes 4.5
        (2.0, 0.1, 7.5, 3.0, 3.0, 4.5),
        # at most 1.3 times the old range: 5 * 4 = 20 becomes 9.75
        (2.0, 4.0, 7.5, 3.0, 3.0, 9.75),
        # 5 * 1.4 = 7 > 4 * 1.5: halved to 3.5
        (1.0, 1.4, 7.5, 3.0, 1.5, 3.5),
        # 1.3 * 12 = 15.6 > 4 * 1.5: halved to 7.8, still > 6: the step is a quarter of it
        (1.0, 9.0, 12.0, 3.0, 1.95, 7.8),
    ],
)
def test_offset_steps_and_ranges(
    accuracy: float,
    change: float,
    old_range: float,
    old_step: float,
    step: float,
    reach: float,
) -> None:
    sampling = replace(SAMPLING, offset_range_angstrom=old_range, offset_step_angstrom=old_step)
    progress = replace(STALLED, change_offset_angstrom=change)
    finer, _ = next_sampling(sampling, progress, Accuracy(3.0, accuracy), SETTINGS, GEOMETRY)
    assert finer.healpix_order == 3
    assert finer.offset_step_angstrom == pytest.approx(step)
    assert finer.offset_range_angstrom == pytest.approx(reach)


@given(
    sampling=samplings,
    accuracy=accuracies,
    change=st.floats(0.0, 50.0),
    counters=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_a_search_never_becomes_coarser(
    sampling: SamplingState, accuracy: Accuracy, change: float, counters: tuple[int, int]
) -> None:
    progress = replace(
        STALLED,
        iterations_without_gain=counters[0],
        iterations_without_change=counters[1],
        change_offset_angstrom=change,
    )
    finer, _ = next_sampling(sampling, progress, accuracy, SETTINGS, GEOMETRY)
    assert fine_step_deg(finer) <= fine_step_deg(sampling)
    assert finer.offset_step_angstrom <= sampling.offset_step_angstrom
    assert finer.healpix_order - sampling.healpix_order in (0, 1)
    assert finer.adaptive_oversampling == sampling.adaptive_oversampling
    assert finer.perturbation == sampling.perturbation
    if sampling.local_search_sigma_deg is not None:
        assert finer.local_search_sigma_deg is not None


@given(sampling=samplings, accuracy=accuracies, change=st.floats(0.0, 50.0))
def test_the_number_of_offsets_does_not_run_away(
    sampling: SamplingState, accuracy: Accuracy, change: float
) -> None:
    ratio = sampling.offset_range_angstrom / sampling.offset_step_angstrom
    progress = replace(STALLED, change_offset_angstrom=change)
    finer, _ = next_sampling(sampling, progress, accuracy, SETTINGS, GEOMETRY)
    grown = finer.offset_range_angstrom / finer.offset_step_angstrom
    assert grown <= max(4.0, ratio) + 1e-6


# resolution -----------------------------------------------------------------------------------


def ratio_of(good: list[int], shells: int = 33) -> torch.Tensor:
    """A signal-to-noise ratio that is 2 in some shells and one half in the others."""
    values = torch.full((shells,), 0.5)
    values[good] = 2.0
    return values


@pytest.mark.parametrize(
    ("good", "shell"),
    [
        (range(13), 12),  # falls once
        ([*range(13), 13, 14], 14),
        (range(33), 32),  # never falls: Nyquist
        ([*range(13), *range(14, 16)], 12),  # again at 15, three shells further: not believed
        ([*range(13), 16], 16),  # four shells further: believed
        ([*range(13), *range(14, 21)], 20),
        ([0, 1, 2], 5),  # at least shell 5
        ([], 5),
        ([0, *range(1, 5)], 5),
        ([0, 20], 20),  # nothing but a late crossing
    ],
)
def test_the_resolution_shell(good, shell: int) -> None:
    assert resolution_shell(ratio_of(list(good))) == shell


def test_a_ratio_of_exactly_one_is_still_signal() -> None:
    ratio = ratio_of(list(range(10)))
    ratio[10] = 1.0
    assert resolution_shell(ratio) == 10


# image size -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shell", "increment", "p_max", "high", "box", "size"),
    [
        (20, 10, 0.0, False, 256, 60),
        (20, 14, 0.0, False, 256, 68),
        (20, 10, 0.5, False, 256, 60),  # not high at the limit
        (20, 10, 0.1, True, 256, 60),  # poses not well known: 0.1 is not above 0.1
        (20, 10, 0.11, True, 256, 104),  # a quarter of 128 shells further
        (20, 10, 0.5, True, 360, 2 * (20 + 45)),
        (20, 10, 0.5, True, 100, 2 * (20 + 13)),  # 12.5 rounds up
        (20, 10, 0.5, True, 64, 60),  # fast is never slower than usual: 8 < 10
        (20, 40, 0.5, True, 256, 120),
        (120, 10, 0.0, False, 256, 256),  # no larger than the box
        (5, 10, 0.0, False, 24, 24),
    ],
)
def test_the_next_image_size(
    shell: int, increment: int, p_max: float, high: bool, box: int, size: int
) -> None:
    progress = Progress(
        resolution_shell=shell,
        increment_size=increment,
        average_p_max=p_max,
        high_fsc_at_limit=high,
    )
    assert next_current_size(progress, box) == size


def falling_fsc(below_half: int, below_gold: int, shells: int = 65) -> torch.Tensor:
    """A curve whose first shells below 0.5 and 0.143 are these."""
    values = torch.ones(shells)
    values[below_half:below_gold] = 0.3
    values[below_gold:] = 0.05
    return values


@pytest.mark.parametrize(
    ("below_half", "below_gold", "before", "after"),
    [
        (20, 24, 10, 10),  # 4 + 5 = 9: the old one is larger
        (20, 25, 10, 10),
        (20, 26, 10, 11),
        (20, 40, 10, 25),
        (20, 26, 17, 17),  # never smaller again
        (20, 65, 10, 50),  # never below 0.143: as if at the shell beyond the last
        (65, 65, 10, 10),
    ],
)
def test_the_increment_follows_the_fall_of_the_fsc(
    below_half: int, below_gold: int, before: int, after: int
) -> None:
    progress = count_fsc(Progress(increment_size=before), falling_fsc(below_half, below_gold), 128)
    assert progress.increment_size == after


@pytest.mark.parametrize(
    ("below_half", "below_gold", "current_size", "high"),
    [
        (20, 31, 60, True),  # looked at to shell 30: shell 29 has 0.3
        (20, 30, 60, True),
        (20, 29, 60, False),  # shell 29 has 0.05
        (20, 24, 128, False),
        (65, 65, 128, True),
    ],
)
def test_a_high_fsc_at_the_limit_is_noticed(
    below_half: int, below_gold: int, current_size: int, high: bool
) -> None:
    curve = falling_fsc(below_half, below_gold)
    assert count_fsc(Progress(), curve, current_size).high_fsc_at_limit is high


def test_a_high_fsc_at_the_limit_is_remembered() -> None:
    low = count_fsc(Progress(high_fsc_at_limit=True), falling_fsc(5, 6), 60)
    assert low.high_fsc_at_limit


@pytest.mark.parametrize(("value", "high"), [(0.19, False), (0.21, True)])
def test_how_high_is_high(value: float, high: bool) -> None:
    curve = falling_fsc(20, 24)
    curve[29] = value
    assert count_fsc(Progress(), curve, 60).high_fsc_at_limit is high
