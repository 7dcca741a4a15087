"""Changes to a run that is going on: what would change, and what waits for the next iteration."""

from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_blush.data_model.settings import RefinementSettings

FINER = "sample finer"
MASK = "mask layer"


class SteeringPanel(QWidget):
    """Seen while a run is going on.

    Parameters
    ----------
    parent : QWidget, optional
    """

    proposed = Signal(dict)
    """Settings by name; or ``FINER`` or ``MASK`` with True."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._used = RefinementSettings()
        self._wanted = self._used
        self._waiting: list[str] = []
        self.apply = QPushButton("Apply changed settings")
        self.apply.setToolTip("Use the settings below from the next iteration on")
        self.apply.clicked.connect(lambda: self._apply())
        self.finer = QPushButton("Sample finer")
        self.finer.setToolTip("Halve the angular step from the next iteration on")
        self.finer.clicked.connect(lambda: self._propose({FINER: True}, [FINER]))
        self.use_mask = QPushButton("Use mask layer")
        self.use_mask.setToolTip("Use the run's mask layer, as edited, from the next iteration on")
        self.use_mask.clicked.connect(lambda: self._propose({MASK: True}, [MASK]))
        self.state = QLabel()
        self.state.setWordWrap(True)
        row = QHBoxLayout()
        row.addWidget(self.finer)
        row.addWidget(self.use_mask)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.apply)
        layout.addLayout(row)
        layout.addWidget(self.state)
        self.hide()

    def begin(self, settings: RefinementSettings) -> None:
        """Show the panel for a run that was started with these settings."""
        self._used = self._wanted = settings
        self._waiting = []
        self._refresh()
        self.show()

    def end(self) -> None:
        """Hide the panel: there is nothing to steer."""
        self.hide()

    def show_wanted(self, settings: RefinementSettings) -> None:
        """Take the settings that the form shows now."""
        self._wanted = settings.model_copy(update={"solvent_mask": self._used.solvent_mask})
        self._refresh()

    def iteration_began(self) -> None:
        """Forget what waited: the run has taken it."""
        self._waiting = []
        self._refresh()

    def changes(self) -> dict[str, Any]:
        """Return the settings that differ from those of the run."""
        names = type(self._used).model_fields
        both = {name: (getattr(self._used, name), getattr(self._wanted, name)) for name in names}
        return {name: new for name, (old, new) in both.items() if old != new}

    def _apply(self) -> None:
        changes = self.changes()
        self._used = self._wanted
        self._propose(changes, [name.replace("_", " ") for name in changes])

    def _propose(self, values: dict[str, Any], names: list[str]) -> None:
        self._waiting += [name for name in names if name not in self._waiting]
        self.proposed.emit(values)
        self._refresh()

    def _refresh(self) -> None:
        changes = self.changes()
        self.apply.setEnabled(bool(changes))
        parts = []
        if changes:
            names = ", ".join(name.replace("_", " ") for name in changes)
            parts.append(f"Changed and not applied: {names}.")
        if self._waiting:
            parts.append(f"From the next iteration on: {', '.join(self._waiting)}.")
        self.state.setText(" ".join(parts))
        self.state.setVisible(bool(parts))
