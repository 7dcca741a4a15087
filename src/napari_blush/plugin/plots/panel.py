"""The plots of a run in one small panel, with the iteration they show."""

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QSpinBox, QTabWidget, QVBoxLayout, QWidget

from napari_blush.plugin.plots.curves import FscOfIteration, Limits
from napari_blush.plugin.plots.fsc import FscPlot
from napari_blush.plugin.plots.redraw import Redraw

_BOX = 84
"""Width in pixels of the box with the iteration: napari's style makes it wide."""


class PlotsPanel(QWidget):
    """Tabs of plots; draws at most ten times a second, and only what is seen.

    Signals: ``iteration_chosen(int)`` by a click or the box, ``cutoff_dragged(int)`` with a shell.

    Parameters
    ----------
    parent : QWidget, optional
    """

    iteration_chosen = Signal(int)
    cutoff_dragged = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._marked: int | None = None
        self._history: Mapping[int, FscOfIteration] = {}
        self._limits = Limits()
        self.fsc = FscPlot(self)
        self.tabs = QTabWidget(self)
        self.tabs.setDocumentMode(True)
        self.tabs.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.tabs.addTab(self.fsc, "FSC")
        self.iteration = QSpinBox()
        self.iteration.setToolTip("Iteration that is shown")
        self.iteration.setPrefix("it. ")
        self.iteration.setEnabled(False)
        self.iteration.setKeyboardTracking(False)
        self.iteration.setMaximumWidth(_BOX)
        self.iteration.valueChanged.connect(self.iteration_chosen)
        corner = QWidget()
        row = QHBoxLayout(corner)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.iteration)
        self.tabs.setCornerWidget(corner, Qt.Corner.TopRightCorner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.tabs)
        self.fsc.iteration_chosen.connect(self.iteration_chosen)
        self.fsc.cutoff_dragged.connect(self.cutoff_dragged)
        self._redraw_fsc = Redraw(self.fsc, self._draw_fsc)

    def show_fsc(
        self,
        history: Mapping[int, FscOfIteration],
        cutoff_shell: int | None = None,
        denoiser_nyquist_shell: float | None = None,
        automatic_cutoff_shell: int | None = None,
        asked_shell: int | None = None,
    ) -> None:
        """Show curves by iteration, and where references end or could.

        Parameters
        ----------
        history : mapping of int to FscOfIteration
        cutoff_shell : int, optional
            Where the last references end.
        denoiser_nyquist_shell : float, optional
        automatic_cutoff_shell : int, optional
            Where spectral trailing alone would end them.
        asked_shell : int, optional
            Cut-off that waits for the next iteration.
        """
        self._history = history
        self._limits = Limits(
            cutoff_shell, automatic_cutoff_shell, denoiser_nyquist_shell, asked_shell
        )
        self._show_numbers()
        self._redraw_fsc.request()

    def mark_iteration(self, iteration: int | None) -> None:
        """Show an iteration in all plots; None goes on with the last."""
        self._marked = iteration
        self._show_numbers()
        self._redraw_fsc.request()

    def set_colors(self, text: str, background: str) -> None:
        """Draw in the colours of a theme."""
        for plot in self._plots():
            plot.set_colors(text, background)

    def _plots(self) -> list[Any]:
        return [self.fsc]

    def _show_numbers(self) -> None:
        numbers = set(self._history)
        self.iteration.setEnabled(bool(numbers))
        if numbers:
            # The value is shown here, not chosen: nobody is to be told.
            blocker = QSignalBlocker(self.iteration)
            self.iteration.setRange(min(numbers), max(numbers))
            marked = self._marked
            self.iteration.setValue(max(numbers) if marked is None else marked)
            blocker.unblock()

    def _draw_fsc(self) -> None:
        self.fsc.show_history(self._history, self._limits, self._marked)
