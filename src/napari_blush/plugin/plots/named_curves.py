"""Correlation curves by name over the spatial frequency: what a judgment of maps looked at."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyqtgraph as pg  # type: ignore[import-untyped]
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from napari_blush.plugin.plots.axes import length_label, resolution_axis
from napari_blush.plugin.plots.figure import Figure, colored

_LOWEST = -0.15
_MOST = 6
_LEVELS = 2
_MARKS = 2


class NamedCurves(Figure):
    """A small plot of up to six curves, with levels across and marks upright.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        left = pg.AxisItem("left")
        super().__init__(resolution_axis("bottom"), [left], "resolution (Å)", parent)
        left.setTicks([[(level, f"{level:g}") for level in (0, 0.143, 0.5, 1)]])
        strip = self.strips[0]
        strip.setYRange(_LOWEST, 1.05, padding=0)
        self._curves: Mapping[str, Sequence[float]] = {}
        self._dashed: Sequence[str] = ()
        self._voxel_size = 1.0
        self._lines = [strip.plot() for _ in range(_MOST)]
        self._levels = [pg.InfiniteLine(angle=0) for _ in range(_LEVELS)]
        self._marks = [
            pg.InfiniteLine(angle=90, label="", labelOpts={"position": 0.42, "movable": False})
            for _ in range(_MARKS)
        ]
        for item in (*self._levels, *self._marks):
            item.hide()
            strip.addItem(item, ignoreBounds=True)
        self.recolor()

    def show_curves(
        self,
        curves: Mapping[str, Sequence[float]],
        voxel_size: float,
        *,
        dashed: Sequence[str] = (),
        levels: Sequence[float] = (),
        marks: Mapping[str, float] | None = None,
    ) -> None:
        """Show curves, one value a shell, of a box in voxels of so many angstrom.

        Parameters
        ----------
        curves : mapping of str to sequence of float
        voxel_size : float
        dashed : sequence of str
            Curves that are controls.
        levels : sequence of float
        marks : mapping of str to float
            Shells by name.
        """
        self._curves, self._dashed, self._voxel_size = curves, dashed, voxel_size
        for line, level in zip(self._levels, [*levels, *[None] * _LEVELS], strict=False):
            line.setVisible(level is not None)
            if level is not None:
                line.setValue(level)
        named = [*(marks or {}).items(), *[("", None)] * _MARKS]
        for line, (name, shell) in zip(self._marks, named, strict=False):
            line.setVisible(shell is not None)
            if shell is not None:
                line.setValue(shell * self._step)
                line.label.setFormat(name)
        self.strips[0].setXRange(0, self._n_shells * self._step, padding=0.01)
        self.recolor()

    def recolor(self) -> None:
        """Draw all in the colours of the theme."""
        if not hasattr(self, "_marks"):
            return
        shown = list(self._curves.items())
        for number, line in enumerate(self._lines):
            if number >= len(shown):
                line.setData([], [])
                continue
            name, values = shown[number]
            style = Qt.PenStyle.DashLine if name in self._dashed else Qt.PenStyle.SolidLine
            line.setPen(self.pen(self._color(number), width=1.2 if number else 2.5, style=style))
            line.setData([self._step * shell for shell in range(len(values))], list(values))
        for level in self._levels:
            level.setPen(self.pen(self.colors.quiet, style=Qt.PenStyle.DotLine))
        for mark in self._marks:
            mark.setPen(self.pen(self.colors.limit))
            mark.label.setColor(self.colors.limit)
        self.rest(" · ".join(colored(name, self._color(i)) for i, (name, _) in enumerate(shown)))

    def readout(self, x: float) -> str:
        """Return resolution and curves at a spatial frequency, in words."""
        shell = round(x / self._step)
        if not self._curves or not 1 <= shell <= self._n_shells:
            return ""
        values = ", ".join(
            f"{name} {curve[shell]:.2f}"
            for name, curve in self._curves.items()
            if math.isfinite(curve[shell])
        )
        return f"{length_label(1 / (shell * self._step))} Å: {values}"

    def table(self) -> tuple[Sequence[str], list[Sequence[Any]]]:
        """Return shell, resolution and every curve."""
        lengths = [math.inf, *(1 / (s * self._step) for s in range(1, self._n_shells + 1))]
        columns = [range(self._n_shells + 1), lengths, *self._curves.values()]
        names = ("shell", "resolution_angstrom", *self._curves)
        return names, [tuple(row) for row in zip(*columns, strict=True)]

    @property
    def _n_shells(self) -> int:
        return max((len(values) - 1 for values in self._curves.values()), default=1)

    @property
    def _step(self) -> float:
        return 1 / (2 * self._n_shells * self._voxel_size)

    def _color(self, number: int) -> str:
        c = self.colors
        return (c.first, c.second, c.third, c.fourth, c.limit, c.warning)[number % _MOST]
