"""A run as its folder has kept it: what a session is told of a run that computes elsewhere, or did.

Nothing is read here; see ``reopening``.
"""

from dataclasses import dataclass
from enum import StrEnum

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.results import Accuracy, FscCurves, IterationResult, SamplingState
from napari_blush.refine.events import RunStarted
from napari_blush.refine.iteration_result import NO_ACCURACY
from napari_blush.refine.schedule import fine_step_deg
from napari_blush.refine.state import RefinementState


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


class Standing(StrEnum):
    """What becomes of the run in a folder."""

    GOING_ON = "going on"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class KeptIteration:
    """An iteration without its maps; shells as in ``IterationResult``."""

    summary: IterationSummary
    fsc: FscCurves
    sampling: SamplingState
    accuracy: Accuracy | None
    cutoff_shell: int | None
    automatic_cutoff_shell: int | None = None
    denoiser_nyquist_shell: float | None = None


@dataclass(frozen=True, slots=True)
class RunReopened:
    """A run folder was opened.

    Parameters
    ----------
    run : RunStarted or None
        As if it went on now; None while no iteration is whole.
    iterations : tuple of KeptIteration
    state : RefinementState or None
        To go on from.
    standing : Standing
    text : str
        Who computes it, or how it ended and what to do.
    """

    run: RunStarted | None
    iterations: tuple[KeptIteration, ...]
    state: RefinementState | None
    standing: Standing
    text: str


@dataclass(frozen=True, slots=True)
class PastRead:
    """Iterations that a run is about to go on after, its own or those of another run."""

    iterations: tuple[KeptIteration, ...]


@dataclass(frozen=True, slots=True)
class IterationRead:
    """Another process has finished an iteration; of the last one, on all data, no references."""

    kept: KeptIteration
    half_maps: HalfMaps
    references: HalfMaps | None = None
    denoised_maps: HalfMaps | None = None


@dataclass(frozen=True, slots=True)
class RunLeft:
    """The other process computes no more."""

    standing: Standing
    text: str


KeptEvent = RunReopened | PastRead | IterationRead | RunLeft
