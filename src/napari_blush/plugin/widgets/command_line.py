"""The line for a shell that starts the same run, and a button that copies it."""

from qtpy.QtWidgets import QApplication, QHBoxLayout, QLineEdit, QPushButton, QWidget


class CommandLine(QWidget):
    """Read only; empty while there is nothing to start.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._line = QLineEdit()
        self._line.setReadOnly(True)
        self._line.setPlaceholderText("Command line: once all is entered")
        self._line.setToolTip("The same run from a shell")
        self.copy = QPushButton("Copy")
        self.copy.setToolTip("Copy the command line")
        self.copy.clicked.connect(lambda: self._copy())
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._line)
        row.addWidget(self.copy)
        self.set_text("")

    def text(self) -> str:
        """Return the line."""
        return self._line.text()

    def set_text(self, text: str) -> None:
        """Show a line from its beginning."""
        self._line.setText(text)
        self._line.setCursorPosition(0)
        self.copy.setEnabled(bool(text))

    def _copy(self) -> None:
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self.text())
