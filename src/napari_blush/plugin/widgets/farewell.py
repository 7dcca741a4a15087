"""Tells a dock that it is being left: with its window, by itself, or taken out of its place."""

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QWidget


class Farewell(QObject):
    """Watches a dock, and the window that it is in.

    Parameters
    ----------
    dock : QWidget
    may_close : callable
        Asked before the window closes; a false answer keeps it open.
    leave : callable
        Called when the dock is left, perhaps more than once, and while its widgets are there.
    gone : callable
        Called when the dock was taken away with all its widgets.
    """

    def __init__(
        self,
        dock: QWidget,
        may_close: Callable[[], bool],
        leave: Callable[[], None],
        gone: Callable[[], None],
    ) -> None:
        super().__init__(dock)
        self._dock, self._may_close, self._leave = dock, may_close, leave
        self._was_docked = False
        dock.installEventFilter(self)
        dock.destroyed.connect(lambda *_: gone())

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Ask before the window closes; leave when it does, or when the dock goes."""
        kind = None if event is None else event.type()
        if watched is self._dock:
            if kind == QEvent.Type.Close:
                self._leave()
            elif kind == QEvent.Type.ParentChange:
                QTimer.singleShot(0, self._look_for_a_place)
            elif kind == QEvent.Type.Show:
                self._watch_the_window()
        elif kind == QEvent.Type.Close and watched is self._dock.window():
            if not self._may_close():
                if event is not None:
                    event.ignore()
                return True
            self._leave()
        return super().eventFilter(watched, event)

    def _watch_the_window(self) -> None:
        window = self._dock.window()
        if window is not None and window is not self._dock:
            window.installEventFilter(self)

    def _look_for_a_place(self) -> None:
        """Napari's own cross takes the widget out of its dock, and closes nothing."""
        has_place = self._dock.parentWidget() is not None
        if self._was_docked and not has_place:
            self._leave()
        self._was_docked = has_place
