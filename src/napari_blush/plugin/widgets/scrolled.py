"""A dock's page that scrolls where the window is low, and does not widen it."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QScrollArea, QVBoxLayout, QWidget

WIDTH = 340
"""Pixels that a dock asks for."""


def in_scroll_area(dock: QWidget, page: QWidget) -> None:
    """Put a page into a dock."""
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QScrollArea.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(page)
    layout = QVBoxLayout(dock)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(scroll)
    dock.setMinimumWidth(WIDTH)
