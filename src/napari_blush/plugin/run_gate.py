"""Lets a run's events through one by one, or holds them: pause, step, cancel; no toolkit.

A run computes only while somebody asks for its next event, so whoever holds the events holds the
run. The gate stands in the thread that computes; its handles may be pulled from any other.
"""

import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

from napari_blush.refine.events import (
    ExpectationProgress,
    IterationFinished,
    RunFinished,
)
from napari_blush.session import RunCancelled, RunPaused, RunResumed, SessionEvent


class RunGate:
    """Handles on a run: ``pause``, ``resume``, ``step`` (to the end of the iteration), ``cancel``.

    All of them act when the run says its next event, at the latest a particle batch later.
    """

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._is_held = False
        self._holds_after_iteration = False
        self._is_cancelled = False

    @property
    def is_cancelled(self) -> bool:
        """Whether the run was told to end."""
        return self._is_cancelled

    def pause(self) -> None:
        """Hold the run."""
        self._set(held=True, after_iteration=False)

    def resume(self) -> None:
        """Let the run go on."""
        self._set(held=False, after_iteration=False)

    def step(self) -> None:
        """Let the run go on to the end of its iteration, and hold it there."""
        self._set(held=False, after_iteration=True)

    def cancel(self) -> None:
        """End the run, held or not."""
        with self._turn:
            self._is_cancelled = True
            self._turn.notify_all()

    def paced(
        self, events: Generator[SessionEvent, None, Any]
    ) -> Generator[SessionEvent, None, None]:
        """Pass a run's events on, and say when it is held, goes on, or was cancelled.

        The run is closed in every case, in the thread that asks for the events.
        """
        is_whole = False
        with closing(events):
            for event in events:
                yield event
                is_whole = isinstance(event, RunFinished)
                if isinstance(event, IterationFinished) and self._holds_after_iteration:
                    self.pause()
                if self._is_held and not self._is_cancelled:
                    yield RunPaused()
                    self._wait()
                    if not self._is_cancelled:
                        yield RunResumed()
                if self._is_cancelled:
                    break
        if self._is_cancelled and not is_whole:
            yield RunCancelled()

    def _set(self, *, held: bool, after_iteration: bool) -> None:
        with self._turn:
            self._is_held = held
            self._holds_after_iteration = after_iteration
            self._turn.notify_all()

    def _wait(self) -> None:
        with self._turn:
            self._turn.wait_for(lambda: not self._is_held or self._is_cancelled)


def thinned(
    events: Iterator[SessionEvent], clock: Any, seconds: float
) -> Generator[SessionEvent, None, None]:
    """Leave out progress that follows other progress sooner than the eye can tell.

    Parameters
    ----------
    events : iterator of SessionEvent
    clock : callable returning float
        Seconds of a steady clock.
    seconds : float
        Between two events of progress that are let through; the last of a stage always is.
    """
    told = -seconds
    for event in events:
        if isinstance(event, ExpectationProgress) and event.done < event.total:
            if clock() - told < seconds:
                continue
            told = clock()
        yield event
