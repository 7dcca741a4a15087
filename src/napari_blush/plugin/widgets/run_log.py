"""What a run has said, in a few lines that take no room while there are none."""

from qtpy.QtWidgets import QPlainTextEdit, QWidget

_LINES_KEPT = 300
_HEIGHT = 64


class RunLog(QPlainTextEdit):
    """Read only; hidden while it is empty.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setReadOnly(True)
        self.setMaximumBlockCount(_LINES_KEPT)
        self.setFixedHeight(_HEIGHT)
        self.setToolTip("What the run has said")
        self.textChanged.connect(lambda: self.setHidden(not self.toPlainText()))
        self.hide()
