"""A slider with its name before it and its value behind."""

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSlider, QWidget

_NAME_WIDTH, _VALUE_WIDTH = 64, 48


class LabelledSlider(QWidget):
    """A slider over whole numbers.

    Parameters
    ----------
    name : str
    least, most, value : int
        Not to be moved where least and most are the same.
    words : str
        How a value is written: ``"{} %"``.
    parent : QWidget, optional
    """

    changed = Signal()

    def __init__(
        self,
        name: str,
        least: int,
        most: int,
        value: int,
        words: str,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._words = words
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(least, most)
        self.slider.setValue(value)
        self._text = QLabel()
        self._text.setFixedWidth(_VALUE_WIDTH)
        label = QLabel(name)
        label.setFixedWidth(_NAME_WIDTH)
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        for widget in (label, self.slider, self._text):
            line.addWidget(widget)
        self.slider.valueChanged.connect(lambda _: self._tell())
        self._show()

    def value(self) -> int:
        """Return the value."""
        return self.slider.value()

    def set_value(self, value: int) -> None:
        """Move to a value."""
        self.slider.setValue(value)

    def set_most(self, most: int, value: int) -> None:
        """Move the upper end, and to a value; tells nobody."""
        self.slider.blockSignals(True)
        self.slider.setMaximum(most)
        self.slider.setValue(value)
        self.slider.blockSignals(False)
        self._show()

    def _tell(self) -> None:
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        self._text.setText(self._words.format(self.slider.value()))
        self.setEnabled(self.slider.maximum() > self.slider.minimum())
