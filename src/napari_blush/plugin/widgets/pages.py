"""Pages behind tabs in a dock, each of which scrolls by itself; what stands below them does not."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QLayout, QScrollArea, QTabWidget, QVBoxLayout, QWidget

_MARGIN = 5


class Pages(QTabWidget):
    """Tabs by title; a page is a column of widgets and layouts.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._titles: list[str] = []
        self.setDocumentMode(True)
        bar = self.tabBar()
        if bar is not None:
            bar.setDrawBase(False)
            bar.setExpanding(True)

    def add(self, title: str, *parts: QWidget | QLayout) -> QWidget:
        """Add a page at the end and return it; its parts stand below one another."""
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(_MARGIN, _MARGIN, _MARGIN, _MARGIN)
        for part in parts:
            if isinstance(part, QWidget):
                column.addWidget(part)
            else:
                column.addLayout(part)
        column.addStretch()
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(page)
        self._titles.append(title)
        self.addTab(area, title)
        return page

    @property
    def title(self) -> str:
        """Of the page in front."""
        return self._titles[self.currentIndex()]

    def turn_to(self, title: str) -> None:
        """Bring a page to the front."""
        self.setCurrentIndex(self._titles.index(title))

    def open(self, title: str, is_open: bool, reason: str = "") -> None:
        """Let a page be turned to, or say in its help why it cannot be."""
        index = self._titles.index(title)
        self.setTabEnabled(index, is_open)
        self.setTabToolTip(index, "" if is_open else reason)
