"""From where a run goes on: the last iteration of its folder, or any of another run's."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from napari_blush.data_model.particles import Particles
from napari_blush.data_model.results import AppliedChange
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import SettingsError
from napari_blush.io.run_settings import check_same_particles, settings_at, settings_to_go_on
from napari_blush.io.run_state import last_whole_iteration, load_state
from napari_blush.refine.changes import AT_THE_START_ONLY, words_of
from napari_blush.refine.state import RefinementState, state_from_plain

FIXED_IN_A_BRANCH = AT_THE_START_ONLY - {
    "solvent_mask",
    "seed",
    "device",
    "threads",
    "memory_limit",
}
"""Settings that have done their work before the iteration that a run branches from."""


@dataclass(frozen=True, slots=True)
class GoingOn:
    """What a run begins with.

    Parameters
    ----------
    settings : RefinementSettings
        In force now: with what a person changed in the run so far.
    state : RefinementState or None
        None begins from the start map.
    changes : tuple of AppliedChange
        What a branch does otherwise than the run that it comes from.
    is_branch : bool
    """

    settings: RefinementSettings
    state: RefinementState | None = None
    changes: tuple[AppliedChange, ...] = ()
    is_branch: bool = False


def start_of(folder: Path, settings: RefinementSettings, *, resume: bool) -> GoingOn:
    """Return how the run in a folder begins, or goes on after its last whole iteration."""
    if not resume or last_whole_iteration(folder) is None:
        return GoingOn(settings)
    return GoingOn(settings_to_go_on(folder, settings), state_at(folder))


def branch_of(
    folder: Path, iteration: int, settings: RefinementSettings, particles: Particles
) -> GoingOn:
    """Return how another run goes on from an iteration of the run in ``folder``.

    Raises
    ------
    RunFolderError
        When there is no such iteration, or its run had other particles.
    SettingsError
        When a setting differs that only a run from its beginning can change.
    """
    state = state_at(folder, iteration)
    check_same_particles(folder, particles)
    before = settings_at(folder, iteration)
    changed = {
        name: getattr(settings, name)
        for name in type(settings).model_fields
        if getattr(settings, name) != getattr(before, name)
    }
    fixed = sorted(FIXED_IN_A_BRANCH & changed.keys())
    if fixed:
        raise SettingsError(
            f"A branch of {folder} was given another {', '.join(fixed)}; wanted that of the run it "
            "comes from, where it has done its work; leave it, or start a new run."
        )
    if not changed:
        return GoingOn(settings, state, is_branch=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    what = AppliedChange(f"branch: {words_of(before, changed)}", now)
    return GoingOn(settings, state, (what,), is_branch=True)


def state_at(folder: Path, iteration: int | None = None) -> RefinementState:
    """Return the state after an iteration, the last whole one by default.

    Raises
    ------
    RunFolderError
        When there is none.
    """
    _, tensors, numbers = load_state(folder, iteration)
    return state_from_plain(tensors, numbers)
