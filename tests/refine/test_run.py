"""What a run says, in which order, and that it leaves its caller as it found it."""

import re
from dataclasses import fields, is_dataclass, replace

import pytest
import torch

from napari_blush.data_model.results import IterationResult, Outcome, RefinementResult
from napari_blush.refine import run as run_module
from napari_blush.refine.events import (
    ExpectationProgress,
    HalfMapsReconstructed,
    IterationFinished,
    IterationStarted,
    Message,
    ReferencesRegularized,
    RunFinished,
    RunStarted,
)
from napari_blush.refine.run import device_messages, run

LETTERS = {
    RunStarted: "S",
    Message: "m",
    IterationStarted: "I",
    ExpectationProgress: "p",
    HalfMapsReconstructed: "H",
    ReferencesRegularized: "R",
    IterationFinished: "F",
    RunFinished: "E",
}


def of_type(events, kind):
    return [event for event in events if isinstance(event, kind)]


def tensors_of(value):
    """Every tensor inside nested dataclasses and tuples."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from tensors_of(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from tensors_of(getattr(value, field.name))


def test_events_come_in_the_documented_order(whole_run) -> None:
    said = "".join(LETTERS[type(event)] for event in whole_run if not isinstance(event, Message))
    assert re.fullmatch(r"S(Ip+HRF){3}Ip+HFE", said), said


def test_iterations_are_numbered_and_only_the_last_is_final(whole_run) -> None:
    started = of_type(whole_run, IterationStarted)
    assert [event.iteration for event in started] == [1, 2, 3, 4]
    assert [event.final for event in started] == [False, False, False, True]
    for kind in (HalfMapsReconstructed, ExpectationProgress):
        assert {event.iteration for event in of_type(whole_run, kind)} == {1, 2, 3, 4}
    assert [event.iteration for event in of_type(whole_run, ReferencesRegularized)] == [1, 2, 3]
    finished = of_type(whole_run, IterationFinished)
    assert [event.result.iteration for event in finished] == [1, 2, 3, 4]
    assert [event.state.iteration for event in finished] == [1, 2, 3, 4]


def test_an_iteration_does_what_it_announced(whole_run) -> None:
    finished = of_type(whole_run, IterationFinished)
    for started, done in zip(of_type(whole_run, IterationStarted), finished, strict=True):
        assert done.result.sampling == started.sampling
        assert done.result.current_size == started.current_size
    assert of_type(whole_run, IterationStarted)[-1].current_size == 24


def test_progress_adds_up_to_all_particles(whole_run, tiny) -> None:
    for iteration in (1, 2, 3, 4):
        progress = [
            event
            for event in of_type(whole_run, ExpectationProgress)
            if event.iteration == iteration
        ]
        done = [event.done for event in progress]
        assert {event.total for event in progress} == {len(tiny.particles)}
        assert {event.half for event in progress} == {1, 2}
        assert done == sorted(set(done))
        assert done[-1] == len(tiny.particles)
        steps = torch.diff(torch.tensor([0, *done]))
        assert int(steps.max()) <= 32  # particles of a batch on the CPU


def test_the_first_event_describes_the_run(whole_run) -> None:
    started = whole_run[0]
    assert (started.n_particles, started.n_per_half) == (70, (35, 35))
    assert (started.box_size, started.pixel_size) == (24, 6.0)
    assert (started.first_iteration, started.device) == (1, "cpu")
    assert started.backend in ("numba", "torch")


def test_the_last_event_carries_the_result(tiny, settings_for, drain) -> None:
    events, result = drain(run(settings_for(max_iterations=1), tiny.particles, tiny.start))
    assert events[-1] == RunFinished(result)
    assert events[-1].result is result
    assert isinstance(result, RefinementResult)
    assert result.outcome is Outcome.MAX_ITERATIONS
    assert "number of iterations" in result.reason
    assert result.last_iteration is of_type(events, IterationFinished)[-1].result


def test_results_are_plain_tensors_on_the_cpu(whole_run) -> None:
    result = whole_run[-1].result
    found = list(tensors_of(result))
    assert len(found) > 30
    assert {tensor.device.type for tensor in found} == {"cpu"}
    assert not any(tensor.requires_grad for tensor in found)
    maps = (result.half_maps.half1, result.half_maps.half2, result.final_map, result.sharpened_map)
    assert {tuple(volume.shape) for volume in maps} == {(24, 24, 24)}
    assert {volume.dtype for volume in maps} == {torch.float32}
    assert isinstance(result.last_iteration, IterationResult)


def test_two_runs_of_one_seed_are_equal_and_of_another_are_not(tiny, settings_for, drain) -> None:
    def final_map(seed):
        settings = settings_for(max_iterations=1, seed=seed)
        return drain(run(settings, tiny.particles, tiny.start))[1].final_map

    assert torch.equal(final_map(3), final_map(3))
    assert not torch.equal(final_map(3), final_map(4))


def test_random_halves_of_the_particles_are_kept(tiny, settings_for) -> None:
    subset = torch.ones(70, dtype=torch.int64)
    subset[::5] = 2
    given = replace(tiny.particles, random_subset=subset)
    events = run(settings_for(), given, tiny.start)
    assert next(events).n_per_half == (56, 14)
    state = next(event for event in events if isinstance(event, IterationFinished)).state
    events.close()
    assert torch.equal(state.random_subset, subset)


def test_following_a_run_leaves_gradients_and_threads_alone(tiny, settings_for) -> None:
    before = torch.get_num_threads()
    events = run(settings_for(max_iterations=1, threads=1), tiny.particles, tiny.start)
    for _ in events:
        assert torch.is_grad_enabled()
    assert torch.get_num_threads() == before


def test_a_cancelled_run_gives_the_threads_back(tiny, settings_for) -> None:
    before = torch.get_num_threads()
    events = run(settings_for(threads=before + 1), tiny.particles, tiny.start)
    next(events)
    assert torch.get_num_threads() == before + 1
    events.close()
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("device", "told"), [("auto", True), ("cpu", False)])
def test_a_cpu_that_nobody_asked_for_is_told(
    tiny, settings_for, monkeypatch, device: str, told: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    events = run(settings_for(device=device), tiny.particles, tiny.start)
    assert next(events).device == "cpu"
    message = next(events)
    events.close()
    assert (isinstance(message, Message) and message.warning and "CPU" in message.text) is told


def test_slow_projections_are_told(settings_for, monkeypatch) -> None:
    monkeypatch.setattr(run_module, "slice_backend", lambda device: "torch")
    told = device_messages(settings_for(), torch.device("cpu"))
    assert [message.warning for message in told] == [True]
    assert "napari-blush[cpu]" in told[0].text
    monkeypatch.setattr(run_module, "slice_backend", lambda device: "numba")
    assert device_messages(settings_for(), torch.device("cpu")) == []


@pytest.mark.parametrize(
    ("automatic", "said"), [(True, "drawn around each half's own map"), (False, "keep the solvent")]
)
def test_a_run_without_a_mask_says_what_it_does(tiny, settings_for, automatic, said) -> None:
    events = run(settings_for(automatic_mask=automatic), tiny.particles, tiny.start)
    next(events)
    message = next(events)
    events.close()
    assert isinstance(message, Message)
    assert message.warning
    assert said in message.text
