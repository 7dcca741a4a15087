"""Gives plots what the session of a run knows, and hands on what was asked for on them."""

from collections.abc import Callable
from typing import Any

from napari_blush.plugin.fsc_layer import curves_as_lists
from napari_blush.plugin.plots.curves import FscOfIteration
from napari_blush.plugin.plots.panel import PlotsPanel
from napari_blush.session import RefinementSession


class PlotsFeed:
    """Joins a session to a panel.

    Parameters
    ----------
    session : RefinementSession
    panel : PlotsPanel
    choose : callable
        Shows an iteration everywhere; None goes on with the last.
    """

    def __init__(
        self,
        session: RefinementSession,
        panel: PlotsPanel,
        choose: Callable[[int | None], None],
    ) -> None:
        self._session, self._panel, self._choose = session, panel, choose
        self._curves: dict[int, tuple[Any, FscOfIteration]] = {}
        self._slots: dict[str, Callable[..., None]] = {
            "fsc_history": self._show_fsc,
            "cutoff_shell": self._show_fsc,
        }
        for name, slot in self._slots.items():
            session.events[name].connect(slot)
        panel.iteration_chosen.connect(self._chosen)
        self._show_fsc()

    def end(self) -> None:
        """Hear no more of the session."""
        for name, slot in self._slots.items():
            self._session.events[name].disconnect(slot)

    def _chosen(self, iteration: int) -> None:
        is_last = iteration >= max(self._session.fsc_history, default=0)
        self._choose(None if is_last else iteration)

    def _show_fsc(self, *_: Any) -> None:
        session = self._session
        if session.run is None:
            return
        known, voxel_size = self._curves, session.run.pixel_size
        self._curves = {
            number: known[number]
            if number in known and known[number][0] is curves
            else (curves, FscOfIteration(curves_as_lists(curves), voxel_size))
            for number, curves in session.fsc_history.items()
        }
        history = {number: drawn for number, (_, drawn) in self._curves.items()}
        self._panel.show_fsc(history, session.cutoff_shell)
        self._panel.setVisible(bool(history))
