"""How the maps of a run are looked at: side by side, one in another's place, which iteration."""

from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QCheckBox, QGridLayout, QHBoxLayout, QLabel, QPushButton, QWidget

_COLUMNS = 3
_HELD = {
    "half1": ("Half map", "H", "Half map 1, raw, as long as you hold the button or the key H"),
    "denoised1": (
        "Denoised", "N",
        "What the network made of it, before the cut-off, while you hold the button or the key N",
    ),
    "reference": (
        "Reference", "U",
        "What is used for alignment, cut off, as long as you hold the button or the key U",
    ),
}  # fmt: skip
"""Text, key and help of the buttons that are held, by role."""


class ViewPanel(QWidget):
    """A few buttons and boxes; seen once there is something to look at.

    Signals: ``side_by_side(bool)``, ``flipped(role, bool)`` while a button is held,
    ``curves_wanted(bool)``, ``orientations_wanted(bool)``, ``contrast_held(bool)``, and
    ``latest_wanted()`` to go on with the run.

    Parameters
    ----------
    parent : QWidget, optional
    """

    side_by_side = Signal(bool)
    flipped = Signal(str, bool)
    curves_wanted = Signal(bool)
    orientations_wanted = Signal(bool)
    contrast_held = Signal(bool)
    latest_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.place = QLabel()
        self.latest = QPushButton("Latest")
        self.latest.setToolTip("Go to the latest iteration, and on with the run")
        self.latest.clicked.connect(lambda _: self.latest_wanted.emit())
        self.held = {role: self._held_button(role) for role in _HELD}
        self.compare = QPushButton("Side by side")
        self.compare.setCheckable(True)
        self.compare.setToolTip(
            "Half maps, denoised map and change in a grid; changing limits or contour of one "
            "changes those of all"
        )
        self.compare.toggled.connect(lambda on: self.side_by_side.emit(on))
        self.curves = self._box(
            "FSC layer", "The curves beside the map, as paths that can be saved"
        )
        self.curves.toggled.connect(lambda on: self.curves_wanted.emit(on))
        self.orientations = self._box(
            "Orientations",
            "Viewing directions on a sphere beside the map, by symmetry: larger where there are "
            "more particles, brighter where their poses are surer",
        )
        self.orientations.toggled.connect(lambda on: self.orientations_wanted.emit(on))
        self.keep = self._box(
            "Hold contrast", "Leave limits and contours as they are when maps change"
        )
        self.keep.toggled.connect(lambda on: self.contrast_held.emit(on))
        self._lay_out()
        self.hide()

    def show_iteration(self, pinned: int | None, latest: int) -> None:
        """Say which iteration is shown, when it is not the latest."""
        self.place.setText("" if pinned is None else f"Iteration {pinned} of {latest} is shown")
        self._row.setVisible(pinned is not None)

    def _lay_out(self) -> None:
        self._row = QWidget()
        row = QHBoxLayout(self._row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.place, 1)
        row.addWidget(self.latest)
        self._row.hide()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self._row, 0, 0, 1, _COLUMNS)
        grid.addWidget(QLabel("Hold a button, or its key, to see instead:"), 1, 0, 1, _COLUMNS)
        below: list[Any] = [*self.held.values(), self.curves, self.orientations, self.keep]
        for index, widget in enumerate(below):
            line, column = divmod(index, _COLUMNS)
            grid.addWidget(widget, 2 + line, column)
        grid.addWidget(self.compare, 4, 0, 1, _COLUMNS)

    def _held_button(self, role: str) -> QPushButton:
        text, key, tip = _HELD[role]
        button = QPushButton(f"{text} ({key})")
        button.setToolTip(tip)
        button.pressed.connect(lambda: self.flipped.emit(role, True))
        button.released.connect(lambda: self.flipped.emit(role, False))
        return button

    @staticmethod
    def _box(text: str, tip: str) -> QCheckBox:
        box = QCheckBox(text)
        box.setToolTip(tip)
        return box
