"""Axes whose ticks stand at round numbers of angstrom or degrees, wherever these fall."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pyqtgraph as pg  # type: ignore[import-untyped]

ANGSTROMS = (
    *(10, 5, 3, 20, 4, 2, 6, 8, 2.5, 3.5, 7, 15, 50, 100, 30, 12, 1.5, 1, 1.8, 1.2, 200, 500),
)
"""Lengths that deserve a tick, the rounder ones first."""

DEGREES = (10, 1, 5, 2, 0.5, 20, 0.2, 0.1, 45, 90, 180)
"""Angles that deserve a tick, likewise."""

_MOST_ITERATIONS = 1000
_LEAST_GAP = {"bottom": 27, "left": 13}
"""Pixels from tick to tick that a number needs."""

_MARGIN = {"bottom": 0, "left": 5}
"""Pixels from the ends of an axis: strips stand above one another."""


class RoundAxis(pg.AxisItem):  # type: ignore[misc]
    """An axis of a quantity that is not drawn as it is, ticked where it is round.

    Parameters
    ----------
    side : str
        ``left`` or ``bottom``.
    numbers : sequence of float
        Those that may have a tick; of two that are too near, the one before the other.
    position : callable
        Where a number stands on the axis.
    """

    def __init__(
        self, side: str, numbers: Sequence[float], position: Callable[[float], float]
    ) -> None:
        super().__init__(side)
        self.enableAutoSIPrefix(False)
        self._gap, self._margin = _LEAST_GAP[side], _MARGIN[side]
        self._places = [(position(number), number_label(number)) for number in numbers]

    def tickValues(self, lowest: float, highest: float, size: float) -> list[Any]:
        """Return the places of ticks: of those too near to one before, none."""
        span = max(highest - lowest, 1e-12)
        kept: list[float] = []
        for place, _ in self._places:
            is_free = all(abs(place - other) / span * size >= self._gap for other in kept)
            margin = self._margin / max(size, 1) * span
            if lowest + margin <= place <= highest - margin and is_free:
                kept.append(place)
        return [(span, kept)]

    def tickStrings(self, values: Any, scale: Any, spacing: Any) -> list[str]:
        """Return the numbers at places."""
        return [min(self._places, key=lambda item: abs(item[0] - value))[1] for value in values]


def resolution_axis(side: str) -> RoundAxis:
    """Return an axis along the spatial frequency (1/angstrom), ticked in angstrom."""
    return RoundAxis(side, ANGSTROMS, lambda length: 1 / length)


def degree_axis(side: str) -> RoundAxis:
    """Return an axis along the logarithm (base 2) of an angle, ticked in degrees."""
    return RoundAxis(side, DEGREES, math.log2)


def iteration_axis(side: str) -> RoundAxis:
    """Return an axis along whole numbers."""
    numbers = sorted(range(1, _MOST_ITERATIONS), key=_roundness)
    return RoundAxis(side, numbers, float)


def _roundness(number: int) -> int:
    """Return a number that is the smaller, the rounder another one is."""
    return sum(number % by != 0 for by in (5, 10, 50, 100))


def number_label(number: float) -> str:
    """Return a round number, as short as it can be."""
    return f"{number:g}"


def length_label(length: float) -> str:
    """Return a length in angstrom with what digits it deserves."""
    if not math.isfinite(length):
        return "∞"
    return f"{length:.0f}" if length >= 100 else f"{length:.1f}"
