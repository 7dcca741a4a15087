"""A run as observable state: folds events into fields that tell when they change; no toolkit."""

import operator
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, TypeAlias, TypeVar

from psygnal import SignalGroupDescriptor
from torch import Tensor

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.poses import Poses
from napari_blush.data_model.results import (
    Accuracy,
    FscCurves,
    IterationResult,
    Outcome,
    RefinementResult,
    SamplingState,
)
from napari_blush.refine.events import (
    ExpectationProgress,
    HalfMapsReconstructed,
    IterationFinished,
    IterationStarted,
    Message,
    ReferencesRegularized,
    RefinementEvent,
    RegularizationStep,
    RunFinished,
    RunStarted,
)
from napari_blush.refine.kept_run import IterationRead as IterationRead
from napari_blush.refine.kept_run import IterationSummary as IterationSummary
from napari_blush.refine.kept_run import KeptEvent, KeptIteration, Standing, summary_of
from napari_blush.refine.kept_run import PastRead as PastRead
from napari_blush.refine.kept_run import RunLeft as RunLeft
from napari_blush.refine.kept_run import RunReopened as RunReopened
from napari_blush.refine.state import RefinementState
from napari_blush.refine.steering import Steering

Value = TypeVar("Value")


class RunStatus(StrEnum):
    """What a run is doing."""

    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    FOLLOWED = "followed"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RunPaused:
    """Nobody asks for the next event for now."""


@dataclass(frozen=True, slots=True)
class RunResumed:
    """Somebody asks again."""


@dataclass(frozen=True, slots=True)
class RunCancelled:
    """The run was closed."""


@dataclass(frozen=True, slots=True)
class RunFailed:
    """The run ended with an error, whose sentence is ``text``."""

    text: str


SessionEvent: TypeAlias = (
    RefinementEvent | RunPaused | RunResumed | RunCancelled | RunFailed | KeptEvent
)
"""What a run says, what happens to it from outside, and what its folder has kept."""

_STATUS_OF = {
    Standing.GOING_ON: RunStatus.FOLLOWED,
    Standing.FINISHED: RunStatus.FINISHED,
    Standing.STOPPED: RunStatus.CANCELLED,
    Standing.FAILED: RunStatus.FAILED,
}


@dataclass(frozen=True, slots=True)
class StageProgress:
    """``done`` of ``total`` steps of a stage of an iteration, the stage in words."""

    stage: str = ""
    done: int = 0
    total: int = 1

    @property
    def fraction(self) -> float:
        """Part that is done, 0 to 1."""
        return self.done / max(self.total, 1)


# Tensors have no single answer to "equal": what holds them has changed when it is another object.
_BY_IDENTITY = (
    "half_maps",
    "references",
    "denoised_maps",
    "fsc_history",
    "summaries",
    "poses",
    "last_result",
    "state",
    "result",
    "steering",
)


