"""A progress bar that waits for its turn to be drawn."""

from qtpy.QtWidgets import QProgressBar


class CalmProgressBar(QProgressBar):
    """Drawn with everything else; Qt's own draws the whole window, canvas and all, in ``setValue``.

    In a window with an OpenGL canvas that takes as long as a frame, and holds up whoever counts.
    """

    def setValue(self, value: int) -> None:
        """Set the value; it is seen when the window is drawn next."""
        self.setUpdatesEnabled(False)
        super().setValue(value)
        self.setUpdatesEnabled(True)
