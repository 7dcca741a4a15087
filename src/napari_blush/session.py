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
from napari_blush.refine.iteration_result import NO_ACCURACY
from napari_blush.refine.schedule import fine_step_deg
from napari_blush.refine.state import RefinementState
from napari_blush.refine.steering import Steering

Value = TypeVar("Value")


class RunStatus(StrEnum):
    """What a run is doing."""

    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
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


@dataclass(frozen=True, slots=True)
class IterationSummary:
    """One iteration in numbers, for plots and lists.

    Parameters
    ----------
    iteration : int
    resolution_angstrom : float
    accuracy_deg : float or None
        Estimated error of the rotations; None before the first estimate.
    step_deg : float
        Angular step of the last pass.
    average_p_max : float
    seconds : float
        Without pauses.
    current_size : int
        Pixels of the images that were compared.
    changed : tuple of str
        What the person changed that took effect in it.
    """

    iteration: int
    resolution_angstrom: float
    accuracy_deg: float | None
    step_deg: float
    average_p_max: float
    seconds: float
    current_size: int
    changed: tuple[str, ...] = ()


def summary_of(result: IterationResult) -> IterationSummary:
    """Return the numbers of a whole iteration."""
    accuracy = result.accuracy.rotation_deg
    return IterationSummary(
        iteration=result.iteration,
        resolution_angstrom=result.resolution_angstrom,
        accuracy_deg=accuracy if accuracy < NO_ACCURACY.rotation_deg else None,
        step_deg=fine_step_deg(result.sampling),
        average_p_max=result.average_p_max,
        seconds=result.seconds,
        current_size=result.current_size,
        changed=tuple(change.what for change in result.changes),
    )


SessionEvent: TypeAlias = RefinementEvent | RunPaused | RunResumed | RunCancelled | RunFailed
"""What a run says, and what happens to it from outside."""


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
        return self._changes_of_iteration(event)

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


def _before(first: int, history: Mapping[int, Value]) -> Mapping[int, Value]:
    """Return a history without iterations from ``first`` on, itself where there are none."""
    if all(iteration < first for iteration in history):
        return history
    return {iteration: value for iteration, value in history.items() if iteration < first}
