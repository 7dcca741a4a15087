"""What all plots share: a caption, strips above one another along one axis, colours, the mouse."""

from collections.abc import Sequence
from typing import Any

import pyqtgraph as pg  # type: ignore[import-untyped]
from qtpy.QtCore import QEvent, QSize, Qt
from qtpy.QtGui import QFont
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_blush.plugin.plots.palette import Palette, palette

_POINTS = 7
_LEFT = 36
_DROP = 4
"""Pixels from the top of a strip to its name: a line may run along the top."""
_HEIGHT = 186


class Caption(pg.LabelItem):  # type: ignore[misc]
    """A line of text that may be wider than its plot without making it wider."""

    def updateMin(self) -> None:
        """Ask for height only."""
        self.setMinimumHeight(self.itemRect().height())
        self.setMinimumWidth(0)


class Figure(pg.GraphicsLayoutWidget):  # type: ignore[misc]
    """Strips with a common axis below; what is under the mouse is written above them.

    Parameters
    ----------
    bottom : pyqtgraph.AxisItem
        Of the lowest strip; those above have none.
    left : sequence of pyqtgraph.AxisItem
        One for each strip, from the top.
    label : str
        Of the common axis.
    parent : QWidget, optional
    """

    def __init__(
        self, bottom: Any, left: Sequence[Any], label: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.colors: Palette = palette("#f0f1f2", "#23242b")
        self.line_scale = 1
        self._at_rest = ""
        self._names: list[Any] = []
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(_HEIGHT)
        layout = self.ci.layout
        layout.setContentsMargins(2, 0, 6, 0)
        layout.setVerticalSpacing(0)
        self.caption = Caption("", justify="left")
        self.ci.addItem(self.caption, row=0, col=0)
        below = [None] * (len(left) - 1) + [bottom]
        self.strips = [
            self._strip(row, *axes) for row, axes in enumerate(zip(left, below, strict=True))
        ]
        for strip in self.strips[:-1]:
            strip.setXLink(self.strips[-1])
        bottom.setLabel(label, **{"font-size": f"{_POINTS}pt"})
        bottom.setHeight(30)
        self.scene().sigMouseMoved.connect(lambda position: self._moved(position))
        self.scene().sigMouseClicked.connect(lambda event: self._clicked(event))

    def sizeHint(self) -> QSize:
        """Return a size that leaves the canvas its room."""
        return QSize(300, _HEIGHT)

    def set_colors(self, text: str, background: str) -> None:
        """Draw in the colours of a theme."""
        self.colors = palette(text, background)
        self.setBackground(background)
        for strip in self.strips:
            for side in ("left", "bottom"):
                axis = strip.getAxis(side)
                axis.setPen(self.pen(self.colors.quiet))
                axis.setTextPen(text)
        for name in self._names:
            name.setText(name.text, color=self.colors.quiet)
        self.recolor()
        self.write(self._at_rest)

    def pen(self, color: Any, width: float = 1, style: Qt.PenStyle = Qt.PenStyle.SolidLine) -> Any:
        """Return a pen, ``width`` in pixels of the screen."""
        return pg.mkPen(color, width=width * self.line_scale, style=style)

    def recolor(self) -> None:
        """Draw what is shown in ``colors``."""

    def rest(self, text: str) -> None:
        """Set what is written while the mouse is elsewhere (HTML)."""
        self._at_rest = text
        self.write(text)

    def write(self, text: str) -> None:
        """Write above the strips (HTML)."""
        self.caption.setText(text or "&nbsp;", size=f"{_POINTS}pt", color=self.colors.text)

    def readout(self, x: float) -> str:
        """Return in words what is at ``x``, empty for nothing."""
        return ""

    def choose_at(self, x: float, y: float, strip: int) -> None:
        """Hear a click at a point of a strip."""

    def table(self) -> tuple[Sequence[str], list[Sequence[Any]]]:
        """Return the numbers that are drawn: names of columns, and lines."""
        return (), []

    def name_strip(self, strip: Any, words: str, *, is_below: bool = False) -> None:
        """Write what a strip shows into its upper or lower left corner."""
        label = pg.LabelItem(words, size=f"{_POINTS}pt", justify="left")
        label.setParentItem(strip.vb)
        corner = (0, int(is_below))
        label.anchor(corner, corner, offset=(4, 2 if is_below else _DROP))
        self._names.append(label)

    def pixel_size(self, strip: int = 0) -> tuple[float, float]:
        """Return how much of ``x`` and of ``y`` one pixel is."""
        width, height = self.strips[strip].vb.viewPixelSize()
        return float(width), float(height)

    def leaveEvent(self, event: QEvent | None) -> None:
        """Write again what is written at rest."""
        self.write(self._at_rest)
        super().leaveEvent(event)

    def _strip(self, row: int, left: Any, bottom: Any | None) -> Any:
        axes = {"left": left} if bottom is None else {"left": left, "bottom": bottom}
        strip = pg.PlotItem(axisItems=axes)
        self.ci.addItem(strip, row=row + 1, col=0)
        strip.showAxis("bottom", bottom is not None)
        strip.setMouseEnabled(x=False, y=False)
        strip.hideButtons()
        strip.setMenuEnabled(False)
        font = QFont()
        font.setPointSize(_POINTS)
        for axis in axes.values():
            axis.setStyle(tickFont=font, tickTextOffset=2, tickLength=-4)
        left.setWidth(_LEFT)
        return strip

    def _strip_at(self, position: Any) -> int | None:
        for number, strip in enumerate(self.strips):
            if strip.vb.sceneBoundingRect().contains(position):
                return number
        return None

    def _moved(self, position: Any) -> None:
        number = self._strip_at(position)
        if number is None:
            self.write(self._at_rest)
            return
        text = self.readout(self.strips[number].vb.mapSceneToView(position).x())
        self.write(text or self._at_rest)

    def _clicked(self, event: Any) -> None:
        number = self._strip_at(event.scenePos())
        if number is not None:
            point = self.strips[number].vb.mapSceneToView(event.scenePos())
            self.choose_at(point.x(), point.y(), number)


def colored(words: str, color: str) -> str:
    """Return words in a colour (HTML)."""
    return f'<span style="color: {color}">{words}</span>'
