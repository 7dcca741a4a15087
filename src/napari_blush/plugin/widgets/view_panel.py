"""How the maps of a run are looked at: side by side, raw, with curves as a layer, held contrast."""

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QCheckBox, QGridLayout, QPushButton, QWidget


class ViewPanel(QWidget):
    """Two buttons and two boxes; seen once there is something to look at.

    Parameters
    ----------
    parent : QWidget, optional
    """

    side_by_side = Signal(bool)
    raw = Signal(bool)
    curves_wanted = Signal(bool)
    contrast_held = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.compare = QPushButton("Side by side")
        self.compare.setCheckable(True)
        self.compare.setToolTip("Half maps, denoised map, reference and change, in the same greys")
        self.compare.toggled.connect(lambda on: self.side_by_side.emit(on))
        self.hold = QPushButton("Raw while held")
        self.hold.setToolTip("Half map 1 as long as you hold the button")
        self.hold.pressed.connect(lambda: self.raw.emit(True))
        self.hold.released.connect(lambda: self.raw.emit(False))
        self.curves = QCheckBox("Curves as a layer")
        self.curves.setToolTip("The FSC beside the map, as paths that can be saved")
        self.curves.toggled.connect(lambda on: self.curves_wanted.emit(on))
        self.keep = QCheckBox("Hold contrast")
        self.keep.setToolTip("Leave limits and contours as they are when maps change")
        self.keep.toggled.connect(lambda on: self.contrast_held.emit(on))
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        widgets = (self.compare, self.hold, self.curves, self.keep)
        for index, widget in enumerate(widgets):
            grid.addWidget(widget, *divmod(index, 2))
        self.hide()
