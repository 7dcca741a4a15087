"""Joins a run in a thread to a session on the main thread, and pulls the run's handles.

One run at a time. What still arrives of a run that was left is dropped: results never land on
another run.
"""

import threading
import time
from collections.abc import Callable, Generator
from itertools import count
from pathlib import Path
from typing import Any

from psygnal import Signal

from napari_blush.plugin.job_description import JobDescription
from napari_blush.plugin.refinement_job import refinement_events
from napari_blush.plugin.run_gate import RunGate, thinned
from napari_blush.plugin.run_phase import RunPhase, is_busy
from napari_blush.plugin.worker import StepWorker
from napari_blush.refine.events import RunFinished, RunStarted
from napari_blush.refine.following import POLL_SECONDS, follow_folder
from napari_blush.refine.steering import Change, FinishNow, Steering
from napari_blush.session import (
    RefinementSession,
    RunCancelled,
    RunFailed,
    RunLeft,
    RunPaused,
    RunReopened,
    RunStatus,
    SessionEvent,
)

MakeEvents = Callable[[JobDescription, Steering], Generator[SessionEvent, None, Any]]

_PROGRESS_SECONDS = 0.1
_STANDING_STILL = (RunFinished, RunCancelled, RunFailed, RunReopened, RunLeft)
"""After these a run computes no more, or not here."""

_STANDING = {
    RunStatus.PAUSED: RunPhase.PAUSED,
    RunStatus.FOLLOWED: RunPhase.FOLLOWING,
    RunStatus.FINISHED: RunPhase.FINISHED,
    RunStatus.CANCELLED: RunPhase.CANCELLED,
    RunStatus.FAILED: RunPhase.FAILED,
}


class RunController:
    """Starts, holds, steers and ends runs; the main thread only.

    Parameters
    ----------
    make_events : callable, optional
        From a job and a steering inbox to the events of a run; called in the thread.

    Attributes
    ----------
    session : RefinementSession
        What the run has said; ``apply`` is called here and nowhere else.
    phase : RunPhase
    """

    phase_changed = Signal(RunPhase)

    def __init__(self, make_events: MakeEvents = refinement_events) -> None:
        self.session = RefinementSession()
        self.phase = RunPhase.IDLE
        self._make_events = make_events
        self._gate = RunGate()
        self._worker: StepWorker | None = None
        self._numbers = count(1)
        self._run = 0
        self._stop_following = threading.Event()

    def start(self, job: JobDescription) -> None:
        """Begin a run; does nothing while another one is going on."""
        if is_busy(self.phase):
            return
        self._stop_following.set()
        gate = self._gate = RunGate()
        run = self._run = next(self._numbers)
        steering = self.session.steering
        make_events = self._make_events

        def events() -> Generator[SessionEvent, None, None]:
            yield from thinned(
                gate.paced(make_events(job, steering)), time.monotonic, _PROGRESS_SECONDS
            )

        self._move_to(RunPhase.STARTING)
        self._start(StepWorker(events, gate.cancel), run)

    def open(self, folder: Path, seconds: float = POLL_SECONDS) -> None:
        """Show what a run folder holds, and what another process adds to it.

        Does nothing while a run is going on here.
        """
        if is_busy(self.phase):
            return
        self._stop_following.set()
        stop = self._stop_following = threading.Event()
        run = self._run = next(self._numbers)

        def events() -> Generator[SessionEvent, None, None]:
            yield from follow_folder(folder, stop.wait, seconds)

        self._start(StepWorker(events, stop.set), run)

    def pause(self) -> None:
        """Hold the run after its batch of particles."""
        self._gate.pause()
        self._move_to(RunPhase.PAUSING)

    def resume(self) -> None:
        """Go on."""
        self._gate.resume()
        self._move_to(RunPhase.RUNNING)

    def step(self) -> None:
        """Go on to the end of the iteration."""
        self._gate.step()
        self._move_to(RunPhase.STEPPING)

    def finish(self) -> None:
        """Make the next iteration the last, on all data."""
        self.propose(FinishNow())
        self._gate.resume()
        self._move_to(RunPhase.FINISHING)

    def cancel(self) -> None:
        """End the run after its batch of particles; whole iterations stay in its folder."""
        self._gate.cancel()
        if is_busy(self.phase):
            self._move_to(RunPhase.CANCELLING)

    def propose(self, change: Change) -> None:
        """Ask the run for a change at its next iteration."""
        self.session.steering.propose(change)

    def leave(self) -> None:
        """End the run and hear no more of it."""
        self._run = 0
        self._gate.cancel()
        self._stop_following.set()
        if self._worker is not None:
            self._worker.quit()
        if is_busy(self.phase):
            self.session.apply(RunCancelled())
            self._move_to(RunPhase.CANCELLED)

    def _start(self, worker: StepWorker, run: int) -> None:
        self._worker = worker
        worker.yielded.connect(lambda event: self._arrived(run, event))
        worker.failed.connect(lambda text: self._arrived(run, RunFailed(text)))
        worker.start()

    def _arrived(self, run: int, event: SessionEvent) -> None:
        if run != self._run:
            return
        self.session.apply(event)
        status = self.session.status
        if isinstance(event, RunPaused):
            # A pause that was taken back before it came about is none.
            if self.phase in (RunPhase.PAUSING, RunPhase.STEPPING):
                self._move_to(RunPhase.PAUSED)
        elif isinstance(event, _STANDING_STILL):
            self._move_to(_STANDING[status])
        elif self.phase is RunPhase.STARTING and isinstance(event, RunStarted):
            self._move_to(RunPhase.RUNNING)

    def _move_to(self, phase: RunPhase) -> None:
        if phase is not self.phase:
            self.phase = phase
            self.phase_changed.emit(phase)
