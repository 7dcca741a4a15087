"""A line beside a field that says what is wrong with it; takes no room while nothing is."""

from qtpy.QtWidgets import QWidget

from napari_blush.plugin.widgets.sentence import Sentence

_COLORS = {False: "#b3261e", True: "#ff8a75"}
"""By whether the background is dark."""

_DARK = 128


class Complaint(Sentence):
    """A sentence in red, or nothing.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent=parent)
        self.setObjectName("problem")
        self.hide()

    def say(self, sentence: str) -> None:
        """Say what is wrong, or with nothing that all is well."""
        self.setText(sentence)
        is_dark = self.palette().color(self.backgroundRole()).lightness() < _DARK
        self.setStyleSheet(f"color: {_COLORS[is_dark]};")
        self.setVisible(bool(sentence))
