"""A clock that stands still while nobody asks a run for its next event."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class WorkClock:
    """Seconds of work: a run that is paused, or whose events wait to be drawn, does none.

    Parameters
    ----------
    seconds : callable returning float
        Seconds of a steady clock.
    """

    def __init__(self, seconds: Callable[[], float] = time.perf_counter) -> None:
        self._seconds = seconds
        self._held = 0.0

    def now(self) -> float:
        """Return the seconds of work since some moment in the past."""
        return self._seconds() - self._held

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stand still meanwhile."""
        began = self._seconds()
        try:
            yield
        finally:
            self._held += self._seconds() - began
