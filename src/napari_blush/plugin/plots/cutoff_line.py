"""The trailing cut-off as a line that can be dragged, from shell to shell."""

from typing import Any

import pyqtgraph as pg  # type: ignore[import-untyped]
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QFont

from napari_blush.plugin.plots.axes import length_label
from napari_blush.plugin.plots.curves import FscOfIteration, Limits
from napari_blush.plugin.plots.figure import Figure
from napari_blush.regularization.spectral_trailing import LEAST_CUTOFF

_POINTS = 8


class CutoffLine(pg.InfiniteLine):  # type: ignore[misc]
    """An upright line at a shell.

    Dashed while it is only asked for, in the warning colour where it is finer than the data vouch
    for.

    Signals: ``moved(shell)`` while it is dragged, ``dropped(shell)`` at the end.
    """

    moved = Signal(int)
    dropped = Signal(int)

    def __init__(self) -> None:
        options = {"position": 0.5, "rotateAxis": (1, 0), "movable": False}
        super().__init__(angle=90, label="", labelOpts=options)
        font = QFont()
        font.setPointSize(_POINTS)
        self.label.setFont(font)
        self.setZValue(10)
        self.shell: int | None = None
        self._of: FscOfIteration | None = None
        self._limits = Limits()
        self.hide()
        self.sigDragged.connect(lambda _: self._dragged())
        self.sigPositionChangeFinished.connect(lambda _: self._dropped())

    @property
    def is_unsafe(self) -> bool:
        """Whether it stands finer than the automatic cut-off."""
        automatic = self._limits.automatic
        return self.shell is not None and automatic is not None and self.shell > automatic

    @property
    def words(self) -> str:
        """What is written along it."""
        if self.shell is None or self._of is None:
            return ""
        if self._limits.asked is None and not self.moving and not self.is_unsafe:
            return "cut-off"
        unsafe = " unsafe" if self.is_unsafe else ""
        return f"{length_label(self._of.resolution(self.shell))} Å{unsafe}"

    def place(self, of: FscOfIteration | None, limits: Limits, figure: Figure) -> None:
        """Stand where it is asked to, else where the references end; leave it while it is dragged.

        Parameters
        ----------
        of : FscOfIteration or None
            Whose shells are meant.
        limits : Limits
        figure : Figure
            Whose colours and pens are used.
        """
        self._of, self._limits, self._figure = of, limits, figure
        if self.moving and of is not None:
            return
        self.shell = limits.cutoff if limits.asked is None else limits.asked
        if of is None or not self.shell:
            self.shell = None
            self.hide()
            return
        self.setBounds((of.step * LEAST_CUTOFF, of.step * of.n_shells))
        self.setValue(self.shell * of.step)
        self.show()  # before it is written on: a hidden line keeps its old words
        self._redraw()

    def let_drag(self, allowed: bool) -> None:
        """Follow the mouse, or not."""
        self.setMovable(allowed)
        self.setCursor(Qt.CursorShape.SizeHorCursor if allowed else Qt.CursorShape.ArrowCursor)

    def _redraw(self) -> None:
        colors, pen = self._figure.colors, self._figure.pen
        color = colors.warning if self.is_unsafe else colors.limit
        waits = self.moving or self._limits.asked is not None
        style = Qt.PenStyle.DashLine if waits else Qt.PenStyle.SolidLine
        self.setPen(pen(color, width=1.5, style=style))
        self.setHoverPen(pen(color, width=3, style=style))
        self.label.setColor(color)
        self.label.fill = pg.mkBrush(colors.background + "a0")
        self.label.setFormat(self.words)

    def _dragged(self) -> None:
        of = self._of
        if of is None:
            return
        shell: Any = of.shell(self.value())
        self.shell = of.n_shells if shell is None else min(max(shell, LEAST_CUTOFF), of.n_shells)
        self.setValue(self.shell * of.step)
        self._redraw()
        self.moved.emit(self.shell)

    def _dropped(self) -> None:
        if self.shell is not None:
            self._redraw()
            self.dropped.emit(self.shell)
