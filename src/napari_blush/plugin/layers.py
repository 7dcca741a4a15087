"""What a run has said, as napari layers: a fixed set, tagged, made once and updated in place.

Layers are found by their tag, never by name, so a person may rename, recolour and reorder them.
They are not removed and added again: replacing layers between two frames can crash the canvas.
Tensors become arrays here and nowhere else.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image  # type: ignore[import-untyped]
from napari.utils import Colormap  # type: ignore[import-untyped]
from torch import Tensor

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.results import IterationResult
from napari_blush.plugin.layer_looks import (
    TAG,
    Look,
    carried_over,
    first_look,
    in_angstrom,
    symmetric_look,
)
from napari_blush.session import RefinementSession

Volume = npt.NDArray[np.float32]
Later = Callable[[Callable[[], None]], None]

CHANGE_COLORS = Colormap(
    [[0.25, 0.55, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0], [1.0, 0.45, 0.2, 1.0]],
    name="blush change",
    display_name="blue, nothing, orange",
)


@dataclass(frozen=True, slots=True)
class Role:
    """A layer of a run: its name, and how it looks when it is made."""

    title: str
    look: Callable[[Volume], Look] = first_look
    arguments: dict[str, Any] = field(default_factory=dict)
    keeps_look: bool = False


_HIDDEN: dict[str, Any] = {"visible": False}
ROLES = {
    "reference": Role("reference", arguments={"colormap": "gray"}),
    "half1": Role("half map 1", arguments={"colormap": "gray", **_HIDDEN}),
    "half2": Role("half map 2", arguments={"colormap": "gray", **_HIDDEN}),
    "denoised1": Role("denoised 1 (align to)", arguments={"colormap": "gray", **_HIDDEN}),
    "denoised2": Role("denoised 2 (align to)", arguments={"colormap": "gray", **_HIDDEN}),
    "change": Role(
        "denoiser change (sigma)",
        look=symmetric_look,
        arguments={
            "colormap": CHANGE_COLORS, "blending": "additive", "rendering": "translucent",
            **_HIDDEN,
        },
        keeps_look=True,
    ),
    "mask": Role(
        "mask",
        look=lambda values: Look(0.0, 1.0, 0.5),
        arguments={"colormap": "cyan", "blending": "additive", "opacity": 0.3, **_HIDDEN},
        keeps_look=True,
    ),
    "final": Role("final map", arguments={"colormap": "gray"}),
}  # fmt: skip


def at_once(action: Callable[[], None]) -> None:
    """Run an action now, where there is no event loop to wait for."""
    action()


class LayerBoard:
    """The layers of one run in one viewer.

    Parameters
    ----------
    viewer : napari viewer or viewer model
    run_name : str
        Stands in the names and tags of the layers.
    later : callable, optional
        Puts an action off to a later turn of the event loop; layers are only added there.

    Attributes
    ----------
    keeps_contrast : bool
        When set, limits and contours stay as they are, whatever the data do.
    """

    def __init__(self, viewer: Any, run_name: str, later: Later = at_once) -> None:
        self._viewer = viewer
        self._run_name = run_name
        self._later = later
        self._waiting: dict[str, tuple[Volume, float, int]] = {}
        self._iteration = 0
        self.keeps_contrast = False

    def follow(self, session: RefinementSession) -> Callable[[], None]:
        """Show what the session has from now on; return the function that ends it."""

        def show_references(references: tuple[Tensor, Tensor] | None) -> None:
            if references is not None and session.run is not None:
                self.show("reference", references[0], session.run.pixel_size)

        connections: dict[str, Callable[..., None]] = {
            "iteration": self._at_iteration,
            "half_maps": self._show_half_maps,
            "references": show_references,
            "last_result": self._show_denoised,
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

        Parameters
        ----------
        role : str
            A key of ``ROLES``.
        volume : (n, n, n) tensor or array
        voxel_size : float
            Angstrom.
        """
        values = as_array(volume)
        layer = self.layer(role)
        if layer is not None:
            self._update(layer, role, values, voxel_size)
            return
        is_new = role not in self._waiting
        self._waiting[role] = values, voxel_size, self._iteration
        if is_new:
            self._later(lambda: self._add(role))

    def layer(self, role: str) -> Image | None:
        """Return the layer of a role, None before it was made or after it was deleted."""
        wanted = {"run": self._run_name, "role": role}
        for layer in self._viewer.layers:
            tag = layer.metadata.get(TAG, {})
            if {name: tag.get(name) for name in wanted} == wanted:
                return layer
        return None

    def layers(self) -> dict[str, Image]:
        """Return the layers that are there, by role."""
        found = ((role, self.layer(role)) for role in ROLES)
        return {role: layer for role, layer in found if layer is not None}

    def hide(self) -> None:
        """Hide all layers, to make room for another run."""
        for layer in self.layers().values():
            layer.visible = False

    def _at_iteration(self, iteration: int) -> None:
        self._iteration = iteration

    def _show_half_maps(self, maps: HalfMaps | None) -> None:
        if maps is not None:
            self.show("half1", maps.half1, maps.voxel_size)
            self.show("half2", maps.half2, maps.voxel_size)

    def _show_denoised(self, result: IterationResult | None) -> None:
        if result is None or result.denoised_maps is None:
            return
        denoised, voxel_size = result.denoised_maps, result.denoised_maps.voxel_size
        self.show("denoised1", denoised.half1, voxel_size)
        self.show("denoised2", denoised.half2, voxel_size)
        change = change_in_sigma(as_array(result.half_maps.half1), as_array(denoised.half1))
        self.show("change", change, voxel_size)

    def _show_final(self, result: Any) -> None:
        if result is not None:
            self.show("final", result.final_map, result.half_maps.voxel_size)

    def _add(self, role: str) -> None:
        values, voxel_size, iteration = self._waiting.pop(role)
        look, kind = ROLES[role].look(values), ROLES[role]
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
            },
        )
        self._viewer.add_layer(layer)
        layer.locked = True
        reference = self.layer("reference")
        if role == "final" and reference is not None:
            reference.visible = False  # the two would hide one another

    def _update(self, layer: Image, role: str, values: Volume, voxel_size: float) -> None:
        before = layer.data
        layer.data = values
        scale = in_angstrom(values.shape, voxel_size)["scale"]
        if tuple(layer.scale) != scale:
            layer.scale = scale
        layer.metadata[TAG]["iteration"] = self._iteration
        if self.keeps_contrast or ROLES[role].keeps_look:
            return
        low, high = (float(limit) for limit in layer.contrast_limits)
        look = Look(low, high, float(layer.iso_threshold))
        look = carried_over(look, before, values)
        layer.contrast_limits = (look.low, look.high)
        layer.iso_threshold = look.iso


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
    return np.asarray((after - before) / sigma, dtype=np.float32)
