"""The trailing cut-off as a line that can be dragged, from shell to shell."""

from typing import Any

import pyqtgraph as pg  # type: ignore[import-untyped]
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]

from napari_blush.plugin.plots.axes import length_label
from napari_blush.plugin.plots.curves import FscOfIteration, Limits
from napari_blush.plugin.plots.palette import Palette

_GRIP = 7
"""Width in pixels of what the mouse can take hold of."""


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
        super().__init__(angle=90, movable=True, label="", labelOpts=options)
        self.setZValue(10)
        self.setCursor(Qt.CursorShape.SizeHorCursor)
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

    def place(self, of: FscOfIteration | None, limits: Limits, colors: Palette) -> None:
        """Stand where it is asked to, else where the references end; leave it while it is dragged.

        Parameters
        ----------
        of : FscOfIteration or None
            Whose shells are meant.
        limits : Limits
        colors : Palette
        """
        self._of, self._limits, self._colors = of, limits, colors
        if self.moving and of is not None:
            return
        self.shell = limits.cutoff if limits.asked is None else limits.asked
        if of is None or not self.shell:
            self.shell = None
            self.hide()
            return
        self.setBounds((of.step, of.step * of.n_shells))
        self.setValue(self.shell * of.step)
        self._redraw()
        self.show()

    def _redraw(self) -> None:
        color = self._colors.warning if self.is_unsafe else self._colors.limit
        waits = self.moving or self._limits.asked is not None
        style = Qt.PenStyle.DashLine if waits else Qt.PenStyle.SolidLine
        self.setPen(pg.mkPen(color, width=1.5, style=style))
        self.setHoverPen(pg.mkPen(color, width=_GRIP - 4, style=style))
        self.label.setColor(color)
        self.label.fill = pg.mkBrush(self._colors.background + "d0")
        self.label.setFormat(self.words)

    def _dragged(self) -> None:
        of = self._of
        if of is None:
            return
        shell: Any = of.shell(self.value())
        self.shell = min(max(shell or 1, 1), of.n_shells)
        self.setValue(self.shell * of.step)
        self._redraw()
        self.moved.emit(self.shell)

    def _dropped(self) -> None:
        if self.shell is not None:
            self._redraw()
            self.dropped.emit(self.shell)
