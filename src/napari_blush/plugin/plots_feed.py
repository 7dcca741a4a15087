"""Gives plots what the session of a run knows, and hands on what was asked for on them."""

import math
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from napari_blush.plugin.fsc_layer import curves_as_lists
from napari_blush.plugin.loading import run_in_background
from napari_blush.plugin.plots.curves import FscOfIteration
from napari_blush.plugin.plots.panel import Beside, PlotsPanel
from napari_blush.plugin.touched import TouchedByDenoiser, touched_steps
from napari_blush.plugin.worker import StepWorker
from napari_blush.session import RefinementSession, RunStatus

MapsOf = Callable[[str, int], npt.NDArray[np.float32] | None]
"""The map of a role in an iteration, None where there is none."""

_RAW, _DENOISED = ("half1", "half2"), ("denoised1", "denoised2")
_OF_ANOTHER = ("fsc_history", "summaries")
_DIGITS = 1000
"""A limit is told to a thousandth of an angstrom, downwards: upwards it would lose its shell."""


class PlotsFeed:
    """Joins a session to a panel.

    Parameters
    ----------
    session : RefinementSession
    panel : PlotsPanel
    choose : callable
        Shows an iteration everywhere; None goes on with the last.
    limit : callable
        Asks the run for a trailing limit in angstrom; None for the automatic one alone.
    maps_of : callable
        Finds maps of iterations before the last.
    """

    def __init__(
        self,
        session: RefinementSession,
        panel: PlotsPanel,
        choose: Callable[[int | None], None],
        limit: Callable[[float | None], None] = lambda angstrom: None,
        maps_of: MapsOf = lambda role, iteration: None,
    ) -> None:
        self._session, self._panel = session, panel
        self._choose, self._limit, self._maps_of = choose, limit, maps_of
        self._curves: dict[int, tuple[Any, FscOfIteration]] = {}
        self._asked: tuple[int, int] | None = None
        self._cutoffs: dict[int, int | None] = {}
        self._touched: dict[int, TouchedByDenoiser] = {}
        self._worker: StepWorker | None = None
        self._comparing: object = None
        self._beside: tuple[str, RefinementSession] | None = None
        self._slots: dict[str, Callable[..., None]] = {
            "run": self._show_fsc,
            "status": self._let_drag,
            "fsc_history": self._show_fsc,
            "references": self._at_references,
            "cutoff_shell": self._show_fsc,
            "summaries": self._show_summaries,
        }
        for name, slot in self._slots.items():
            session.events[name].connect(slot)
        panel.iteration_chosen.connect(self._chosen)
        panel.cutoff_dragged.connect(self._dragged)
        panel.touched_wanted.connect(self._show_touched)
        self._show_fsc()
        self._show_summaries()

    def compare_with(self, name: str, other: RefinementSession) -> None:
        """Show the run of another session beside this one, until ``end`` or the next call.

        Parameters
        ----------
        name : str
            Short: it stands in the legend.
        other : RefinementSession
        """
        self._leave_other()
        self._beside = (name, other)
        for field in _OF_ANOTHER:
            other.events[field].connect(self._show_beside)
        self._show_beside()

    def stand_alone(self) -> None:
        """Show no other run any more."""
        self._leave_other()
        self._panel.show_beside(Beside())

    def end(self) -> None:
        """Hear no more of the sessions."""
        self._leave_other()
        for name, slot in self._slots.items():
            self._session.events[name].disconnect(slot)
        if self._worker is not None:
            self._worker.quit()

    def _leave_other(self) -> None:
        if self._beside is not None:
            for field in _OF_ANOTHER:
                self._beside[1].events[field].disconnect(self._show_beside)
        self._beside = None

    def _show_beside(self, *_: Any) -> None:
        if self._beside is None or self._beside[1].run is None:
            return
        name, other = self._beside
        voxel_size = self._beside[1].run.pixel_size
        history = {
            number: FscOfIteration(curves_as_lists(curves), voxel_size)
            for number, curves in other.fsc_history.items()
        }
        self._panel.show_beside(Beside(name, history, other.summaries))

    def _forget(self) -> None:
        """Forget what is of iterations that the session does not know any more."""
        known = self._session.fsc_history
        if self._curves and not known:  # a run from the start
            self._asked = None
            self._comparing = None  # maps that are gone
            self.stand_alone()
        self._cutoffs = {n: shell for n, shell in self._cutoffs.items() if n in known}
        self._touched = {n: found for n, found in self._touched.items() if n in known}

    def _let_drag(self, *_: Any) -> None:
        session = self._session
        goes_on = session.status in (RunStatus.RUNNING, RunStatus.PAUSED)
        self._panel.let_drag(goes_on and not session.is_last)

    def _chosen(self, iteration: int) -> None:
        is_last = iteration >= max(self._session.fsc_history, default=0)
        self._choose(None if is_last else iteration)

    def _dragged(self, shell: int) -> None:
        session = self._session
        if session.run is None or not session.fsc_history:
            return
        n_shells = len(session.fsc_history[max(session.fsc_history)].corrected) - 1
        length = 2 * n_shells * session.run.pixel_size / shell
        is_automatic = shell == session.automatic_cutoff_shell
        self._asked = None if shell == session.cutoff_shell else (shell, session.iteration)
        self._limit(None if is_automatic else math.floor(length * _DIGITS) / _DIGITS)
        self._show_fsc()

    def _at_references(self, *_: Any) -> None:
        session = self._session
        self._cutoffs[session.iteration] = session.cutoff_shell
        # What was asked for in an iteration is taken at the top of the next.
        if self._asked is not None and session.iteration > self._asked[1]:
            self._asked = None
        self._show_fsc()

    def _show_fsc(self, *_: Any) -> None:
        session = self._session
        if session.run is None:
            return
        self._forget()
        known, voxel_size = self._curves, session.run.pixel_size
        self._curves = {
            number: known[number]
            if number in known and known[number][0] is curves
            else (curves, FscOfIteration(curves_as_lists(curves), voxel_size))
            for number, curves in session.fsc_history.items()
        }
        history = {number: drawn for number, (_, drawn) in self._curves.items()}
        self._panel.show_fsc(
            history,
            session.cutoff_shell,
            session.denoiser_nyquist_shell,
            session.automatic_cutoff_shell,
            None if self._asked is None else self._asked[0],
        )
        self._let_drag()
        self._panel.setVisible(bool(history))

    def _show_summaries(self, *_: Any) -> None:
        self._panel.show_summaries(self._session.summaries)
        self._show_touched()

    def _show_touched(self) -> None:
        """Show what the denoiser did in the iteration that is wanted; compare maps if need be."""
        number = self._wanted()
        if not self._panel.is_touched_seen:
            return
        if number is None or number in self._touched:
            self._panel.show_touched(None if number is None else self._touched[number])
        elif self._worker is None:
            self._compare(number)

    def _wanted(self) -> int | None:
        """Return the iteration that is marked, or the newest that was denoised: the last is not."""
        if self._panel.marked:
            return self._panel.marked
        numbers = sorted(self._session.summaries, reverse=True)
        return next(filter(self._was_denoised, numbers), max(numbers, default=None))

    def _was_denoised(self, number: int) -> bool:
        result = self._session.last_result
        if result is not None and result.iteration == number:
            return result.denoised_maps is not None
        return number in self._touched or self._maps_of("denoised1", number) is not None

    def _compare(self, number: int) -> None:
        session = self._session
        voxel_size = 1.0 if session.run is None else session.run.pixel_size
        cutoff, result = self._cutoffs.get(number), session.last_result
        maps: dict[str, Any] = {role: self._maps_of(role, number) for role in (*_RAW, *_DENOISED)}
        if result is not None and result.iteration == number:
            cutoff = result.cutoff_shell
            if result.denoised_maps is not None:
                halves, denoised = result.half_maps, result.denoised_maps
                both = (halves.half1, halves.half2, denoised.half1, denoised.half2)
                maps = dict(zip((*_RAW, *_DENOISED), both, strict=True))
        if any(values is None for values in maps.values()):
            self._panel.show_touched(None)
            return

        def steps() -> Generator[None, None, TouchedByDenoiser]:
            # Here, in the thread: maps on disk are read when they are touched.
            raw, denoised = ([_tensor(maps[r]) for r in roles] for roles in (_RAW, _DENOISED))
            return (
                yield from touched_steps(
                    raw, denoised, voxel_size, iteration=number, cutoff_shell=cutoff
                )
            )

        def over() -> None:
            self._worker = None
            if self._wanted() != number:
                self._show_touched()

        def compared(found: TouchedByDenoiser) -> None:
            if self._comparing is token:
                self._touched[number] = found
                self._panel.show_touched(found)

        token = self._comparing = object()
        self._worker = run_in_background(
            steps, compared, lambda text: self._panel.said.emit(text), over=over
        )


def _tensor(values: Any) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        return values
    return torch.from_numpy(np.array(values, dtype=np.float32))
