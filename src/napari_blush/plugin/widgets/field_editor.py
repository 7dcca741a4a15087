"""One field of a settings class as a magicgui widget, and the reason when it is wrong."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import (
    CheckBox,
    ComboBox,
    FileEdit,
    FloatSpinBox,
    LineEdit,
    SpinBox,
)
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMenu,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from napari_blush.plugin.field_facts import FieldFacts
from napari_blush.plugin.widgets.complaint import Complaint

_LARGEST = 1_000_000
_DECIMALS = 3
_LABEL_WIDTH = 132


class FieldEditor(QObject):
    """A label, a widget and a line for what is wrong, in one row of a grid.

    Parameters
    ----------
    facts : FieldFacts
    parent : QWidget
    """

    changed = Signal(str)

    def __init__(self, facts: FieldFacts, parent: QWidget) -> None:
        super().__init__(parent)
        self.facts = facts
        self.widget = _widget_of(facts)
        self.widget.tooltip = facts.tooltip
        self.label = QLabel(facts.label)
        self.label.setToolTip(facts.tooltip)
        self.label.setWordWrap(True)
        self.label.setFixedWidth(_LABEL_WIDTH)
        self.problem = Complaint()
        # A long text must not widen the dock.
        self.native.setMinimumWidth(60)
        self.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.widget.changed.connect(self._tell)
        self.menu: QMenu | None = None
        self._place = self.native

    @property
    def native(self) -> QWidget:
        """The widget as the toolkit knows it."""
        native: QWidget = self.widget.native
        return native

    def add_to(self, grid: QGridLayout) -> None:
        """Add the row at the end of a grid of two columns."""
        row = grid.rowCount()
        grid.addWidget(self.label, row, 0)
        grid.addWidget(self._place, row, 1)
        grid.addWidget(self.problem, row + 1, 0, 1, 2)

    def offer(self, names: Sequence[str], files: str) -> None:
        """Offer names beside the line to type in, and to browse for a file of some kind."""
        if self.menu is None:
            self._add_menu()
        menu = self.menu
        if menu is None:
            return
        menu.clear()
        for name in names:
            menu.addAction(name, lambda name=name: self.set_value(name))
        menu.addSeparator()
        menu.addAction("Browse…", lambda: self._browse(files))

    def value(self) -> Any:
        """Return what is entered, for the settings class to judge."""
        value = self.widget.value
        if isinstance(self.widget, LineEdit):
            text = str(value).strip()
            return None if self.facts.may_be_none and not text else text
        if isinstance(self.widget, FileEdit):
            return None if value in (None, Path(), Path(".")) else value
        return value

    def set_value(self, value: Any) -> None:
        """Enter a value."""
        if isinstance(self.widget, ComboBox) and value not in self.widget.choices:
            # A name that only the person who wrote it knows, of a plug-in for example.
            self.widget.choices = (*self.widget.choices, value)
        if isinstance(self.widget, LineEdit):
            shown = "" if value is None else value
            self.widget.value = f"{shown:g}" if isinstance(shown, float) else str(shown)
        else:
            self.widget.value = value

    def complain(self, sentence: str) -> None:
        """Say what is wrong, or with nothing that all is well."""
        self.problem.say(sentence)

    def mark(self, marked: bool) -> None:
        """Let the label stand out, or not: what is entered is not in force yet."""
        font = self.label.font()
        if font.bold() != marked:
            font.setBold(marked)
            self.label.setFont(font)

    def enable(self, enabled: bool, reason: str = "") -> None:
        """Let the field be changed, or say why it cannot be."""
        self._place.setEnabled(enabled)
        self.native.setEnabled(enabled)
        text = self.facts.tooltip if enabled else f"{self.facts.tooltip}\n{reason}"
        self.native.setToolTip(text)
        self.label.setToolTip(text)

    def _add_menu(self) -> None:
        """Make room for a button with a menu beside the line."""
        self.menu = QMenu(self.native)
        button = QToolButton()
        button.setText("▾")
        button.setToolTip("Choose one that is known, or a file")
        button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        button.setMenu(self.menu)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._place = QWidget()
        parent = self.native.parentWidget()
        layout = None if parent is None else parent.layout()
        if layout is not None:
            layout.replaceWidget(self.native, self._place)
        row = QHBoxLayout(self._place)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.native, 1)
        row.addWidget(button)

    def _browse(self, files: str) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self.native, "Choose a file", "", files)
        if chosen:
            self.set_value(chosen)

    def _tell(self) -> None:
        self.changed.emit(self.facts.name)


def _widget_of(facts: FieldFacts) -> Any:
    """Return the widget that suits a field, showing its default."""
    low = -_LARGEST if facts.low is None else facts.low
    high = _LARGEST if facts.high is None else facts.high
    if facts.kind is bool:
        return CheckBox(value=facts.default, text="")
    if facts.choices:
        return ComboBox(choices=facts.choices, value=facts.default)
    if facts.kind is Path:
        return FileEdit(mode=FileDialogMode.EXISTING_FILE, nullable=True, value=facts.default)
    if facts.may_be_none or facts.kind is str:
        shown = "" if facts.default is None else facts.default
        edit = LineEdit(value=f"{shown:g}" if isinstance(shown, float) else shown)
        edit.native.setPlaceholderText(facts.when_empty if facts.may_be_none else "")
        return edit
    if facts.kind is int:
        return SpinBox(value=facts.default, min=int(low), max=int(high))
    step = 10.0**-_DECIMALS if high <= 1 else 0.5
    return FloatSpinBox(value=facts.default, min=low, max=high, step=step)
