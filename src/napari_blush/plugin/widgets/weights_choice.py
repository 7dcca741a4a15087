"""Weights of the denoiser: a name that is known, or a file."""

from collections.abc import Sequence

from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QToolButton, QWidget

DEFAULT = "default"


class WeightsChoice(QWidget):
    """Names to choose from, a line to type in, and a button to browse for a file.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.box = QComboBox()
        self.box.setEditable(True)
        self.box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.box.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.box.addItem(DEFAULT)
        self.box.setToolTip("A name of 'napari-blush weights list', or a file")
        button = QToolButton()
        button.setText("…")
        button.setToolTip("Browse for a file of weights")
        button.clicked.connect(lambda: self._browse())
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.box, 1)
        line.addWidget(button)

    def value(self) -> str:
        """Return the name or the path."""
        return self.box.currentText().strip() or DEFAULT

    def set_value(self, text: str) -> None:
        """Enter a name or a path."""
        self.box.setEditText(text)

    def offer(self, names: Sequence[str]) -> None:
        """Offer names beside the default."""
        chosen = self.value()
        self.box.clear()
        self.box.addItems([DEFAULT, *(name for name in names if name != DEFAULT)])
        self.set_value(chosen)

    def _browse(self) -> None:
        wanted = "Weights (*.safetensors *.ckpt *.ckpt.gz)"
        chosen, _ = QFileDialog.getOpenFileName(self, "Choose weights", "", wanted)
        if chosen:
            self.set_value(chosen)
