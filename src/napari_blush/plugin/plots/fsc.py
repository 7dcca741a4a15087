"""The Fourier shell correlation of a run: four curves of an iteration, the others fading."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg  # type: ignore[import-untyped]
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QWidget

from napari_blush.conventions import FSC_AGAINST_TRUTH, FSC_GOLD_STANDARD
from napari_blush.plugin.plots.axes import length_label, resolution_axis
from napari_blush.plugin.plots.curves import FscOfIteration, Limits
from napari_blush.plugin.plots.cutoff_line import CutoffLine
from napari_blush.plugin.plots.figure import Figure, colored

CURVES = {
    "corrected": ("corrected", "first", 2.5, Qt.PenStyle.SolidLine),
    "unmasked": ("no mask", "second", 1.2, Qt.PenStyle.SolidLine),
    "masked": ("masked", "third", 1.2, Qt.PenStyle.SolidLine),
    "phase_randomized": ("randomized", "fourth", 1.2, Qt.PenStyle.DashLine),
}
"""Name in ``FscCurves``, then words, colour of the palette, width and style."""

_OTHERS_SHOWN = 8
_LOWEST = -0.15
_REACH = 7
"""Pixels within which a click means a curve."""


class FscPlot(Figure):
    """A small plot; what is under the mouse is written above it.

    Signals: ``iteration_chosen(int)`` when a faded curve is clicked, ``cutoff_dragged(int)`` with
    the shell at which the cut-off was dropped.

    Parameters
    ----------
    parent : QWidget, optional
    """

    iteration_chosen = Signal(int)
    cutoff_dragged = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        left = pg.AxisItem("left")
        super().__init__(resolution_axis("bottom"), [left], "resolution (Å)", parent)
        self.shown: int | None = None
        self._history: Mapping[int, FscOfIteration] = {}
        self._limits = Limits()
        strip = self.strips[0]
        left.setTicks([[(level, f"{level:g}") for level in (0, FSC_GOLD_STANDARD, 0.5, 1)]])
        strip.setYRange(_LOWEST, 1.05, padding=0)
        self._beyond = pg.LinearRegionItem(movable=False, pen=pg.mkPen(None))
        self._levels = [
            pg.InfiniteLine(level, angle=0) for level in (FSC_GOLD_STANDARD, FSC_AGAINST_TRUTH)
        ]
        self.automatic = pg.InfiniteLine(angle=90)
        for item in (self._beyond, *self._levels, self.automatic):
            strip.addItem(item, ignoreBounds=True)
        self._others: dict[int, pg.PlotDataItem] = {}
        self._faded = [strip.plot(pen=None) for _ in range(_OTHERS_SHOWN)]
        self.curves = {name: strip.plot() for name in CURVES}
        self.curves["corrected"].setZValue(1)
        self.beside = strip.plot()
        self._of_beside: FscOfIteration | None = None
        self._name_beside = ""
        self.cutoff = CutoffLine()
        self.cutoff.moved.connect(lambda shell: self.write(self.words_of_cutoff(shell)))
        self.cutoff.dropped.connect(self.cutoff_dragged)
        strip.addItem(self.cutoff, ignoreBounds=True)
        self.recolor()

    def show_history(
        self,
        history: Mapping[int, FscOfIteration],
        limits: Limits | None = None,
        shown: int | None = None,
    ) -> None:
        """Show an iteration in full, and the corrected curves of those nearest to it, faded.

        Parameters
        ----------
        history : mapping of int to FscOfIteration
        limits : Limits, optional
            Where the last references end, and could.
        shown : int, optional
            The last one when not given, or not there.
        """
        self._history, self._limits = history, limits or Limits()
        self.shown = shown if shown in history else max(history, default=None)
        self.recolor()
        of = self._of_shown()
        if of is not None:
            self.strips[0].setXRange(0, of.n_shells * of.step, padding=0.01)

    def show_beside(self, name: str, of: FscOfIteration | None) -> None:
        """Show the corrected curve of another run as well, None for none; drawn with the rest."""
        self._name_beside, self._of_beside = name, of

    def let_drag(self, allowed: bool) -> None:
        """Let the cut-off be dragged, or not."""
        self.cutoff.let_drag(allowed)

    def recolor(self) -> None:
        """Draw all in the colours of the theme."""
        if not hasattr(self, "curves"):
            return
        colors, of = self.colors, self._of_shown()
        for name, curve in self.curves.items():
            _, color, width, style = CURVES[name]
            curve.setPen(self.pen(getattr(colors, color), width=width, style=style))
            curve.setData(*(_points(of, name) if of else ([], [])))
        other = self._of_beside
        self.beside.setData(*(_points(other, "corrected") if other else ([], [])))
        self.beside.setPen(self.pen(colors.text, 1.4, Qt.PenStyle.DashDotLine))
        self._draw_others()
        for line in self._levels:
            line.setPen(self.pen(colors.quiet, style=Qt.PenStyle.DotLine))
        self._draw_limits(of)
        legend = ", ".join(
            colored(words, getattr(colors, color)) for words, color, _, _ in CURVES.values()
        )
        if other is not None:
            legend += f", {self._name_beside}"
        self.rest("" if of is None else f"iteration {self.shown}: {legend}")

    def readout(self, x: float) -> str:
        """Return resolution and curves at a spatial frequency, in words."""
        of = self._of_shown()
        shell = None if of is None else of.shell(x)
        if of is None or shell is None:
            return ""
        values = ", ".join(
            f"{words} {of.curves[name][shell]:.2f}" for name, (words, *_) in CURVES.items()
        )
        nyquist = self._limits.nyquist
        beyond = "; beyond the denoiser" if nyquist is not None and shell > nyquist else ""
        return f"{length_label(of.resolution(shell))} Å: {values}{beyond}"

    def words_of_cutoff(self, shell: int) -> str:
        """Return what a cut-off at a shell would mean, in words."""
        of, automatic = self._of_shown(), self._limits.automatic
        if of is None:
            return ""
        text = f"cut-off {length_label(of.resolution(shell))} Å from the next iteration on"
        if automatic is None:
            return text
        if shell > automatic:
            return f"{text}: unsafe, finer than the data vouch for"
        if shell == automatic:
            return f"{text}: automatic"
        return f"{text}; automatic: {length_label(of.resolution(automatic))} Å"

    def choose_at(self, x: float, y: float, strip: int) -> None:
        """Choose the iteration whose faded curve passes by."""
        found = self.iteration_at(x, y)
        if found is not None:
            self.iteration_chosen.emit(found)

    def iteration_at(self, x: float, y: float) -> int | None:
        """Return the iteration whose faded curve is nearest to a point, None when none is near."""
        _, per_pixel = self.pixel_size()
        distances = {}
        for number in self._others:
            frequencies, values = _points(self._history[number], "corrected")
            distances[number] = abs(float(np.interp(x, frequencies, values)) - y) / per_pixel
        nearest = min(distances, key=distances.__getitem__, default=None)
        return nearest if nearest is not None and distances[nearest] <= _REACH else None

    def table(self) -> tuple[Sequence[str], list[Sequence[Any]]]:
        """Return names of columns, and a line for each shell of each iteration."""
        columns = ("iteration", "shell", "resolution_angstrom", *(f"fsc_{name}" for name in CURVES))
        rows: list[Sequence[Any]] = [
            [number, shell, of.resolution(shell), *(of.curves[name][shell] for name in CURVES)]
            for number, of in sorted(self._history.items())
            for shell in range(1, of.n_shells + 1)
        ]
        return columns, rows

    def _of_shown(self) -> FscOfIteration | None:
        return None if self.shown is None else self._history.get(self.shown)

    def _draw_others(self) -> None:
        shown = self.shown or 0
        others = sorted(
            (number for number in self._history if number != self.shown),
            key=lambda number: (abs(number - shown), -number),
        )[:_OTHERS_SHOWN]
        self._others = dict(zip(others, self._faded, strict=False))
        for age, curve in enumerate(self._faded):
            if age < len(others):
                color = pg.mkColor(self.colors.first)
                color.setAlpha(round(150 * (1 - age / _OTHERS_SHOWN)))
                curve.setData(*_points(self._history[others[age]], "corrected"))
                curve.setPen(self.pen(color))
            else:
                curve.setData([], [])

    def _draw_limits(self, of: FscOfIteration | None) -> None:
        limits, colors = self._limits, self.colors
        self.cutoff.place(of, limits, self)
        automatic = limits.automatic
        is_apart = of is not None and automatic and self.cutoff.shell != automatic
        self.automatic.setVisible(bool(is_apart))
        self.automatic.setPen(self.pen(colors.limit, width=1, style=Qt.PenStyle.DotLine))
        nyquist = math.inf if limits.nyquist is None else limits.nyquist
        is_inside = of is not None and nyquist < of.n_shells
        self._beyond.setVisible(is_inside)
        hatch = pg.mkColor(colors.quiet)
        hatch.setAlpha(110)
        self._beyond.setBrush(pg.mkBrush(hatch))
        self._beyond.brush.setStyle(Qt.BrushStyle.BDiagPattern)
        if of is not None and is_apart:
            self.automatic.setValue((automatic or 0) * of.step)
        if of is not None and is_inside:
            self._beyond.setRegion((nyquist * of.step, 1.05 * of.n_shells * of.step))


def _points(of: FscOfIteration, name: str) -> tuple[list[float], list[float]]:
    """Return spatial frequencies (1/angstrom) and correlations."""
    values = list(of.curves[name])
    return [of.step * shell for shell in range(len(values))], values
