"""What a person may do with a run at each moment: a pure function, no toolkit, no tensors."""

from dataclasses import dataclass
from enum import StrEnum


class RunPhase(StrEnum):
    """Where a run stands, and what was asked of it and has not happened yet."""

    LOADING = "loading"
    IDLE = "idle"
    STARTING = "starting"
    RUNNING = "running"
    STEPPING = "stepping"
    PAUSING = "pausing"
    PAUSED = "paused"
    FINISHING = "finishing"
    FOLLOWING = "following"
    CANCELLING = "cancelling"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Controls:
    """Which buttons can be pressed."""

    start: bool = False
    pause: bool = False
    resume: bool = False
    step: bool = False
    finish: bool = False
    cancel: bool = False


_GOING = Controls(pause=True, step=True, finish=True, cancel=True)
_HELD = Controls(resume=True, step=True, finish=True, cancel=True)
_READY = Controls(start=True)

_CONTROLS = {
    RunPhase.LOADING: Controls(),
    RunPhase.IDLE: _READY,
    RunPhase.STARTING: Controls(cancel=True),
    RunPhase.RUNNING: _GOING,
    RunPhase.STEPPING: Controls(pause=True, resume=True, finish=True, cancel=True),
    RunPhase.PAUSING: _HELD,
    RunPhase.PAUSED: _HELD,
    RunPhase.FINISHING: Controls(cancel=True),
    RunPhase.CANCELLING: Controls(),
    RunPhase.FOLLOWING: _READY,
    RunPhase.FINISHED: _READY,
    RunPhase.CANCELLED: _READY,
    RunPhase.FAILED: _READY,
}

_WORDS = {
    RunPhase.LOADING: "Loading PyTorch…",
    RunPhase.IDLE: "Ready",
    RunPhase.STARTING: "Reading the particles…",
    RunPhase.RUNNING: "Running",
    RunPhase.STEPPING: "Running to the end of this iteration",
    RunPhase.PAUSING: "Pausing after this batch of particles…",
    RunPhase.PAUSED: "Paused",
    RunPhase.FINISHING: "Finishing: this iteration, then a last one on all data",
    RunPhase.FOLLOWING: "Following a run of another process, read-only",
    RunPhase.CANCELLING: "Cancelling after this batch of particles…",
    RunPhase.FINISHED: "Finished",
    RunPhase.CANCELLED: "Cancelled; whole iterations are kept",
    RunPhase.FAILED: "Failed",
}


def controls_of(phase: RunPhase, *, can_start: bool = True) -> Controls:
    """Return which buttons can be pressed; Start only where the form is filled in."""
    controls = _CONTROLS[phase]
    return Controls() if controls.start and not can_start else controls


def words_of(phase: RunPhase) -> str:
    """Return a phase in words."""
    return _WORDS[phase]


def is_busy(phase: RunPhase) -> bool:
    """Return whether a run exists that has not ended."""
    return not (_CONTROLS[phase].start or phase is RunPhase.LOADING)
