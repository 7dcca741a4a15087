"""When to stop, and why, in words."""

from dataclasses import dataclass, replace

from napari_blush.data_model.results import SamplingState
from napari_blush.refine.schedule import fine_step_deg
from napari_blush.refine.state import Progress

JUMP_OF_STEP = 1.25  # settled poses jump by up to so many steps: each grid is moved at random
NO_BETTER = 1.03  # within 3 % of the smallest change seen: poses no longer settle
GAIN = 0.0001  # reciprocal angstrom: the least that counts as a better resolution


@dataclass(frozen=True, slots=True)
class Convergence:
    """Whether the run is done, and the sentence that says why (or what it waits for)."""

    done: bool
    reason: str


def has_converged(progress: Progress) -> Convergence:
    """Decide whether the next iteration is the last, on all data."""
    waiting = []
    if not progress.fine_enough:
        waiting.append("the angular step is not yet as fine as the accuracy")
    if progress.iterations_without_gain < 1:
        waiting.append("the resolution still improves")
    if progress.iterations_without_change < 1:
        waiting.append("poses still change")
    if waiting:
        return Convergence(False, "; ".join(waiting))
    return Convergence(
        True,
        "the angular step is finer than the accuracy of the poses, and neither resolution nor "
        "poses changed in the last iteration",
    )


def count_resolution(progress: Progress, resolution: float) -> Progress:
    """Return the counters after an iteration that reached ``resolution`` (reciprocal angstrom)."""
    gained = resolution > progress.best_resolution + GAIN
    return replace(
        progress,
        best_resolution=max(progress.best_resolution, resolution),
        iterations_without_gain=0 if gained else progress.iterations_without_gain + 1,
    )


def count_changes(progress: Progress, sampling: SamplingState) -> Progress:
    """Return the counters after an iteration that moved poses as ``progress`` says.

    Poses have settled when both their mean turn and their mean shift are no larger than the random
    move of the grids explains, or no smaller than they have been before at this sampling.
    """
    turn, shift = progress.change_rotation_deg, progress.change_offset_angstrom
    offset_step = sampling.offset_step_angstrom / 2**sampling.adaptive_oversampling
    settled = _settled(turn, progress.smallest_change_rotation_deg, fine_step_deg(sampling))
    settled = settled and _settled(shift, progress.smallest_change_offset_angstrom, offset_step)
    return replace(
        progress,
        smallest_change_rotation_deg=min(turn, progress.smallest_change_rotation_deg),
        smallest_change_offset_angstrom=min(shift, progress.smallest_change_offset_angstrom),
        iterations_without_change=progress.iterations_without_change + 1 if settled else 0,
    )


def _settled(change: float, smallest: float, step: float) -> bool:
    return change < JUMP_OF_STEP * step or NO_BETTER * change >= smallest
