"""The inbox through which a person changes a run; read at the top of an iteration, nowhere else."""

import threading
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor


@dataclass(frozen=True, slots=True)
class ChangeSettings:
    """New values of fields of ``RefinementSettings``."""

    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChangeMask:
    """A new solvent mask, ``(n, n, n)`` in [0, 1]; None goes back to a run without one."""

    mask: Tensor | None


@dataclass(frozen=True, slots=True)
class SampleFiner:
    """Halve the angular step now; ``local`` also makes the search local."""

    local: bool = False


@dataclass(frozen=True, slots=True)
class SearchLocally:
    """Search around the last poses from now on, at the step that there is."""


@dataclass(frozen=True, slots=True)
class ChangeOffsetSearch:
    """Look for offsets up to ``range_angstrom`` around the last ones, in steps that suit it."""

    range_angstrom: float


@dataclass(frozen=True, slots=True)
class FinishNow:
    """Make the next iteration the last, on all data."""


Change: TypeAlias = (
    ChangeSettings | ChangeMask | SampleFiner | SearchLocally | ChangeOffsetSearch | FinishNow
)


class Steering:
    """A thread-safe inbox of changes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inbox: list[Change] = []

    @property
    def waiting(self) -> tuple[Change, ...]:
        """What was asked for and the run has not taken yet, in order."""
        with self._lock:
            return tuple(self._inbox)

    def propose(self, change: Change) -> None:
        """Ask for a change; it takes effect at the next iteration."""
        with self._lock:
            self._inbox.append(change)

    def take(self) -> list[Change]:
        """Return and forget what was asked for, in order."""
        with self._lock:
            changes, self._inbox = self._inbox, []
        return changes
