"""The plots of a run in one small panel, with the iteration that they show."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QSizePolicy,
    QSpinBox,
    QStyle,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_blush.errors import BlushError
from napari_blush.plugin.plots.curves import FscOfIteration, Limits
from napari_blush.plugin.plots.denoiser import DenoiserPlot
from napari_blush.plugin.plots.export import SUFFIXES, export_figure
from napari_blush.plugin.plots.figure import Figure
from napari_blush.plugin.plots.fsc import FscPlot
from napari_blush.plugin.plots.progress import ProgressPlot
from napari_blush.plugin.plots.redraw import Redraw
from napari_blush.plugin.touched import TouchedByDenoiser
from napari_blush.session import IterationSummary

_BOX = 108
"""Width in pixels of the box with the iteration: napari's style makes it wide."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Another run to compare with: its name, curves, and iterations in numbers."""

    name: str = ""
    history: Mapping[int, FscOfIteration] = field(default_factory=dict)
    summaries: Mapping[int, IterationSummary] = field(default_factory=dict)


class PlotsPanel(QWidget):
    """Tabs of plots; draws at most ten times a second, and only what is seen.

    Signals: ``iteration_chosen(int)`` by a click or the box; ``cutoff_dragged(int)`` with a shell;
    ``touched_wanted()`` when the tab of the denoiser is seen or is to show another iteration;
    ``said(str)``: what became of a file that was saved.

    Parameters
    ----------
    parent : QWidget, optional
    """

    iteration_chosen = Signal(int)
    cutoff_dragged = Signal(int)
    touched_wanted = Signal()
    said = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.marked: int | None = None
        self._history: Mapping[int, FscOfIteration] = {}
        self._limits = Limits()
        self._summaries: Mapping[int, IterationSummary] = {}
        self._touched: TouchedByDenoiser | None = None
        self._beside = Beside()
        self.choose_path: Callable[[], str] = self.ask_for_path
        self.fsc, self.progress, self.denoiser = FscPlot(), ProgressPlot(), DenoiserPlot()
        self._draw: dict[Figure, Callable[[Any], None]] = {
            self.fsc: self._draw_fsc,
            self.progress: self._draw_progress,
            self.denoiser: lambda denoiser: denoiser.show_touched(self._touched),
        }
        self.tabs = QTabWidget(self)
        self._lay_out()
        self._redraw = {
            figure: Redraw(figure, partial(draw, figure)) for figure, draw in self._draw.items()
        }
        for figure in (self.fsc, self.progress):
            figure.iteration_chosen.connect(self.iteration_chosen)
        self.fsc.cutoff_dragged.connect(self.cutoff_dragged)
        self.tabs.currentChanged.connect(lambda _: self._opened())

    @property
    def is_touched_seen(self) -> bool:
        """Whether the tab of the denoiser is open and on the screen."""
        return self.isVisible() and self.tabs.currentWidget() is self.denoiser

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
        self._redraw[self.fsc].request()

    def show_summaries(self, summaries: Mapping[int, IterationSummary]) -> None:
        """Show iterations in numbers."""
        self._summaries = summaries
        self._show_numbers()
        self._redraw[self.progress].request()

    def show_touched(self, found: TouchedByDenoiser | None) -> None:
        """Show what the denoiser touched; None for nothing."""
        self._touched = found
        self._redraw[self.denoiser].request()

    def show_beside(self, other: Beside) -> None:
        """Show another run in the same plots."""
        self._beside = other
        self._redraw[self.fsc].request()
        self._redraw[self.progress].request()

    def mark_iteration(self, iteration: int | None) -> None:
        """Show an iteration in all plots; None goes on with the last."""
        self.marked = iteration
        self._show_numbers()
        self._redraw[self.fsc].request()
        self._redraw[self.progress].request()
        self._opened()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Ask for what the open tab needs."""
        super().showEvent(event)
        self._opened()

    def let_drag(self, allowed: bool) -> None:
        """Let the cut-off be dragged, or not: only a run that is going on has a next iteration."""
        self.fsc.let_drag(allowed)

    def set_colors(self, text: str, background: str) -> None:
        """Draw in the colours of a theme."""
        for figure in self._draw:
            figure.set_colors(text, background)

    def export(self, path: str | Path) -> None:
        """Write the plot of the open tab; the suffix says as what.

        Parameters
        ----------
        path : str or Path
            Of ``.png``, ``.svg`` or ``.csv``.

        Raises
        ------
        ExportError
            When it is none of these, or cannot be written.
        """
        figure = tuple(self._draw)[self.tabs.currentIndex()]
        # A twin of it, so that nothing flickers, and what is hidden can be saved as well.
        make: Any = type(figure)
        twin = make()
        try:
            self._draw[figure](twin)
            export_figure(twin, Path(path))
        finally:
            twin.deleteLater()

    def ask_for_path(self) -> str:
        """Return the name of a file to save to, empty for none."""
        name = self.tabs.tabText(self.tabs.currentIndex()).lower()
        kinds = ";;".join(f"{suffix[1:].upper()} (*{suffix})" for suffix in SUFFIXES)
        path, kind = QFileDialog.getSaveFileName(self, "Save the plot", f"{name}.png", kinds)
        if path and not Path(path).suffix:
            path += kind[kind.index("*") + 1 : -1]
        return path

    def save(self) -> None:
        """Ask for a file and write the open plot to it; say what became of it."""
        path = self.choose_path()
        if not path:
            return
        try:
            self.export(path)
        except BlushError as error:
            self.said.emit(str(error))
        else:
            self.said.emit(f"The plot is in {path}.")

    def _lay_out(self) -> None:
        self.tabs.setDocumentMode(True)
        bar = self.tabs.tabBar()
        if bar is not None:
            bar.setDrawBase(False)
            bar.setExpanding(False)
        self.tabs.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for figure, name in zip(self._draw, ("FSC", "Progress", "Denoiser"), strict=True):
            self.tabs.addTab(figure, name)
        self.iteration = QSpinBox()
        self.iteration.setToolTip("Iteration that is shown; the last goes on with the run")
        self.iteration.setPrefix("it. ")
        self.iteration.setEnabled(False)
        self.iteration.setKeyboardTracking(False)
        self.iteration.setFixedWidth(_BOX)
        self.iteration.valueChanged.connect(self.iteration_chosen)
        self.saver = QToolButton()
        style = self.style()
        if style is not None:
            self.saver.setIcon(style.standardIcon(QStyle.StandardPixmap.SP_DialogSaveButton))
        self.saver.setAutoRaise(True)
        self.saver.setToolTip("Save this plot as PNG, SVG or CSV")
        self.saver.clicked.connect(lambda: self.save())
        corner = QWidget()
        row = QHBoxLayout(corner)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(3)
        row.addWidget(self.iteration)
        row.addWidget(self.saver)
        self.tabs.setCornerWidget(corner, Qt.Corner.TopRightCorner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.tabs)

    def _draw_fsc(self, fsc: FscPlot) -> None:
        other, shown = self._beside, self.marked or max(self._history, default=0)
        number = max((n for n in other.history if n <= shown), default=None)
        fsc.show_beside(other.name, None if number is None else other.history[number])
        fsc.show_history(self._history, self._limits, self.marked)

    def _draw_progress(self, progress: ProgressPlot) -> None:
        progress.show_beside(self._beside.summaries)
        progress.show_summaries(self._summaries, self.marked)

    def _opened(self) -> None:
        if self.is_touched_seen:
            self.touched_wanted.emit()

    def _show_numbers(self) -> None:
        numbers: set[Any] = {*self._history, *self._summaries}
        self.iteration.setEnabled(bool(numbers))
        if numbers:
            # The value is shown here, not chosen: nobody is to be told.
            blocker = QSignalBlocker(self.iteration)
            self.iteration.setRange(min(numbers), max(numbers))
            marked = self.marked
            self.iteration.setValue(max(numbers) if marked is None else marked)
            blocker.unblock()
