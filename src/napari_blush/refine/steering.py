"""The inbox through which a person changes a run; read at the top of an iteration, nowhere else."""

import queue
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
class FinishNow:
    """Make the next iteration the last, on all data."""


Change: TypeAlias = ChangeSettings | ChangeMask | SampleFiner | FinishNow


class Steering:
    """A thread-safe inbox of changes."""

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[Change] = queue.SimpleQueue()

    def propose(self, change: Change) -> None:
        """Ask for a change; it takes effect at the next iteration."""
        self._inbox.put(change)

    def take(self) -> list[Change]:
        """Return and forget what was asked for, in order."""
        changes = []
        while not self._inbox.empty():
            changes.append(self._inbox.get_nowait())
        return changes
