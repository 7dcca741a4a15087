"""The iterations of a run as one four-dimensional layer, and the slider that goes with it.

The slider counts iterations: its place is the number of an iteration. Where a person leaves it, it
stays; at its end it goes on with the run.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from napari.layers import Image  # type: ignore[import-untyped]
from psygnal import Signal

from napari_blush.plugin.iteration_store import IterationSeries, IterationStore
from napari_blush.plugin.layer_looks import TAG, Look, carried_over, first_look, in_angstrom
from napari_blush.plugin.layers import Later, add_quietly, at_once

_ROLE = "iterations"
_SHOWS = "reference"
_N_SPATIAL = 3


class IterationsLayer:
    """The layer of one run in one viewer.

    Parameters
    ----------
    viewer : napari viewer or viewer model
    run_name : str
    store : IterationStore
        Its references are shown.
    later : callable, optional
        Puts an action off to a later turn of the event loop; the layer is added there.

    Attributes
    ----------
    slider_moved : psygnal signal of int
        A person has moved the slider to an iteration.
    keeps_contrast : bool
        When set, limits and contour stay as they are.
    """

    slider_moved = Signal(int)
    n_own_moves: ClassVar[int] = 0
    """How many moves the program is making; runs in one viewer have one slider between them."""

    def __init__(
        self, viewer: Any, run_name: str, store: IterationStore, later: Later = at_once
    ) -> None:
        self._viewer, self._run_name, self._store, self._later = viewer, run_name, store, later
        self._grid: tuple[int, float] | None = None
        self._is_coming = False
        self._shown: int | None = None
        self._look_is_of: int | None = None
        self.keeps_contrast = False
        self._listens: Callable[..., None] = self._moved
        viewer.dims.events.point.connect(self._listens)

    def refresh(self, box_size: int, voxel_size: float, iteration: int) -> None:
        """Take in what the store has now, and show an iteration.

        Parameters
        ----------
        box_size : int
            Edge of the maps in voxels.
        voxel_size : float
            Angstrom.
        iteration : int
        """
        if self._store.newest(_SHOWS, iteration) is None and self.layer() is None:
            return
        self._grid = box_size, voxel_size
        layer = self.layer()
        if layer is not None:
            self._update(layer, iteration)
            return
        self._shown = iteration
        if not self._is_coming:
            self._is_coming = True
            self._later(self._add)

    def layer(self) -> Image | None:
        """Return the layer, None before it was made or after it was deleted."""
        for layer in self._viewer.layers:
            tag = layer.metadata.get(TAG, {})
            if (tag.get("run"), tag.get("role")) == (self._run_name, _ROLE):
                return layer
        return None

    def close(self) -> None:
        """Hear no more of the slider."""
        self._viewer.dims.events.point.disconnect(self._listens)

    @property
    def axis(self) -> int | None:
        """Number of the slider among the viewer's, None where there is none yet."""
        axis = self._viewer.dims.ndim - _N_SPATIAL - 1
        return axis if axis >= 0 and self.layer() is not None else None

    def _add(self) -> None:
        self._is_coming = False
        if self._grid is None or self._shown is None:
            return
        (box_size, voxel_size), iteration = self._grid, self._shown
        series = IterationSeries(self._store, _SHOWS, box_size)
        look = first_look(series[iteration])
        tag = {"run": self._run_name, "role": _ROLE, "iteration": iteration}
        layer = Image(
            series,
            name=f"{self._run_name} · iterations",
            contrast_limits=(look.low, look.high),
            iso_threshold=look.iso,
            rendering="iso",
            colormap="gray",
            visible=False,
            metadata={TAG: tag},
            **in_angstrom(series.shape, voxel_size),
        )
        with moved_by_the_program():
            add_quietly(self._viewer, layer)
        self._go_to(iteration)
        self._look_is_of = self._store.newest(_SHOWS, iteration)

    def _update(self, layer: Image, iteration: int) -> None:
        if self._grid is None:
            return
        box_size, voxel_size = self._grid
        series = IterationSeries(self._store, _SHOWS, box_size)
        with moved_by_the_program():
            layer.data = series
            # Set each time: a hidden layer does not notice by itself that it has grown.
            layer.scale = in_angstrom(series.shape, voxel_size)["scale"]
        layer.metadata[TAG]["iteration"] = iteration
        self._go_to(iteration)
        self._carry_look(layer, iteration)

    def _carry_look(self, layer: Image, iteration: int) -> None:
        """Let limits and contour enclose in the map that is shown what they did in the one before.

        The map of an iteration changes once: when its own reference comes.
        """
        before, self._look_is_of = self._look_is_of, self._store.newest(_SHOWS, iteration)
        if self.keeps_contrast or None in (before, self._look_is_of):
            return
        maps = [self._store.find(_SHOWS, number or 0) for number in (before, self._look_is_of)]
        if before == self._look_is_of or maps[0] is None or maps[1] is None:
            return
        low, high = (float(limit) for limit in layer.contrast_limits)
        look = Look(low, high, float(layer.iso_threshold))
        look = carried_over(look, maps[0], maps[1])
        layer.contrast_limits = (look.low, look.high)
        layer.iso_threshold = look.iso

    def _go_to(self, iteration: int) -> None:
        self._shown = iteration
        axis = self.axis
        if axis is None:
            return
        with moved_by_the_program():
            self._viewer.dims.set_point(axis, iteration)

    def _moved(self, *_: Any) -> None:
        axis = self.axis
        if self.n_own_moves or axis is None:
            return
        iteration = round(self._viewer.dims.point[axis])
        if iteration != self._shown:
            self.slider_moved.emit(iteration)


@contextmanager
def moved_by_the_program() -> Iterator[None]:
    """Move sliders without anybody taking it for a person's wish, whichever run it is about."""
    IterationsLayer.n_own_moves += 1
    try:
        yield
    finally:
        IterationsLayer.n_own_moves -= 1
