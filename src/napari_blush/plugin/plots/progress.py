"""A run over its iterations: resolution, angles, certainty, and where a person changed it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg  # type: ignore[import-untyped]
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QWidget

from napari_blush.plugin.plots.axes import (
    degree_axis,
    iteration_axis,
    length_label,
    resolution_axis,
)
from napari_blush.plugin.plots.figure import Figure, colored
from napari_blush.session import IterationSummary

_P_MAX = 2

QUANTITIES = {
    "resolution": (0, "first"),
    "accuracy": (1, "second"),
    "step": (1, "third"),
    "p_max": (_P_MAX, "limit"),
}
"""Name, then strip and colour of the palette."""

_BESIDE = ("resolution", "p_max")
"""What is shown of another run."""

_DOT = 4
_ROOM = 0.12
"""Part of a strip that stays free above and below its curve."""

_LEAST_RANGE = ((0.0, 0.02), (0.0, 1.0), (0.0, 1.0))
"""What each strip spans at least, in reciprocal angstrom and powers of two of a degree."""

_NONE = math.nan


class ProgressPlot(Figure):
    """Three strips over the iterations: resolution, angles, and the mean highest probability.

    Signals: ``iteration_chosen(int)`` on a click.

    Parameters
    ----------
    parent : QWidget, optional
    """

    iteration_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        left = [resolution_axis("left"), degree_axis("left"), pg.AxisItem("left")]
        left[2].setTicks([[(0, "0"), (0.5, "0.5"), (1, "1")]])
        super().__init__(iteration_axis("bottom"), left, "iteration", parent)
        self.marked: int | None = None
        self._summaries: Mapping[int, IterationSummary] = {}
        self.flags, self._marks = [], []
        for strip, unit in zip(self.strips, ("Å", "°", "p_max"), strict=True):
            self.name_strip(strip, unit, is_below=unit == "°")
            self.flags.append(strip.plot(connect="pairs"))
            self._marks.append(pg.InfiniteLine(angle=90))
            strip.addItem(self._marks[-1], ignoreBounds=True)
        self._pennants = pg.ScatterPlotItem(symbol="t")
        self.strips[0].addItem(self._pennants, ignoreBounds=True)
        self.curves = {
            name: self.strips[strip].plot(symbol="o") for name, (strip, _) in QUANTITIES.items()
        }
        self._beside: Mapping[int, IterationSummary] = {}
        self.beside = {name: self.strips[QUANTITIES[name][0]].plot() for name in _BESIDE}
        self.recolor()

    def show_beside(self, summaries: Mapping[int, IterationSummary]) -> None:
        """Show another run as well; drawn with the rest."""
        self._beside = summaries

    def show_summaries(
        self, summaries: Mapping[int, IterationSummary], marked: int | None = None
    ) -> None:
        """Show iterations, one of them marked.

        Parameters
        ----------
        summaries : mapping of int to IterationSummary
        marked : int, optional
            None marks none, and writes about the last.
        """
        self._summaries = dict(sorted(summaries.items()))
        self.marked = marked if marked in summaries else None
        self.recolor()

    def recolor(self) -> None:
        """Draw all in the colours of the theme."""
        if not hasattr(self, "beside"):
            return
        numbers = list(self._summaries)
        for strip in range(len(self.strips)):
            self._draw_strip(strip)
        changed = [number for number, found in self._summaries.items() if found.changed]
        warning = self.pen(self.colors.warning, width=1, style=Qt.PenStyle.DotLine)
        mark = self.pen(self.colors.text, width=1)
        for strip, flags, line in zip(self.strips, self.flags, self._marks, strict=True):
            lowest, highest = strip.vb.state["targetRange"][1]
            flags.setData(np.repeat(changed, 2), np.tile([lowest, highest], len(changed)))
            flags.setPen(warning)
            line.setVisible(self.marked is not None)
            line.setPen(mark)
            line.setValue(self.marked or 0)
        top = self.strips[0].vb.state["targetRange"][1]
        height = top[1] - 0.1 * (top[1] - top[0])
        brush = pg.mkBrush(self.colors.warning)
        self._pennants.setData(
            changed, [height] * len(changed), pen=None, brush=brush, size=2 * _DOT * self.line_scale
        )
        if numbers:
            first, last = min(numbers), max([*numbers, *self._beside])
            self.strips[-1].setXRange(first - 0.5, max(last, first + 4) + 0.5, padding=0)
        shown = self.marked or max(numbers, default=None)
        self.rest("" if shown is None else self._words(self._summaries[shown]))

    def readout(self, x: float) -> str:
        """Return the numbers of the nearest iteration, or what was changed in it."""
        number = self._nearest(x)
        return "" if number is None else self._words(self._summaries[number], tells_changes=True)

    def choose_at(self, x: float, y: float, strip: int) -> None:
        """Choose the nearest iteration."""
        number = self._nearest(x)
        if number is not None:
            self.iteration_chosen.emit(number)

    def table(self) -> tuple[Sequence[str], list[Sequence[Any]]]:
        """Return names of columns, and a line for each iteration."""
        columns = (
            *("iteration", "resolution_angstrom", "accuracy_deg", "step_deg", "average_p_max"),
            *("seconds", "current_size", "changed"),
        )
        rows: list[Sequence[Any]] = [
            [getattr(found, name) for name in columns[:-1]] + ["; ".join(found.changed)]
            for found in self._summaries.values()
        ]
        return columns, rows

    def _nearest(self, x: float) -> int | None:
        return min(self._summaries, key=lambda number: abs(number - x), default=None)

    def _draw_strip(self, strip: int) -> None:
        drawn: list[float] = []
        for name, (of_strip, color) in QUANTITIES.items():
            if of_strip != strip:
                continue
            points = _points(name, self._summaries)
            pen = self.pen(getattr(self.colors, color), width=1.6)
            self.curves[name].setData([x for x, _ in points], [y for _, y in points])
            self.curves[name].setPen(pen)
            self.curves[name].setSymbolPen(pen)
            self.curves[name].setSymbolBrush(pen.color())
            self.curves[name].setSymbolSize(_DOT * self.line_scale)
            drawn += [y for _, y in points]
            if name in _BESIDE:
                points = _points(name, self._beside)
                self.beside[name].setData([x for x, _ in points], [y for _, y in points])
                self.beside[name].setPen(self.pen(self.colors.text, 1.2, Qt.PenStyle.DashDotLine))
                drawn += [y for _, y in points]
        lowest, highest = _LEAST_RANGE[strip]
        if drawn:
            middle, least = (min(drawn) + max(drawn)) / 2, (highest - lowest) / 2
            lowest, highest = min(*drawn, middle - least), max(*drawn, middle + least)
        if strip == _P_MAX:
            lowest, highest = 0.0, 1.0
        room = _ROOM * (highest - lowest)
        self.strips[strip].setYRange(lowest - room, highest + room, padding=0)

    def _words(self, found: IterationSummary, *, tells_changes: bool = False) -> str:
        colors = self.colors
        length = colored(f"{length_label(found.resolution_angstrom)} Å", colors.first)
        start = f"iteration {found.iteration}: {length}"
        if tells_changes and found.changed:
            changes = colored("changed " + ", ".join(found.changed), colors.warning)
            return f"{start}, {changes}"
        accuracy = "" if found.accuracy_deg is None else f" {found.accuracy_deg:.2g}°"
        parts = [
            start,
            colored(f"accuracy{accuracy or ' –'}", colors.second),
            colored(f"step {found.step_deg:.2g}°", colors.third),
            colored(f"p_max {found.average_p_max:.2f}", colors.limit),
        ]
        return ", ".join(parts)


def _points(name: str, summaries: Mapping[int, IterationSummary]) -> list[tuple[int, float]]:
    """Return iterations and where a quantity stands in its strip, where it is known."""
    points = [(number, _height(name, found)) for number, found in sorted(summaries.items())]
    return [(x, y) for x, y in points if math.isfinite(y)]


def _height(name: str, found: IterationSummary) -> float:
    """Return where a quantity stands in its strip."""
    if name == "resolution":
        length = found.resolution_angstrom
        return 1 / length if 0 < length < math.inf else _NONE
    if name == "p_max":
        return found.average_p_max
    angle = found.accuracy_deg if name == "accuracy" else found.step_deg
    return math.log2(angle) if angle else _NONE
