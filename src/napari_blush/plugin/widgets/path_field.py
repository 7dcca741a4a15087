"""A file or folder: typed, browsed for, dropped, or taken from a layer that was read from it."""

from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QMenu, QToolButton, QWidget


class Wanted(Enum):
    """What a path should name."""

    FILE = "file"
    FOLDER = "folder"


class PathField(QWidget):
    """A line for a path, with a button to browse and to take a layer's file.

    Parameters
    ----------
    wanted : Wanted
    pattern : str
        What the dialog shows, as Qt writes it: ``"Maps (*.mrc *.map)"``.
    layers : callable, optional
        Returns the layers whose files are offered.
    parent : QWidget, optional
    """

    changed = Signal()

    def __init__(
        self,
        wanted: Wanted,
        pattern: str = "",
        layers: Callable[[], Iterable[Any]] = tuple,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._wanted, self._pattern, self._layers = wanted, pattern, layers
        self.line = QLineEdit()
        self.line.setPlaceholderText("drop here, or browse")
        self.line.setAcceptDrops(False)
        self.line.textChanged.connect(lambda _: self.changed.emit())
        self.setAcceptDrops(True)
        self._menu = QMenu(self)
        self._menu.aboutToShow.connect(lambda: self._fill_menu())
        button = QToolButton()
        button.setText("…")
        button.setToolTip("Browse, or take the file of a layer")
        button.setMenu(self._menu)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)
        button.clicked.connect(lambda: self._browse())
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line)
        layout.addWidget(button)

    def value(self) -> Path | None:
        """Return the path, None where nothing is entered."""
        text = self.line.text().strip()
        return Path(text).expanduser() if text else None

    def set_value(self, path: Path | None) -> None:
        """Enter a path."""
        self.line.setText("" if path is None else str(path))

    def problem(self) -> str:
        """Return what is wrong with what is entered, as a sentence; empty when nothing is."""
        path = self.value()
        if path is None or self._wanted is Wanted.FOLDER or path.is_file():
            return ""
        return f"{path} is not there."

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Take files and folders."""
        if event is not None and _dropped(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Enter what was dropped."""
        if event is not None:
            self.set_value(_dropped(event))

    def _browse(self) -> None:
        start = str(self.value() or "")
        if self._wanted is Wanted.FOLDER:
            chosen = QFileDialog.getExistingDirectory(self, "Choose a folder", start)
        else:
            chosen, _ = QFileDialog.getOpenFileName(self, "Choose a file", start, self._pattern)
        if chosen:
            self.set_value(Path(chosen))

    def _fill_menu(self) -> None:
        self._menu.clear()
        for layer in self._layers():
            path = layer.metadata.get("path")
            if path:
                action = self._menu.addAction(f"Layer {layer.name}")
                if action is not None:
                    action.triggered.connect(lambda _, path=path: self.set_value(Path(path)))
        if self._menu.isEmpty():
            action = self._menu.addAction("No layer that was read from a file")
            if action is not None:
                action.setEnabled(False)


def _dropped(event: QDropEvent) -> Path | None:
    data = event.mimeData()
    urls = [] if data is None else data.urls()
    return Path(urls[0].toLocalFile()) if urls and urls[0].isLocalFile() else None
