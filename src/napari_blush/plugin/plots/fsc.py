"""The Fourier shell correlation of a run: four curves of an iteration, earlier ones fading."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyqtgraph as pg  # type: ignore[import-untyped]
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_blush.conventions import FSC_AGAINST_TRUTH, FSC_GOLD_STANDARD

CURVES = {
    "corrected": ("corrected", "#4fa3ff", 2.5, Qt.PenStyle.SolidLine),
    "unmasked": ("no mask", "#5fbf7f", 1.2, Qt.PenStyle.SolidLine),
    "masked": ("masked", "#e0a64f", 1.2, Qt.PenStyle.SolidLine),
    "phase_randomized": ("randomized", "#d0605e", 1.2, Qt.PenStyle.DashLine),
}
"""Name in ``FscCurves``, then words, colour, width and style."""

LEGEND = ", ".join(
    f'<span style="color: {color}">{words}</span>' for words, color, _, _ in CURVES.values()
)
"""The names of the curves in their colours, above them: inside they would hide something."""

_EARLIER_SHOWN = 8
_HEIGHT = 190
_LOWEST = -0.15


@dataclass(frozen=True, slots=True)
class FscOfIteration:
    """Curves by name, one value per shell, of a box in voxels of so many angstrom."""

    curves: Mapping[str, Sequence[float]]
    voxel_size: float

    def resolution(self, shell: float) -> float:
        """Return the length in angstrom that a shell stands for."""
        n = 2 * (len(self.curves["corrected"]) - 1)
        return n * self.voxel_size / shell if shell > 0 else float("inf")


class ResolutionAxis(pg.AxisItem):  # type: ignore[misc]
    """Counts in reciprocal angstrom and writes angstrom."""

    def tickStrings(self, values: Any, scale: Any, spacing: Any) -> list[str]:
        """Return the labels of ticks."""
        return [resolution_label(float(value)) for value in values]


class FscPlot(pg.PlotWidget):  # type: ignore[misc]
    """A small plot; what is under the mouse is written above it.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        bottom = ResolutionAxis("bottom")
        bottom.enableAutoSIPrefix(False)
        super().__init__(parent, background=None, axisItems={"bottom": bottom})
        self._shown: FscOfIteration | None = None
        self._text, self._caption = "#aaaaaa", ""
        self.setFixedHeight(_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        item = self.getPlotItem()
        item.setMouseEnabled(x=False, y=False)
        item.hideButtons()
        item.setMenuEnabled(False)
        item.setLabel("bottom", "resolution (Å)")
        item.setLabel("left", "FSC")
        item.setYRange(_LOWEST, 1.05, padding=0)
        self._earlier = [item.plot(pen=None) for _ in range(_EARLIER_SHOWN)]
        self.curves = {
            name: item.plot(pen=pg.mkPen(color, width=width, style=style))
            for name, (_, color, width, style) in CURVES.items()
        }
        for level in (FSC_GOLD_STANDARD, FSC_AGAINST_TRUTH):
            line = pg.InfiniteLine(level, angle=0, pen=pg.mkPen("#8888", style=_DOTTED))
            item.addItem(line)
        label = {"position": 0.35, "color": "#b07fe0", "rotateAxis": (1, 0)}
        self.cutoff = pg.InfiniteLine(
            angle=90, pen=pg.mkPen("#b07fe0", width=1.5), label="cut-off", labelOpts=label
        )
        self.cutoff.hide()
        item.addItem(self.cutoff)
        self.scene().sigMouseMoved.connect(lambda position: self._hover(position))

    def sizeHint(self) -> QSize:
        """Return a size that leaves the canvas its room."""
        return QSize(300, _HEIGHT)

    def show_history(
        self, history: Mapping[int, FscOfIteration], cutoff_shell: int | None = None
    ) -> None:
        """Show the last iteration in full, and the corrected curves of those before, faded.

        Parameters
        ----------
        history : mapping of int to FscOfIteration
        cutoff_shell : int, optional
            Where the regularizer of the last references stopped.
        """
        numbers = sorted(history)
        self._shown = history[numbers[-1]] if numbers else None
        for name, curve in self.curves.items():
            curve.setData(*(_points(self._shown, name) if self._shown else ([], [])))
        earlier = numbers[:-1][-_EARLIER_SHOWN:][::-1]
        for age, curve in enumerate(self._earlier):
            if age < len(earlier):
                color = pg.mkColor(CURVES["corrected"][1])
                color.setAlpha(round(150 * (1 - age / _EARLIER_SHOWN)))
                curve.setData(*_points(history[earlier[age]], "corrected"))
                curve.setPen(pg.mkPen(color, width=1))
            else:
                curve.setData([], [])
        self._show_cutoff(cutoff_shell)
        if self._shown is not None:
            self.setXRange(0, _points(self._shown, "corrected")[0][-1], padding=0.01)
        self._caption = f"iteration {numbers[-1]}: {LEGEND}" if numbers else ""
        self._title(self._caption)

    def set_colors(self, text: str, background: str) -> None:
        """Draw in the colours of a theme."""
        self._text = text
        self.setBackground(background)
        for side in ("left", "bottom"):
            axis = self.getPlotItem().getAxis(side)
            axis.setPen(text)
            axis.setTextPen(text)
        self._title(self._caption)

    def readout(self, frequency: float) -> str:
        """Return resolution and curves at a spatial frequency, in words."""
        if self._shown is None or frequency <= 0:
            return ""
        corrected = self._shown.curves["corrected"]
        n_shells = len(corrected) - 1
        shell = round(frequency * 2 * n_shells * self._shown.voxel_size)
        if not 1 <= shell <= n_shells:
            return ""
        values = self._shown.curves
        return (
            f"{self._shown.resolution(shell):.1f} Å: corrected {corrected[shell]:.2f}, "
            f"no mask {values['unmasked'][shell]:.2f}"
        )

    def _show_cutoff(self, shell: int | None) -> None:
        self.cutoff.setVisible(bool(shell) and self._shown is not None)
        if shell and self._shown is not None:
            self.cutoff.setValue(1 / self._shown.resolution(shell))

    def _hover(self, position: Any) -> None:
        if self.sceneBoundingRect().contains(position):
            text = self.readout(self.getPlotItem().vb.mapSceneToView(position).x())
            if text:
                self._title(text)

    def _title(self, text: str) -> None:
        self.getPlotItem().setTitle(text or None, size="7pt", color=self._text)


_DOTTED = Qt.PenStyle.DotLine


def resolution_label(frequency: float) -> str:
    """Return a spatial frequency (1/angstrom) as a length, ``∞`` at zero."""
    if frequency <= 0:
        return "∞"
    length = 1 / frequency
    return f"{length:.0f}" if length >= 10 else f"{length:.1f}"


def _points(shown: FscOfIteration, name: str) -> tuple[list[float], list[float]]:
    """Return spatial frequencies (1/angstrom) and correlations."""
    values = list(shown.curves[name])
    step = 1 / (2 * (len(values) - 1) * shown.voxel_size)
    return [step * shell for shell in range(len(values))], values
