"""What a run has said, as napari layers: a fixed set, tagged, made once and updated in place.

Layers are found by their tag, never by name, so a person may rename, recolour and reorder them.
They are not removed and added again: replacing layers between two frames can crash the canvas.
Tensors become arrays here and nowhere else.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image  # type: ignore[import-untyped]
from torch import Tensor

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.plugin.hand import show_first_map_right_handed
from napari_blush.plugin.iteration_store import ITERATION_FILES, IterationStore
from napari_blush.plugin.layer_looks import (
    TAG,
    Look,
    carried_over,
    in_angstrom,
    middle_section,
)
from napari_blush.plugin.layer_roles import ROLES as ROLES
from napari_blush.refine.events import RunStarted
from napari_blush.session import RefinementSession

Volume = npt.NDArray[np.float32]
Later = Callable[[Callable[[], None]], None]


def at_once(action: Callable[[], None]) -> None:
    """Run an action now, where there is no event loop to wait for."""
    action()


def add_quietly(viewer: Any, layer: Any) -> None:
    """Add a layer, locked against deletion by accident, and leave selected what is selected.

    With the first of ours the view becomes right-handed.
    """
    show_first_map_right_handed(viewer)
    selected = set(viewer.layers.selection)
    viewer.add_layer(layer)
    layer.locked = True
    if selected:
        viewer.layers.selection = selected


class LayerBoard:
    """The layers of one run in one viewer.

    Parameters
    ----------
    viewer : napari viewer or viewer model
    run_name : str
        Stands in the names and tags of the layers.
    later : callable, optional
        Puts an action off to a later turn of the event loop; layers are only added there.
    store : IterationStore, optional
        Keeps the maps of past iterations; by default the newest alone.
    colormaps : mapping, optional
        Of roles, instead of those in ``ROLES``.

    Attributes
    ----------
    keeps_contrast : bool
        When set, limits and contours stay as they are, whatever the data do.
    pinned : int or None
        The iteration that is shown; None: always the latest.
    led : set of str
        Roles whose limits and contour follow another layer's and not their own data.
    is_updating : bool
        While limits and contours follow new data.
    """

    def __init__(
        self,
        viewer: Any,
        run_name: str,
        later: Later = at_once,
        store: IterationStore | None = None,
        colormaps: Mapping[str, Any] | None = None,
    ) -> None:
        self._viewer = viewer
        self._run_name = run_name
        self._later = later
        self._store = IterationStore(0) if store is None else store
        self._colormaps = dict(colormaps or {})
        self._waiting: dict[str, tuple[Volume, float, int]] = {}
        self._iteration = 0
        self._voxel_size = 1.0
        self._grid = 0, 1.0
        self.keeps_contrast = False
        self.pinned: int | None = None
        self.led: set[str] = set()
        self.is_updating = False

    def follow(self, session: RefinementSession) -> Callable[[], None]:
        """Show what the session has from now on; return the function that ends it."""

        def show_references(references: tuple[Tensor, Tensor] | None) -> None:
            if references is not None and session.run is not None:
                self.show("reference", references[0], session.run.pixel_size)

        connections: dict[str, Callable[..., None]] = {
            "run": self._begin,
            "iteration": self._at_iteration,
            "half_maps": self._show_half_maps,
            "references": show_references,
            "denoised_maps": lambda maps: self._show_in_turn(maps, session.half_maps),
            "result": self._show_final,
        }
        for name, slot in connections.items():
            session.events[name].connect(slot)

        def forget() -> None:
            for name, slot in connections.items():
                session.events[name].disconnect(slot)

        return forget

    def show(self, role: str, volume: Tensor | Volume, voxel_size: float) -> None:
        """Put a map into the layer of its role, which is made where there is none.

        While an iteration is pinned, newer maps of iterations are kept and not shown.

        Parameters
        ----------
        role : str
            A key of ``ROLES``.
        volume : (n, n, n) tensor or array
        voxel_size : float
            Angstrom.
        """
        values = as_array(volume)
        self._voxel_size = voxel_size
        if role in ITERATION_FILES and (self._iteration or self._is_on_the_grid(values)):
            self._store.keep(role, self._iteration, values)
            if self.pinned is not None:
                return
        self._draw(role, values, self._iteration)

    def show_iteration(self, iteration: int | None) -> None:
        """Take all maps back to an iteration, or to the latest and on with it.

        Parameters
        ----------
        iteration : int or None
            What has no map of it is empty; the reference is the one that was valid then.
        """
        self.pinned = iteration
        up_to = self._store.latest if iteration is None else iteration
        if up_to is None:
            return
        if self._grid[0]:
            self._voxel_size = self._grid[1]
        shown: dict[str, Volume] = {}
        for role in ITERATION_FILES:
            number = self._store.newest(role, up_to)
            is_of_it = number == up_to or role == "reference" or iteration is None
            values = None if number is None or not is_of_it else self._store.find(role, number)
            if values is not None and number is not None:
                shown[role] = values
                self._draw(role, values, number)
            else:
                self._empty(role, up_to)
        if {"half1", "denoised1"} <= set(shown):
            self._draw("change", change_in_sigma(shown["half1"], shown["denoised1"]), up_to)
        else:
            self._empty("change", up_to)

    def layer(self, role: str) -> Image | None:
        """Return the layer of a role, None before it was made or after it was deleted."""
        wanted = {"run": self._run_name, "role": role}
        for layer in self._viewer.layers:
            tag = layer.metadata.get(TAG, {})
            if {name: tag.get(name) for name in wanted} == wanted:
                return layer
        return None

    def has(self, role: str) -> bool:
        """Return whether there is a layer of a role, or one about to be added."""
        return role in self._waiting or self.layer(role) is not None

    def layers(self) -> dict[str, Image]:
        """Return the layers that are there, by role."""
        found = ((role, self.layer(role)) for role in ROLES)
        return {role: layer for role, layer in found if layer is not None}

    def all_of_the_run(self) -> list[Any]:
        """Return all layers that are tagged with the run, curves and directions among them."""
        return [
            layer
            for layer in self._viewer.layers
            if layer.metadata.get(TAG, {}).get("run") == self._run_name
        ]

    def fit_view(self, layers: list[Any]) -> None:
        """Bring layers of the run into view, seen from where they are seen."""
        # napari cannot measure layers that all have fewer dimensions than the viewer; the
        # iterations have all of them, and the extent of a map.
        deep = [layer for layer in self.all_of_the_run() if layer.ndim == self._viewer.dims.ndim]
        if layers and deep:
            self._viewer.reset_view(layers={*layers, deep[0]}, reset_camera_angle=False)

    def hide(self) -> None:
        """Hide all layers of the run, to make room for another one."""
        for layer in self.all_of_the_run():
            layer.visible = False

    def _begin(self, run: RunStarted | None) -> None:
        """Forget what the run is going to make again, and show what its folder has from before."""
        if run is None:
            return
        self._voxel_size = run.pixel_size
        self._grid = run.box_size, run.pixel_size
        self._store.begin_at(run.first_iteration)
        start = self.layer("reference")
        if run.first_iteration == 1 and start is not None:
            self._keep_start(start)
        self.show_iteration(None)

    def _keep_start(self, layer: Image) -> None:
        """Keep the start map as iteration 0, if it has the grid of those that are to come."""
        if self._is_on_the_grid(layer.data, float(layer.scale[-1])):
            self._store.keep("reference", 0, layer.data)

    def _is_on_the_grid(self, values: Volume, voxel_size: float | None = None) -> bool:
        box_size, wanted = self._grid
        given = self._voxel_size if voxel_size is None else voxel_size
        return values.shape == (box_size,) * 3 and math.isclose(given, wanted, rel_tol=1e-3)

    def _at_iteration(self, iteration: int) -> None:
        self._iteration = iteration

    def _show_half_maps(self, maps: HalfMaps | None) -> None:
        if maps is not None:
            self.show("half1", maps.half1, maps.voxel_size)
            self.show("half2", maps.half2, maps.voxel_size)

    def _show_in_turn(self, denoised: HalfMaps | None, raw: HalfMaps | None) -> None:
        """Show what the denoiser made in turns of the event loop of their own: none takes long."""
        self._later(lambda: self._show_denoised(denoised))
        self._later(lambda: self._show_change(denoised, raw))

    def _show_denoised(self, denoised: HalfMaps | None) -> None:
        if denoised is None:
            return
        self.show("denoised1", denoised.half1, denoised.voxel_size)
        self.show("denoised2", denoised.half2, denoised.voxel_size)

    def _show_change(self, denoised: HalfMaps | None, raw: HalfMaps | None) -> None:
        if denoised is not None and raw is not None and self.pinned is None:
            pair = raw.half1, denoised.half1
            change = change_in_sigma(*(volume.cpu().numpy() for volume in pair))
            self.show("change", change, denoised.voxel_size)

    def _show_final(self, result: Any) -> None:
        if result is not None:
            self.show("final", result.final_map, result.half_maps.voxel_size)

    def _draw(self, role: str, values: Volume, iteration: int) -> None:
        layer = self.layer(role)
        if layer is not None:
            self._update(layer, role, values, iteration)
            return
        is_new = role not in self._waiting
        self._waiting[role] = values, self._voxel_size, iteration
        if is_new:
            self._later(lambda: self._add(role))

    def _empty(self, role: str, iteration: int) -> None:
        """Show nothing in a layer, if there is one, and leave its limits alone."""
        self._waiting.pop(role, None)
        layer = self.layer(role)
        if layer is not None:
            layer.data = np.zeros(layer.data.shape, np.float32)
            layer.metadata[TAG]["iteration"] = iteration

    def _add(self, role: str) -> None:
        if role not in self._waiting:
            return
        values, voxel_size, iteration = self._waiting.pop(role)
        look, kind = ROLES[role].look(values), ROLES[role]
        colors = {"colormap": self._colormaps[role]} if role in self._colormaps else {}
        layer = Image(
            values,
            **{
                "name": f"{self._run_name} · {kind.title}",
                "contrast_limits": (look.low, look.high),
                "iso_threshold": look.iso,
                "rendering": "iso",
                "metadata": {
                    TAG: {"run": self._run_name, "role": role, "iteration": iteration},
                },
                **in_angstrom(values.shape, voxel_size),
                **kind.arguments,
                **(middle_section(values.shape) if kind.is_section else {}),
                **colors,
            },
        )
        reference = self.layer("reference")
        if role == "final" and reference is not None:
            if self.pinned is None:
                reference.visible = False  # the two would hide one another
            else:
                layer.visible = False
        add_quietly(self._viewer, layer)
        if role == "final" and layer.visible and reference in self._viewer.layers.selection:
            self._viewer.layers.selection = {layer}

    def _update(self, layer: Image, role: str, values: Volume, iteration: int) -> None:
        before = layer.data
        layer.data = values
        scale = in_angstrom(values.shape, self._voxel_size)["scale"]
        if tuple(layer.scale) != scale:
            layer.scale = scale
        layer.metadata[TAG]["iteration"] = iteration
        if self.keeps_contrast or ROLES[role].keeps_look or role in self.led:
            return
        low, high = (float(limit) for limit in layer.contrast_limits)
        look = Look(low, high, float(layer.iso_threshold))
        look = carried_over(look, before, values)
        self.is_updating = True
        try:
            layer.contrast_limits = (look.low, look.high)
            layer.iso_threshold = look.iso
        finally:
            self.is_updating = False


def as_array(volume: Tensor | Volume) -> Volume:
    """Return a map as an array of its own, which nothing that computes writes to."""
    if isinstance(volume, Tensor):
        volume = volume.detach().cpu().numpy()
    return np.array(volume, dtype=np.float32)


def change_in_sigma(before: Volume, after: Volume) -> Volume:
    """Return what was changed, in standard deviations of the map before; 0 for a constant map."""
    sigma = float(before.std())
    if sigma == 0:
        return np.zeros_like(before)
    change: Volume = np.subtract(after, before, dtype=np.float32)
    change *= np.float32(1 / sigma)
    return change
