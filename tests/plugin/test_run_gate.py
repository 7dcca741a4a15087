"""A run goes on while its gate is open, is held when it is not, and is closed in every case."""

import threading
from types import SimpleNamespace

import pytest

from napari_blush.plugin.run_gate import RunGate, thinned
from napari_blush.refine.events import (
    ExpectationProgress,
    IterationFinished,
    Message,
    RefinementEvent,
    RunFinished,
)
from napari_blush.session import RunCancelled, RunPaused, RunResumed

SOON = 5.0


class Run:
    """Events that are counted, and that tell in which thread they were closed."""

    def __init__(self, events: list[RefinementEvent]) -> None:
        self.told: list[RefinementEvent] = []
        self.closed_in: int | None = None
        self._events = events

    def events(self):
        try:
            for event in self._events:
                self.told.append(event)
                yield event
        finally:
            self.closed_in = threading.get_ident()


def message(number: int) -> Message:
    return Message(str(number))


def finished_iteration() -> IterationFinished:
    # What is in it is none of the gate's business.
    return object.__new__(IterationFinished)


def in_thread(gate: RunGate, run: Run) -> tuple[threading.Thread, list]:
    seen: list = []
    thread = threading.Thread(target=lambda: seen.extend(gate.paced(run.events())))
    thread.start()
    return thread, seen


def test_an_open_gate_changes_nothing() -> None:
    events = [message(n) for n in range(3)]
    assert list(RunGate().paced(Run(events).events())) == events


def test_a_held_run_computes_nothing_until_it_goes_on() -> None:
    run, gate = Run([message(n) for n in range(3)]), RunGate()
    paced = gate.paced(run.events())
    assert next(paced) == message(0)
    gate.pause()
    assert next(paced) == RunPaused()
    thread, seen = threading.Thread(target=lambda: seen.extend(paced)), []
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    assert len(run.told) == 1
    gate.resume()
    thread.join(SOON)
    assert seen == [RunResumed(), message(1), message(2)]


def test_a_step_ends_with_its_iteration() -> None:
    run = Run([message(0), finished_iteration(), message(1), message(2)])
    gate = RunGate()
    paced = gate.paced(run.events())
    gate.step()
    assert next(paced) == message(0)
    assert isinstance(next(paced), IterationFinished)
    assert next(paced) == RunPaused()
    gate.resume()
    assert list(paced) == [RunResumed(), message(1), message(2)]


@pytest.mark.parametrize("held", [False, True])
def test_cancel_ends_a_run_held_or_not_and_closes_it_there(held: bool) -> None:
    run, gate = Run([message(n) for n in range(9)]), RunGate()
    if held:
        gate.pause()
        thread, seen = in_thread(gate, run)
        thread.join(0.1)
        gate.cancel()
    else:
        gate.cancel()
        thread, seen = in_thread(gate, run)
    number = thread.ident
    thread.join(SOON)
    assert not thread.is_alive()
    assert seen == [message(0), *([RunPaused()] if held else []), RunCancelled()]
    assert len(run.told) == 1
    assert run.closed_in == number


def test_a_run_that_is_whole_was_not_cancelled() -> None:
    last, gate = object.__new__(RunFinished), RunGate()
    paced = gate.paced(Run([last]).events())
    assert next(paced) is last
    gate.cancel()
    assert list(paced) == []


def test_leaving_the_events_closes_the_run() -> None:
    run = Run([message(n) for n in range(3)])
    paced = RunGate().paced(run.events())
    next(paced)
    paced.close()
    assert run.closed_in == threading.get_ident()


def test_progress_is_thinned_and_all_else_passes() -> None:
    clock = SimpleNamespace(now=0.0)
    events = [ExpectationProgress(1, 1, done, 10) for done in range(1, 11)]
    seen = []
    for event in thinned(iter([message(0), *events, message(1)]), lambda: clock.now, 0.35):
        seen.append(event)
    assert [event.done for event in seen[1:-1]] == [1, 10]

    def ticking():
        for event in events:
            yield event
            clock.now += 0.1

    assert [event.done for event in thinned(ticking(), lambda: clock.now, 0.35)] == [1, 5, 9, 10]
