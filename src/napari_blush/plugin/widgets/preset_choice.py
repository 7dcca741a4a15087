"""A box with the presets of a refinement, each with a sentence of help."""

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QWidget

from napari_blush.plugin.presets import PRESETS

_NONE = "Preset…"


class PresetChoice(QComboBox):
    """Tells which preset was chosen, also when it is the same again.

    Parameters
    ----------
    parent : QWidget, optional
    """

    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setToolTip("Settings to begin with; what they do not name stays as it is")
        self.addItem(_NONE)
        for name, (help_text, _) in PRESETS.items():
            self.addItem(name)
            self.setItemData(self.count() - 1, help_text, Qt.ItemDataRole.ToolTipRole)
        self.textActivated.connect(self._activated)

    def _activated(self, name: str) -> None:
        if name in PRESETS:
            self.chosen.emit(name)
