"""Docks of ours behind tabs in one place: one above the other, neither could be read."""

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

_OURS = "napari_blush."


class Tabbed(QObject):
    """Puts a dock into the place of another one of ours when it is first seen; later it may move.

    Parameters
    ----------
    dock : QWidget
    """

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self._dock = dock
        dock.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Look for a place once."""
        if event is not None and event.type() == QEvent.Type.Show:
            self._dock.removeEventFilter(self)
            # napari is still arranging its docks.
            QTimer.singleShot(0, self._join)
        return super().eventFilter(watched, event)

    def _join(self) -> None:
        window, place = self._dock.window(), self._dock.parentWidget()
        while place is not None and not isinstance(place, QDockWidget):
            place = place.parentWidget()
        if not isinstance(window, QMainWindow) or place is None or place.isFloating():
            return
        area = window.dockWidgetArea(place)
        for other in window.findChildren(QDockWidget):
            is_there = other is not place and not other.isHidden() and not other.isFloating()
            if is_there and window.dockWidgetArea(other) == area and _is_ours(other):
                window.tabifyDockWidget(other, place)
                place.raise_()
                return


def _is_ours(place: QDockWidget) -> bool:
    return any(type(one).__module__.startswith(_OURS) for one in place.findChildren(QWidget))
