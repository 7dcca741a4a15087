"""Changes to a run that is going on: what would change, and what waits for the next iteration."""

from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QGridLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import SettingsError
from napari_blush.plugin.widgets.sentence import Sentence
from napari_blush.plugin.widgets.settings_form import SettingsForm

IN_SIGHT = (
    *("regularizer", "denoiser", "denoiser_strength", "spectral_trailing", "trailing_limit"),
    *("trailing_shells", "tau2_fudge", "max_iterations"),
)
"""Settings that are changed oftenest."""

READ_ONCE = (
    *("symmetry", "initial_low_pass", "solvent_mask", "first_iteration_cc", "healpix_order"),
    *("adaptive_oversampling", "offset_range", "offset_step", "seed", "device", "threads"),
    *("memory_limit", "helical_twist", "helical_rise", "helical_fraction", "helical_tilt_range"),
)
"""Settings that a run reads at its start, and that are not to be changed later."""

FINER = "sample finer"
LOCAL = "search locally"
MASK = "mask layer"
PAINT = "paint mask"
NO_MASK = "no mask"
OFFSETS = "offset range"

_COLUMNS = 6
"""Of the grid: rows of one, two and three fill it."""

_LARGEST_RANGE = 500.0
_UNSAFE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "spectral_trailing": (lambda value: not value, "spectral trailing off"),
    "trailing_shells": (lambda value: value < 2, "fewer than 2 trailing shells"),
}
"""Settings with the values that are unsafe, in words."""


class SteeringPanel(QWidget):
    """Seen while a run is going on: settings that may change, and buttons for all else.

    Parameters
    ----------
    regularizers : sequence of str
        What there is to choose from.
    parent : QWidget, optional

    Attributes
    ----------
    state : Sentence
        What is changed, what waits, what is unsafe; the dock shows it on every page.
    told : Sentence
        What was said of the last wish.
    """

    proposed = Signal(dict)
    """Settings by name; or ``FINER``, ``LOCAL``, ``MASK``, ``NO_MASK``, ``PAINT`` with True; or
    ``OFFSETS`` with angstrom."""

    def __init__(self, regularizers: Sequence[str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._used = RefinementSettings()
        self._waiting: tuple[str, ...] = ()
        self.form: SettingsForm[RefinementSettings] = SettingsForm(
            RefinementSettings,
            IN_SIGHT,
            left_out=READ_ONCE,
            choices={"regularizer": regularizers},
            parent=self,
        )
        self.form.restore.hide()
        self.form.value_changed.connect(lambda _: self._refresh())
        self.apply = self._button(
            "Apply changed settings", "Use the settings above from the next iteration on"
        )
        self.apply.clicked.connect(lambda: self._apply())
        self.finer = self._button("Sample finer", "Halve the angular step", FINER)
        self.local = self._button("Search locally", "Search poses around the last ones only", LOCAL)
        self.paint = self._button("Paint mask", "Make a layer of the mask that can be painted on")
        self.paint.clicked.connect(lambda: self.proposed.emit({PAINT: True}))
        self.use_mask = self._button("Use mask", "Use the mask as painted, or the mask layer", MASK)
        self.no_mask = self._button("Drop mask", "Go on without the mask of the run", NO_MASK)
        self.reach = QDoubleSpinBox()
        self.reach.setRange(0.1, _LARGEST_RANGE)
        self.reach.setDecimals(1)
        self.reach.setSuffix(" Å")
        self.reach.setToolTip("How far offsets are searched around the last ones")
        self.offsets = self._button("Offset range", "Search offsets up to so far")
        self.offsets.clicked.connect(lambda: self.proposed.emit({OFFSETS: self.reach.value()}))
        self.state, self.told = Sentence(), Sentence()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(Sentence("What is changed here takes effect at the next iteration."))
        column.addWidget(self.form)
        grid = QGridLayout()
        rows: list[tuple[QWidget, ...]] = [
            (self.apply,),
            (self.finer, self.local),
            (self.offsets, self.reach),
            (self.paint, self.use_mask, self.no_mask),
            (self.told,),
        ]
        for line, widgets in enumerate(rows):
            span = _COLUMNS // len(widgets)
            for place, widget in enumerate(widgets):
                grid.addWidget(widget, line, place * span, 1, span)
        column.addLayout(grid)
        self.end()

    def begin(self, settings: RefinementSettings) -> None:
        """Show the panel for a run that was started with these settings."""
        self._used = settings
        self.form.set_value(settings)
        self.tell("")
        self.show()
        self.show_waiting(())

    def end(self) -> None:
        """Hide the panel: there is nothing to steer."""
        self._waiting = ()
        self.state.hide()
        self.hide()

    def tell(self, sentence: str) -> None:
        """Say what became of a wish, or what to do next."""
        self.told.setText(sentence)
        self.told.setVisible(bool(sentence))

    def show_waiting(self, words: Sequence[str]) -> None:
        """Say what the run has been asked for and has not taken yet."""
        self._waiting = tuple(words)
        self._refresh()

    def show_offset_range(self, angstrom: float) -> None:
        """Take the range that the run uses, unless a person is at it."""
        if not self.reach.hasFocus():
            self.reach.setValue(angstrom)

    def set_now(self, values: dict[str, Any]) -> None:
        """Ask for settings at once, whatever else is changed and not applied."""
        self._used = self._used.model_copy(update=values)
        for name, value in values.items():
            self.form.editors[name].set_value(value)
        self.proposed.emit(values)
        self._refresh()

    def changes(self) -> dict[str, Any]:
        """Return the settings that differ from those of the run; none while one cannot be so."""
        try:
            wanted = self.form.value()
        except SettingsError:
            return {}
        names = type(wanted).model_fields
        both = {name: (getattr(self._used, name), getattr(wanted, name)) for name in names}
        return {name: new for name, (old, new) in both.items() if old != new}

    def _apply(self) -> None:
        changes = self.changes()
        self._used = self.form.value()
        self.tell("")
        self.proposed.emit(changes)
        self._refresh()

    def _button(self, text: str, help_text: str, name: str = "") -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(f"{help_text}, from the next iteration on" if name else help_text)
        if name:
            button.clicked.connect(lambda: self.proposed.emit({name: True}))
        return button

    def _refresh(self) -> None:
        changes = self.changes()
        self.apply.setEnabled(bool(changes))
        for name, editor in self.form.editors.items():
            editor.mark(name in changes)
        parts = []
        if changes:
            names = ", ".join(name.replace("_", " ") for name in changes)
            parts.append(f"Changed and not applied: {names}.")
        if self._waiting:
            parts.append(f"From the next iteration on: {', '.join(self._waiting)}.")
        shown = {name: editor.value() for name, editor in self.form.editors.items()}
        unsafe = [words for name, (is_so, words) in _UNSAFE.items() if is_so(shown[name])]
        if unsafe and shown["regularizer"] == "blush":
            parts.append(f"Unsafe: {', '.join(unsafe)}; the FSC can rise by itself.")
        self.state.setText(" ".join(parts))
        self.state.setVisible(bool(parts) and not self.isHidden())