@dataclass(eq=False)
class RefinementSession:
    """One run at a time, as fields that emit a signal when they change.

    ``session.events.half_maps.connect(callback)`` follows a field. ``apply`` is the only way to
    change a field; all that an event changes is changed before anybody is told. ``steering`` is the
    only way back: give it to the run, and propose changes to it.

    Parameters
    ----------
    status : RunStatus
    run : RunStarted or None
        Box, particles and device of the run.
    iteration : int
        The one that is going on or was last, 0 before the first.
    is_last : bool
        Whether that is the iteration on all data.
    progress : StageProgress
    sampling : SamplingState or None
    accuracy : Accuracy or None
    half_maps : HalfMaps or None
        The latest, unfiltered.
    references : two (n, n, n) tensors or None
        The latest that images are aligned to: for alignment only.
    denoised_maps : HalfMaps or None
        What the denoiser made of the latest half-maps of a whole iteration, None without one.
    cutoff_shell : int or None
        Where the regularizer of the latest references stopped.
    automatic_cutoff_shell : int or None
        Where the FSC alone would have it stop.
    denoiser_nyquist_shell : float or None
        How far the denoiser can see.
    fsc_history : mapping of int to FscCurves
        By iteration; likewise ``resolution_history`` in angstrom.
    summaries : mapping of int to IterationSummary
        Of whole iterations.
    poses : Poses or None
    last_result : IterationResult or None
        Of the last whole iteration.
    state : RefinementState or None
        To go on from.
    messages : tuple of Message
    result : RefinementResult or None
        When the run has ended by itself.
    steering : Steering
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor(
        equality_operators=dict.fromkeys(_BY_IDENTITY, operator.is_), connect_child_events=False
    )

    status: RunStatus = RunStatus.IDLE
    run: RunStarted | None = None
    iteration: int = 0
    is_last: bool = False
    progress: StageProgress = StageProgress()
    sampling: SamplingState | None = None
    accuracy: Accuracy | None = None
    half_maps: HalfMaps | None = None
    references: tuple[Tensor, Tensor] | None = None
    denoised_maps: HalfMaps | None = None
    cutoff_shell: int | None = None
    automatic_cutoff_shell: int | None = None
    denoiser_nyquist_shell: float | None = None
    fsc_history: Mapping[int, FscCurves] = field(default_factory=dict)
    resolution_history: Mapping[int, float] = field(default_factory=dict)
    summaries: Mapping[int, IterationSummary] = field(default_factory=dict)
    poses: Poses | None = None
    last_result: IterationResult | None = None
    state: RefinementState | None = None
    messages: tuple[Message, ...] = ()
    result: RefinementResult | None = None
    steering: Steering = field(default_factory=Steering)

    @property
    def last_words(self) -> tuple[str, ...]:
        """The last warning: why a run failed."""
        return tuple(message.text for message in self.messages if message.warning)[-1:]

    def apply(self, event: SessionEvent) -> None:
        """Fold an event into the fields, then tell what has changed."""
        changes = self._changes(event)
        if changes.get("status") in (RunStatus.FINISHED, RunStatus.CANCELLED, RunStatus.FAILED):
            self.steering.take()  # what was asked of this run must not reach the next one
        with ExitStack() as stack:
            for name in changes:
                stack.enter_context(self.events[name].paused())
            for name, value in changes.items():
                setattr(self, name, value)

    def _changes(self, event: SessionEvent) -> dict[str, Any]:
        """Return the new values of the fields that an event changes."""
        match event:
            case RunStarted():
                return self._started(event)
            case Message():
                return {"messages": (*self.messages, event)}
            case RunPaused():
                return {"status": RunStatus.PAUSED}
            case RunResumed():
                return {"status": RunStatus.RUNNING}
            case RunCancelled():
                return {"status": RunStatus.CANCELLED, "progress": StageProgress()}
            case RunFailed(text=text):
                return {
                    "status": RunStatus.FAILED,
                    "progress": StageProgress(),
                    "messages": (*self.messages, Message(text, warning=True)),
                }
            case RunFinished(result=result):
                failed = result.outcome is Outcome.FAILED
                return {
                    "status": RunStatus.FAILED if failed else RunStatus.FINISHED,
                    "progress": StageProgress("finished", 1, 1),
                    "result": result,
                }
            case RunReopened() | PastRead() | IterationRead() | RunLeft():
                return self._changes_of_kept(event)
        return self._changes_of_iteration(event)

    def _changes_of_kept(self, event: KeptEvent) -> dict[str, Any]:
        if isinstance(event, RunReopened):
            return self._reopened(event)
        if isinstance(event, PastRead):
            return _histories(event.iterations)
        if isinstance(event, IterationRead):
            return self._read(event)
        told = Message(event.text, warning=event.standing is Standing.FAILED)
        return {"status": _STATUS_OF[event.standing], "messages": (*self.messages, told)}

    def _reopened(self, event: RunReopened) -> dict[str, Any]:
        """Return all fields anew, but for the maps, which the folder has."""
        kept = event.iterations
        last = kept[-1].summary.iteration if kept else 0
        gone = ("half_maps", "references", "denoised_maps", "last_result", "result")
        failed = event.standing is Standing.FAILED
        return {
            **dict.fromkeys(gone),
            **(_of_kept(kept[-1]) if kept else {}),
            "is_last": False,
            "progress": StageProgress(),
            "state": event.state,
            "poses": None if event.state is None else event.state.poses,
            "messages": (Message(event.text, warning=failed),),
            **_histories(kept),
            "run": event.run,
            "iteration": last,
            "status": _STATUS_OF[event.standing],
        }

    def _read(self, event: IterationRead) -> dict[str, Any]:
        kept, number = event.kept, event.kept.summary.iteration
        resolution = kept.summary.resolution_angstrom
        changes: dict[str, Any] = {
            "half_maps": event.half_maps,
            "denoised_maps": event.denoised_maps,
            **_of_kept(kept),
            "fsc_history": {**self.fsc_history, number: kept.fsc},
            "resolution_history": {**self.resolution_history, number: resolution},
            "summaries": {**self.summaries, number: kept.summary},
        }
        if event.references is not None:
            changes["references"] = event.references.half1, event.references.half2
        # Told first, so that whoever draws maps knows of which iteration they are.
        return {**changes, "iteration": number}

    def _changes_of_iteration(self, event: RefinementEvent) -> dict[str, Any]:
        match event:
            case IterationStarted():
                return {
                    "status": RunStatus.RUNNING,
                    "iteration": event.iteration,
                    "is_last": event.final,
                    "sampling": event.sampling,
                    "accuracy": event.accuracy,
                    "progress": StageProgress("comparing images"),
                }
            case ExpectationProgress():
                return {"progress": StageProgress("comparing images", event.done, event.total)}
            case HalfMapsReconstructed():
                return {
                    "half_maps": event.half_maps,
                    "fsc_history": {**self.fsc_history, event.iteration: event.fsc},
                    "resolution_history": {
                        **self.resolution_history,
                        event.iteration: event.resolution_angstrom,
                    },
                    "progress": StageProgress("regularizing"),
                }
            case RegularizationStep(what=what, done=done):
                return {"progress": StageProgress(what, round(1000 * done), 1000)}
            case ReferencesRegularized():
                return {
                    "references": event.references,
                    "cutoff_shell": event.cutoff_shell,
                    "automatic_cutoff_shell": event.automatic_cutoff_shell,
                    "denoiser_nyquist_shell": event.denoiser_nyquist_shell,
                }
            case IterationFinished(result=result, state=state):
                return {
                    "poses": result.poses,
                    "last_result": result,
                    "denoised_maps": result.denoised_maps,
                    "summaries": {**self.summaries, result.iteration: summary_of(result)},
                    "state": state,
                    "progress": StageProgress("iteration done", 1, 1),
                }
        return {}

    def _started(self, event: RunStarted) -> dict[str, Any]:
        """Return fields without what a new run, or one begun again earlier, has not reached."""
        first = event.first_iteration
        kept: dict[str, Any] = {
            "status": RunStatus.RUNNING,
            "run": event,
            "iteration": first - 1,
            "is_last": False,
            "progress": StageProgress(),
            "result": None,
            "messages": (),
            "fsc_history": _before(first, self.fsc_history),
            "resolution_history": _before(first, self.resolution_history),
            "summaries": _before(first, self.summaries),
        }
        if first == 1:
            gone = ("sampling", "accuracy", "half_maps", "references", "denoised_maps")
            shells = ("cutoff_shell", "automatic_cutoff_shell", "denoiser_nyquist_shell")
            kept.update(dict.fromkeys((*gone, *shells, "poses", "last_result", "state")))
        return kept


def _histories(kept: tuple[KeptIteration, ...]) -> dict[str, Any]:
    return {
        "fsc_history": {one.summary.iteration: one.fsc for one in kept},
        "resolution_history": {
            one.summary.iteration: one.summary.resolution_angstrom for one in kept
        },
        "summaries": {one.summary.iteration: one.summary for one in kept},
    }


def _of_kept(kept: KeptIteration) -> dict[str, Any]:
    return {
        "sampling": kept.sampling,
        "accuracy": kept.accuracy,
        "cutoff_shell": kept.cutoff_shell,
        "automatic_cutoff_shell": kept.automatic_cutoff_shell,
        "denoiser_nyquist_shell": kept.denoiser_nyquist_shell,
    }


def _before(first: int, history: Mapping[int, Value]) -> Mapping[int, Value]:
    """Return a history without iterations from ``first`` on, itself where there are none."""
    if all(iteration < first for iteration in history):
        return history
    return {iteration: value for iteration, value in history.items() if iteration < first}
