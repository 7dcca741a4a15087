"""Follows a run that another process computes, through its folder; reads and never writes."""

from collections.abc import Callable, Generator
from pathlib import Path
from threading import Event
from typing import Any

from napari_blush.errors import BlushError
from napari_blush.refine.kept_run import KeptEvent, RunLeft, Standing
from napari_blush.refine.reopening import read_iteration, reopened, standing_of, whole_lines

POLL_SECONDS = 2.0


def follow_folder(
    folder: str | Path, wait: Callable[[float], Any] | None = None, seconds: float = POLL_SECONDS
) -> Generator[KeptEvent, None, None]:
    """Yield what a folder holds, then each iteration as it becomes whole, until the run ends.

    Parameters
    ----------
    folder : path
    wait : callable, optional
        Waits for so many seconds, or less; a true answer ends the following.
    seconds : float
        Between two looks.

    Raises
    ------
    RunFolderError
        When the folder holds no run.
    """
    folder = Path(folder)
    wait = Event().wait if wait is None else wait
    event = reopened(folder)
    yield event
    standing = event.standing
    seen = [kept.summary.iteration for kept in event.iterations]
    while standing is Standing.GOING_ON:
        if wait(seconds):
            return
        # Asked before reading: what is written before the end is not missed.
        standing, text = standing_of(folder)
        seen = yield from _news(folder, seen)
        if standing is not Standing.GOING_ON:
            yield RunLeft(standing, text)


def _news(folder: Path, seen: list[int]) -> Generator[KeptEvent, None, list[int]]:
    """Yield what is new since the iterations that were seen; return those that are now."""
    try:
        lines = whole_lines(folder)
        numbers = [line["iteration"] for line in lines]
        if not seen or numbers[: len(seen)] != seen:
            if numbers == seen:
                return seen
            # The first iteration; or the run was begun again from an earlier one.
            event = reopened(folder)
            yield event
            return [kept.summary.iteration for kept in event.iterations]
        for line in lines[len(seen) :]:
            yield read_iteration(folder, line)
    except BlushError:
        return seen  # caught in the middle of being written: there is another look
    return numbers
