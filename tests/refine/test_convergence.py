"""Counters and the decision to stop, by hand."""

from dataclasses import replace

import pytest

from napari_blush.data_model.results import SamplingState
from napari_blush.refine.convergence import count_changes, count_resolution, has_converged
from napari_blush.refine.state import Progress

# Fine step 7.5 degrees, fine offset step 1.5 A: 1.25 of them: 9.375 degrees and 1.875 A.
SAMPLING = SamplingState(2, 1, 7.5, 3.0, None, 0.0)


@pytest.mark.parametrize(
    ("fine_enough", "gain", "change", "done"),
    [
        (True, 1, 1, True),
        (True, 4, 2, True),
        (False, 1, 1, False),
        (True, 0, 1, False),
        (True, 1, 0, False),
        (False, 0, 0, False),
    ],
)
def test_a_run_has_converged_when_nothing_can_improve(
    fine_enough: bool, gain: int, change: int, done: bool
) -> None:
    progress = Progress(
        fine_enough=fine_enough,
        iterations_without_gain=gain,
        iterations_without_change=change,
    )
    assert has_converged(progress).done is done


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fine_enough": False}, "angular step is not yet"),
        ({"iterations_without_gain": 0}, "resolution still improves"),
        ({"iterations_without_change": 0}, "poses still change"),
    ],
)
def test_what_a_run_waits_for_is_said(change, words: str) -> None:
    ready = Progress(fine_enough=True, iterations_without_gain=1, iterations_without_change=1)
    reason = has_converged(replace(ready, **change)).reason
    assert words in reason
    assert ";" not in reason
    assert words not in has_converged(ready).reason
    assert has_converged(Progress()).reason.count(";") == 2


@pytest.mark.parametrize(
    ("best", "now", "without", "after", "best_after"),
    [
        (0.0, 0.05, 3, 0, 0.05),  # better
        (0.10, 0.1002, 2, 0, 0.1002),
        (0.10, 0.10005, 0, 1, 0.10005),  # better by less than counts
        (0.10, 0.10, 1, 2, 0.10),
        (0.10, 0.08, 0, 1, 0.10),  # worse: the best is remembered
    ],
)
def test_gains_of_resolution(
    best: float, now: float, without: int, after: int, best_after: float
) -> None:
    progress = Progress(best_resolution=best, iterations_without_gain=without)
    counted = count_resolution(progress, now)
    assert counted.iterations_without_gain == after
    assert counted.best_resolution == best_after


@pytest.mark.parametrize(
    ("turn", "shift", "smallest_turn", "smallest_shift", "settled"),
    [
        (9.3, 1.87, 999.0, 999.0, True),  # no further than the grids move
        (9.4, 1.87, 999.0, 999.0, False),
        (9.3, 1.88, 999.0, 999.0, False),
        (10.0, 0.3, 10.2, 999.0, True),  # 10.3 >= 10.2: no better than before
        (10.0, 0.3, 10.4, 999.0, False),  # still settling
        (10.0, 5.0, 10.0, 5.1, True),
        (10.0, 5.0, 10.0, 5.2, False),
        (40.0, 9.0, 10.0, 5.0, True),  # worse than before is no better either
    ],
)
def test_changes_of_poses(
    turn: float, shift: float, smallest_turn: float, smallest_shift: float, settled: bool
) -> None:
    progress = Progress(
        change_rotation_deg=turn,
        change_offset_angstrom=shift,
        smallest_change_rotation_deg=smallest_turn,
        smallest_change_offset_angstrom=smallest_shift,
        iterations_without_change=2,
    )
    counted = count_changes(progress, SAMPLING)
    assert counted.iterations_without_change == (3 if settled else 0)
    assert counted.smallest_change_rotation_deg == min(turn, smallest_turn)
    assert counted.smallest_change_offset_angstrom == min(shift, smallest_shift)


def test_oversampling_makes_the_steps_that_changes_are_measured_in() -> None:
    progress = Progress(change_rotation_deg=12.0, change_offset_angstrom=2.5)
    coarse = replace(SAMPLING, adaptive_oversampling=0)  # 18.75 degrees and 3.75 A
    assert count_changes(progress, coarse).iterations_without_change == 1
    assert count_changes(progress, SAMPLING).iterations_without_change == 0
