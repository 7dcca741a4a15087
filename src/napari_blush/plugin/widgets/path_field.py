"""A file or folder: typed, browsed for, dropped, or taken from a layer.

A layer stands for the file that it was read from, or, where that is wanted, for itself as it is
now: it has no file then, and whoever asks for the value writes one.
"""

import re
import weakref
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QMenu, QToolButton, QWidget
from superqt.utils import signals_blocked


class Wanted(Enum):
    """What a path should name."""

    FILE = "file"
    FOLDER = "folder"


_BUTTON_WIDTH = 36
_AS_SHOWN = "Layer as it is now: "


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
    check : callable, optional
        Says what is wrong with a file that is there, as a sentence; empty when nothing is.
    takes_layers : bool
        Offer layers of maps as they are now as well.
    """

    changed = Signal()

    def __init__(
        self,
        wanted: Wanted,
        pattern: str = "",
        layers: Callable[[], Iterable[Any]] = tuple,
        parent: QWidget | None = None,
        *,
        check: Callable[[Path], str] = lambda _: "",
        takes_layers: bool = False,
    ) -> None:
        super().__init__(parent)
        self._wanted, self._pattern, self._layers = wanted, pattern, layers
        self._check, self._takes_layers = check, takes_layers
        self._layer: Callable[[], Any] | None = None
        self.line = QLineEdit()
        self.line.setPlaceholderText("drop here, or browse")
        self.line.setAcceptDrops(False)
        self.line.textChanged.connect(lambda _: self._typed())
        self.setAcceptDrops(True)
        self._menu = QMenu(self)
        self._menu.aboutToShow.connect(lambda: self._fill_menu())
        button = QToolButton()
        button.setText("…")
        button.setToolTip("Browse, or take the file of a layer")
        button.setMenu(self._menu)
        button.setMinimumWidth(_BUTTON_WIDTH)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)
        button.clicked.connect(lambda: self._browse())
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line)
        layout.addWidget(button)

    def value(self) -> Path | None:
        """Return the path, None where nothing is entered or a layer is chosen."""
        if self._layer is not None:
            return None
        text = self.line.text().strip()
        return Path(text).expanduser() if text else None

    def set_value(self, path: Path | None) -> None:
        """Enter a path."""
        self.line.setText("" if path is None else str(path))

    def layer(self) -> Any:
        """Return the layer that is chosen as it is now, None where there is none or it is gone."""
        return None if self._layer is None else self._layer()

    def set_layer(self, layer: Any) -> None:
        """Choose a layer as it is now."""
        with signals_blocked(self.line):
            self.line.setText(f"{_AS_SHOWN}{layer.name}")
        # The viewer may drop the layer; this field must not keep it.
        self._layer = weakref.ref(layer)
        self.changed.emit()

    def problem(self) -> str:
        """Return what is wrong with what is entered, as a sentence; empty when nothing is."""
        if self._layer is not None:
            return "" if self.layer() is not None else "The layer is no longer there."
        path = self.value()
        if path is None or self._wanted is Wanted.FOLDER:
            return ""
        return self._check(path) if path.is_file() else f"{path} is not there."

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Take files and folders."""
        if event is not None and _dropped(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Enter what was dropped."""
        if event is not None:
            self.set_value(_dropped(event))

    def _typed(self) -> None:
        self._layer = None
        self.changed.emit()

    def _browse(self) -> None:
        start = str(self.value() or "")
        if self._wanted is Wanted.FOLDER:
            chosen = QFileDialog.getExistingDirectory(self, "Choose a folder", start)
        else:
            chosen, _ = QFileDialog.getOpenFileName(self, "Choose a file", start, self._pattern)
        if chosen:
            self.set_value(Path(chosen))

    def _fits(self, path: Path) -> bool:
        patterns = re.findall(r"\*(\.\w+)", self._pattern)
        return not patterns or path.suffix.lower() in patterns

    def _fill_menu(self) -> None:
        self._menu.clear()
        for layer in self._layers():
            path = layer.metadata.get("path")
            if path and self._fits(Path(path)):
                action = self._menu.addAction(f"File of {layer.name}")
                if action is not None:
                    action.triggered.connect(lambda _, path=path: self.set_value(Path(path)))
            if self._takes_layers and is_map_layer(layer):
                action = self._menu.addAction(f"{_AS_SHOWN}{layer.name}")
                if action is not None:
                    action.triggered.connect(lambda _, layer=layer: self.set_layer(layer))
        if self._menu.isEmpty():
            action = self._menu.addAction("No layer that fits")
            if action is not None:
                action.setEnabled(False)


def is_map_layer(layer: Any) -> bool:
    """Return whether a layer holds a cube of grey values or labels."""
    shape = tuple(getattr(layer.data, "shape", ()))
    is_volume = len(shape) == 3 and len(set(shape)) == 1
    return is_volume and type(layer).__name__ in ("Image", "Labels")


def _dropped(event: QDropEvent) -> Path | None:
    data = event.mimeData()
    urls = [] if data is None else data.urls()
    return Path(urls[0].toLocalFile()) if urls and urls[0].isLocalFile() else None
