"""What the denoiser touched: amplitude and phase of denoised maps against raw ones, by shell."""

import math
from collections.abc import Sequence
from typing import Any

import pyqtgraph as pg  # type: ignore[import-untyped]
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from napari_blush.plugin.plots.axes import length_label, resolution_axis
from napari_blush.plugin.plots.figure import Figure, colored
from napari_blush.plugin.touched import TouchedByDenoiser

NOTHING = "nothing was denoised"
_HIGHEST_RATIO = 2.0
_NO_RELATION = 90.0


class DenoiserPlot(Figure):
    """Two strips over the resolution; what aligns nothing is grey.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        left = [pg.AxisItem("left"), pg.AxisItem("left")]
        left[0].setTicks([[(value, f"{value:g}") for value in (0, 0.5, 1, 1.5, 2)]])
        left[1].setTicks([[(value, f"{value:g}") for value in (0, 45, 90, 135)]])
        super().__init__(resolution_axis("bottom"), left, "resolution (Å)", parent)
        self.found: TouchedByDenoiser | None = None
        self._levels = [pg.InfiniteLine(level, angle=0) for level in (1.0, _NO_RELATION)]
        self.unused = [pg.LinearRegionItem(movable=False, pen=pg.mkPen(None)) for _ in left]
        names = ("amplitude ratio", "phase change (°)")
        for strip, name, level in zip(self.strips, names, self._levels, strict=True):
            strip.addItem(level, ignoreBounds=True)
            self.name_strip(strip, name, is_below=strip is self.strips[0])
        self.curves = [strip.plot(connect="finite") for strip in self.strips]
        for strip, zone in zip(self.strips, self.unused, strict=True):
            zone.setZValue(5)  # above the curves, which it dims
            strip.addItem(zone, ignoreBounds=True)
        self.recolor()

    def show_touched(self, found: TouchedByDenoiser | None) -> None:
        """Show the shells of an iteration; None empties the plot."""
        self.found = found
        self.recolor()

    def recolor(self) -> None:
        """Draw all in the colours of the theme."""
        if not hasattr(self, "curves"):
            return
        colors, found = self.colors, self.found
        for line in self._levels:
            line.setPen(self.pen(colors.quiet, style=Qt.PenStyle.DotLine))
        values = ((), ()) if found is None else (found.amplitude_ratio, found.phase_change_deg)
        for curve, of_shells, color in zip(
            self.curves, values, (colors.first, colors.third), strict=True
        ):
            x = [] if found is None else [self._frequency(s) for s in range(len(of_shells))]
            curve.setData(x, list(of_shells))
            curve.setPen(self.pen(color, width=1.8))
        for strip, shells, least in zip(self.strips, values, (1.0, _NO_RELATION), strict=True):
            highest = max([least, *(value for value in shells if math.isfinite(value))])
            highest = min(highest, _HIGHEST_RATIO * least)
            strip.setYRange(-0.08 * highest, 1.12 * highest, padding=0)
        self._draw_zone()
        self.rest(self._legend())

    def readout(self, x: float) -> str:
        """Return both values of the shell at a spatial frequency, in words."""
        found = self.found
        if found is None:
            return ""
        n_shells = len(found.amplitude_ratio) - 1
        shell = round(x * 2 * n_shells * found.voxel_size)
        if not 1 <= shell <= n_shells:
            return ""
        phase = found.phase_change_deg[shell]
        turned = f"{phase:.0f}°" if math.isfinite(phase) else "–"
        cutoff = found.cutoff_shell
        unused = "; beyond the cut-off" if cutoff is not None and shell > cutoff else ""
        length = length_label(1 / self._frequency(shell))
        return f"{length} Å: amplitude × {found.amplitude_ratio[shell]:.2f}, phase {turned}{unused}"

    def table(self) -> tuple[Sequence[str], list[Sequence[Any]]]:
        """Return names of columns, and a line for each shell."""
        columns = (
            *("iteration", "shell", "resolution_angstrom", "amplitude_ratio", "phase_change_deg"),
            "used",
        )
        found = self.found
        if found is None:
            return columns, []
        cutoff = math.inf if found.cutoff_shell is None else found.cutoff_shell
        values = zip(found.amplitude_ratio, found.phase_change_deg, strict=True)
        rows: list[Sequence[Any]] = [
            [found.iteration, shell, 1 / self._frequency(shell), *both, int(shell <= cutoff)]
            for shell, both in enumerate(values)
            if shell
        ]
        return columns, rows

    def _frequency(self, shell: float) -> float:
        if self.found is None:
            return 0.0
        return shell / (2 * (len(self.found.amplitude_ratio) - 1) * self.found.voxel_size)

    def _draw_zone(self) -> None:
        found = self.found
        last = 0 if found is None else len(found.amplitude_ratio) - 1
        if found is not None:
            self.strips[-1].setXRange(0, self._frequency(last), padding=0.01)
        cutoff = None if found is None else found.cutoff_shell
        dim = pg.mkColor(self.colors.background)
        dim.setAlpha(170)
        for zone in self.unused:
            zone.setVisible(cutoff is not None and cutoff < last)
            zone.setBrush(pg.mkBrush(dim))
            if cutoff is not None:
                zone.setRegion((self._frequency(cutoff), self._frequency(1.05 * last)))

    def _legend(self) -> str:
        if self.found is None:
            return NOTHING
        first = colored("amplitude", self.colors.first)
        second = colored("phase", self.colors.third)
        return f"iteration {self.found.iteration}, denoised against raw: {first}, {second}"
