"""A run and its folder: what is written of it as it goes, and the state to go on from."""

from pathlib import Path

from torch import Tensor

from napari_blush.errors import RefinementError
from napari_blush.io.run_folder import RunWriter
from napari_blush.io.run_history import append_history
from napari_blush.io.run_state import last_whole_iteration
from napari_blush.refine.events import (
    IterationFinished,
    IterationStarted,
    RefinementEvent,
    RunFinished,
    RunStarted,
)
from napari_blush.refine.going_on import state_at
from napari_blush.refine.state import RefinementState, state_to_plain


def last_state(folder: Path) -> RefinementState | None:
    """Return the state to go on from, None where no iteration is whole."""
    return None if last_whole_iteration(folder) is None else state_at(folder)


class RunKeeper:
    """Writes each whole iteration, and at the end the maps.

    The last iteration, on all data, is kept with the end of the run and not as an iteration to go
    on from: a run that is cut short in it does it again.

    Parameters
    ----------
    writer : RunWriter
    """

    def __init__(self, writer: RunWriter) -> None:
        self._writer = writer
        self._is_last = False
        self._random_subset: Tensor | None = None

    def __call__(self, event: RefinementEvent) -> None:
        """Keep what an event carries; returns when it is on the disk."""
        match event:
            case RunStarted(regularizer=regularizer):
                self._writer.write_regularizer(regularizer)
            case IterationStarted(final=final):
                self._is_last = final
            case IterationFinished(result=result, state=state):
                self._random_subset = state.random_subset
                if not self._is_last:
                    tensors, numbers = state_to_plain(state)
                    self._writer.write_iteration(result, state.random_subset, tensors, numbers)
            case RunFinished(result=result):
                if self._random_subset is None:
                    raise RefinementError("A run ended before its first iteration; run it anew.")
                append_history(self._writer.folder, result.last_iteration)
                self._writer.write_result(result, self._random_subset)

    def last_whole(self) -> int | None:
        """Return the last iteration that is on the disk to go on from, None without one."""
        return last_whole_iteration(self._writer.folder)
