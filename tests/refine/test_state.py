"""A state is taken apart and put together exactly, and a run goes on from it bit for bit."""

import json
from dataclasses import fields, is_dataclass, replace

import pytest
import torch

from napari_blush.data_model.results import Accuracy
from napari_blush.refine.events import IterationFinished, IterationStarted, RunFinished
from napari_blush.refine.run import run
from napari_blush.refine.state import random_halves, state_from_plain, state_to_plain


def assert_same(a, b, where: str = "value") -> None:
    """Equal to the last bit, tensors with their types."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, where
        assert torch.equal(a, b), where
    elif is_dataclass(a):
        for field in fields(a):
            if field.name not in ("seconds", "stage_seconds"):
                assert_same(getattr(a, field.name), getattr(b, field.name), f"{where}.{field.name}")
    elif isinstance(a, tuple | list):
        assert len(a) == len(b), where
        for number, pair in enumerate(zip(a, b, strict=True)):
            assert_same(*pair, f"{where}[{number}]")
    else:
        assert a == b, where


def finished(events) -> list[IterationFinished]:
    return [event for event in events if isinstance(event, IterationFinished)]


def through_plain(state):
    """The state after a journey through what a file can hold."""
    tensors, numbers = state_to_plain(state)
    copied = {name: tensor.clone() for name, tensor in tensors.items()}
    return state_from_plain(copied, json.loads(json.dumps(numbers)))


@pytest.mark.parametrize("iteration", [1, 2, 3])
def test_a_state_survives_being_written_down(whole_run, iteration: int) -> None:
    state = finished(whole_run)[iteration - 1].state
    assert state.iteration == iteration
    assert_same(through_plain(state), state)


def test_a_state_without_accuracy_and_with_odd_numbers_survives(whole_run) -> None:
    state = finished(whole_run)[0].state
    odd = replace(
        state,
        accuracy=Accuracy(1 / 3, 2e-17),
        sampling=replace(state.sampling, perturbation=-0.1234567890123456),
        progress=replace(state.progress, best_resolution=1 / 7, increment_size=23),
    )
    assert_same(through_plain(odd), odd)
    assert_same(through_plain(replace(odd, accuracy=None)), replace(odd, accuracy=None))


def test_a_state_holds_what_its_result_reports(whole_run) -> None:
    for event in finished(whole_run)[:3]:
        result, state = event.result, event.state
        assert_same(result.poses, state.poses)
        assert_same(result.references, tuple(model.reference for model in state.models))
        assert_same(result.sigma2_noise, tuple(model.sigma2_noise for model in state.models))
        assert result.changes_rotation_deg == state.progress.change_rotation_deg
        assert result.average_p_max == state.progress.average_p_max


def test_a_state_carries_its_counters(whole_run) -> None:
    """What decides about the next iteration is in the state that is saved, not only in the run."""
    progress = [event.state.progress for event in finished(whole_run)[:3]]
    shells = [each.resolution_shell for each in progress]
    assert progress[0].best_resolution == pytest.approx(shells[0] / 144.0)
    assert progress[2].best_resolution == pytest.approx(max(shells) / 144.0)
    for each in progress:
        assert each.smallest_change_rotation_deg <= each.change_rotation_deg
        counted = each.iterations_without_gain + each.iterations_without_change
        assert counted > 0 or each.smallest_change_rotation_deg < 999.0


@pytest.mark.parametrize("iteration", [1, 2, 3])
def test_a_resumed_run_is_the_uninterrupted_one(
    tiny, settings_for, drain, whole_run, iteration: int
) -> None:
    state = through_plain(finished(whole_run)[iteration - 1].state)
    settings = settings_for(max_iterations=3)
    events, result = drain(run(settings, tiny.particles, tiny.start, resume_from=state))
    assert events[0].first_iteration == iteration + 1
    resumed, wanted = finished(events), finished(whole_run)[iteration:]
    assert len(resumed) == len(wanted) == 4 - iteration
    for mine, other in zip(resumed, wanted, strict=True):
        assert_same(mine.result, other.result, f"iteration {other.result.iteration}")
        assert_same(mine.state, other.state, f"state {other.result.iteration}")
    final = next(event for event in whole_run if isinstance(event, RunFinished)).result
    assert_same(result, final, "result")
    announced = [event for event in events if isinstance(event, IterationStarted)]
    assert_same(
        announced,
        [event for event in whole_run if isinstance(event, IterationStarted)][iteration:],
    )


def test_a_resumed_run_on_two_threads_is_the_uninterrupted_one(tiny, settings_for, drain) -> None:
    settings = settings_for(max_iterations=2, threads=2)
    events, wanted = drain(run(settings, tiny.particles, tiny.start))
    state = through_plain(finished(events)[0].state)
    _, result = drain(run(settings, tiny.particles, tiny.start, resume_from=state))
    assert_same(result, wanted)


def test_a_resumed_run_does_not_touch_the_state_it_came_from(
    tiny, settings_for, drain, whole_run
) -> None:
    state = finished(whole_run)[1].state
    before = through_plain(state)
    drain(run(settings_for(max_iterations=3), tiny.particles, tiny.start, resume_from=state))
    assert_same(state, before)


@pytest.mark.parametrize("n", [2, 7, 100])
def test_random_halves_are_as_equal_as_can_be(n: int) -> None:
    subset = random_halves(n, seed=5)
    counts = torch.bincount(subset, minlength=3).tolist()
    assert counts == [0, n - n // 2, n // 2]
    assert torch.equal(subset, random_halves(n, seed=5))


def test_random_halves_differ_by_seed_and_are_not_in_order() -> None:
    first, second = random_halves(100, seed=1), random_halves(100, seed=2)
    assert not torch.equal(first, second)
    assert 10 < int((first[:50] == 1).sum()) < 40
