"""Draws at most ten times a second, and nothing that nobody sees."""

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QWidget

_INTERVAL_MS = 100


class Redraw(QObject):
    """Calls a function that draws on a widget.

    Parameters
    ----------
    widget : QWidget
    draw : callable
        Draws what there is by then.
    """

    def __init__(self, widget: QWidget, draw: Callable[[], None]) -> None:
        super().__init__(widget)
        self._widget, self._draw = widget, draw
        self._is_wanted = False
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_INTERVAL_MS)
        self._pause.timeout.connect(self._go)
        widget.installEventFilter(self)

    def request(self) -> None:
        """Draw now, a little later, or when the widget is shown again."""
        self._is_wanted = True
        self._go()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Make up for what was asked for while the widget was hidden."""
        if event is not None and event.type() == QEvent.Type.Show:
            self._go()
        return super().eventFilter(watched, event)

    def _go(self) -> None:
        if not self._is_wanted or self._pause.isActive() or not self._widget.isVisible():
            return
        self._is_wanted = False
        self._pause.start()
        self._draw()
