"""All layers of a run in a viewer, and the iteration that they show: one choice for all of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from psygnal import Signal

from napari_blush.data_model.results import IterationResult
from napari_blush.plugin.comparison import Comparison
from napari_blush.plugin.difference_colormap import difference_colormap
from napari_blush.plugin.flip import Flip
from napari_blush.plugin.fsc_layer import FscLayer
from napari_blush.plugin.iteration_store import ITERATION_FILES, IterationStore
from napari_blush.plugin.iterations_layer import IterationsLayer
from napari_blush.plugin.layers import Later, LayerBoard, at_once
from napari_blush.plugin.orientations_layer import Beside, OrientationsLayer, first_then
from napari_blush.plugin.preferences import Preferences
from napari_blush.refine.events import RunStarted
from napari_blush.session import RefinementSession

_GIGABYTE = 1_000_000_000


class RunLayers:
    """Follows a session until ``close``.

    Parameters
    ----------
    viewer : napari viewer or viewer model
    session : RefinementSession
    run_name : str
        Stands in the names and tags of the layers.
    folder : path, optional
        Of the run: older iterations are read from there.
    symmetry : str
        Point group of the run.
    later : callable, optional
        Puts an action off to a later turn of the event loop; layers are added there.
    preferences : Preferences, optional
    beside : callable, optional
        Reads from the folder without holding up what is drawn.

    Attributes
    ----------
    chosen : psygnal signal of (int or None, int)
        The iteration that is shown, None when it is always the latest, and the latest.
    board, iterations, orientations, curves, comparison, flip
        The parts.
    """

    chosen = Signal(object, int)

    def __init__(
        self,
        viewer: Any,
        session: RefinementSession,
        run_name: str,
        folder: str | Path | None = None,
        *,
        symmetry: str = "C1",
        later: Later = at_once,
        preferences: Preferences | None = None,
        beside: Beside = first_then,
    ) -> None:
        chosen = preferences or Preferences()
        self._session, self._later = session, later
        self.store = IterationStore(round(chosen.iterations_memory_gb * _GIGABYTE), folder)
        self.board = LayerBoard(viewer, run_name, later, self.store, colormaps(chosen))
        self.iterations = IterationsLayer(viewer, run_name, self.store, later)
        self.orientations = OrientationsLayer(viewer, run_name, symmetry, later, folder, beside)
        self.curves = FscLayer(viewer, run_name, later)
        self.comparison = Comparison(viewer, self.board)
        self.flip = Flip(viewer)
        self._wants_curves = self._wants_orientations = False
        self._gave_way = False
        self._told: tuple[int | None, int] = None, 0
        self.iterations.slider_moved.connect(self.show_iteration)
        self.orientations.came.connect(self._orientations_came)
        # The board first: what it has kept is there for all others.
        self._forget_board = self.board.follow(session)
        self._slots: dict[str, Callable[..., None]] = {
            "run": self._begin,
            "half_maps": self._refresh,
            "references": self._refresh,
            "last_result": self._count_orientations,
            "fsc_history": self._draw_curves,
            "cutoff_shell": self._draw_curves,
        }
        for name, slot in self._slots.items():
            session.events[name].connect(slot)

    def show_iteration(self, iteration: int | None) -> None:
        """Take all layers to an iteration.

        Parameters
        ----------
        iteration : int or None
            None, or the latest one: that, and every later one when it comes.
        """
        latest = self.store.latest
        if latest is None:
            return
        if iteration is not None:
            iteration = None if iteration >= latest else max(iteration, self.store.iterations[0])
        self.board.show_iteration(iteration)
        self._let_the_final_map_give_way()
        self._refresh()
        self._draw_curves()

    @property
    def shown(self) -> int:
        """The iteration that is shown, 0 before there is one."""
        latest = self.store.latest or 0
        return latest if self.board.pinned is None else self.board.pinned

    def flip_to(self, role: str, held: bool) -> None:
        """Show the map of a role in the place of the visible one, as long as it is held."""
        if held:
            self.flip.show(role)
        else:
            self.flip.put_back()

    def want_curves(self, wanted: bool) -> None:
        """Show the FSC as a layer, which is made when it is asked for, or hide it."""
        self._wants_curves = wanted
        self._draw_curves()
        self._show_beside(self.curves.layer(), wanted)

    def want_orientations(self, wanted: bool) -> None:
        """Show the viewing directions, whose layer is made when it is asked for, or hide it."""
        self._wants_orientations = wanted
        self._show_orientations()
        self._show_beside(self.orientations.layer(), wanted)

    def hold_contrast(self, held: bool) -> None:
        """Leave limits and contours as they are, whatever the data do."""
        self.board.keeps_contrast = self.iterations.keeps_contrast = held

    def hide(self) -> None:
        """Hide all layers of the run, to make room for another one."""
        self.board.hide()

    def close(self) -> None:
        """Hear no more of session and slider; the layers stay."""
        self.comparison.side_by_side(False)
        self._forget_board()
        for name, slot in self._slots.items():
            self._session.events[name].disconnect(slot)
        self.iterations.close()
        self.orientations.close()
        self.orientations.came.disconnect(self._orientations_came)
        self.iterations.slider_moved.disconnect(self.show_iteration)

    def _let_the_final_map_give_way(self) -> None:
        """Show the reference where the final map, which is of no iteration, would hide the past."""
        final, reference = self.board.layer("final"), self.board.layer("reference")
        if final is None or reference is None:
            return
        if self.board.pinned is None:
            if self._gave_way:
                final.visible, reference.visible = True, False
            self._gave_way = False
        elif final.visible and not self._gave_way:
            shown = (self.board.layer(role) for role in ITERATION_FILES)
            if not any(layer is not None and layer.visible for layer in shown):
                final.visible, reference.visible, self._gave_way = False, True, True

    def _orientations_came(self) -> None:
        """Have the layer in view, or hide it where nobody wants it any more."""
        self._show_beside(self.orientations.layer(), self._wants_orientations)

    def _show_beside(self, layer: Any, wanted: bool) -> None:
        """Show or hide what stands beside the map, and have the whole in view."""
        if layer is not None:
            layer.visible = wanted
        if wanted and self.store.latest is not None:
            self._later(self._fit_view)

    def _fit_view(self) -> None:
        self.board.fit_view([layer for layer in self.board.all_of_the_run() if layer.visible])

    def _begin(self, run: RunStarted | None) -> None:
        if run is not None:
            self.orientations.begin_at(run.first_iteration)
            self._refresh()

    def _refresh(self, *_: Any) -> None:
        run, latest = self._session.run, self.store.latest
        if run is None or latest is None:
            return
        self.iterations.refresh(run.box_size, run.pixel_size, self.shown)
        self._show_orientations()
        told = self.board.pinned, latest
        if told != self._told:
            self._told = told
            self.chosen.emit(*told)

    def _count_orientations(self, result: IterationResult | None) -> None:
        if result is not None:
            p_max = result.pose_statistics.p_max
            self.orientations.keep(result.iteration, result.poses.rotations, p_max)
            self._show_orientations()

    def _show_orientations(self) -> None:
        run = self._session.run
        # Like the curves: it would take its place in the view before anybody wants to see it.
        if run is None or not self._wants_orientations:
            return
        number = self.orientations.newest(self.shown) if self.board.pinned is None else self.shown
        self.orientations.show(number, run.box_size, run.pixel_size)

    def _draw_curves(self, *_: Any) -> None:
        session, run = self._session, self._session.run
        # Made only when it is asked for: a first layer of shapes takes its time.
        if run is None or not self._wants_curves:
            return
        pinned = self.board.pinned
        history = {
            number: curves
            for number, curves in session.fsc_history.items()
            if pinned is None or number <= pinned
        }
        if history:
            self.curves.show(
                history,
                run.box_size,
                run.pixel_size,
                session.resolution_history,
                session.cutoff_shell if pinned is None else None,
            )


def colormaps(preferences: Preferences) -> dict[str, Any]:
    """Return the colours of layers that a person has chosen, by role."""
    return {
        "half1": preferences.half1_color,
        "half2": preferences.half2_color,
        "denoised1": preferences.denoised_color,
        "denoised2": preferences.denoised_color,
        "change": difference_colormap(preferences.difference_color),
    }
