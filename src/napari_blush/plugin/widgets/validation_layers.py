"""The layers of what was judged: maps, and the surface coloured by local resolution.

Made once for a pair of half-maps and then updated in place.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from napari.utils import Colormap  # type: ignore[import-untyped]
from qtpy.QtCore import QTimer

from napari_blush.plugin.layer_looks import first_look

COLORS = Colormap(["#3d6bff", "#22c3dc", "#58cc46", "#f6d32d", "#f0502a"], name="blush resolution")
"""Of resolutions: blue is fine, red is coarse, as other programs have it; none is too dark."""

LOCAL, FILTERED, SURFACE = "local resolution (Å)", "locally filtered", "surface by local resolution"
_MASK = "automatic mask"


class ValidationLayers:
    """Layers beside a pair of half-maps.

    Parameters
    ----------
    viewer : napari viewer
    source : napari layer
        Half-map 1: its name, scale, place and units are theirs.
    """

    def __init__(self, viewer: Any, source: Any) -> None:
        self._viewer = viewer
        self._name = source.name
        self._where = {name: getattr(source, name) for name in ("scale", "translate", "units")}
        self._made: dict[str, Any] = {}

    def show_maps(self, maps: Mapping[str, Any], limits: tuple[float, float] | None = None) -> None:
        """Show maps by what they are, hidden when they are new; in a later turn."""
        # Nothing else may change the layers before the canvas is drawn.
        QTimer.singleShot(0, partial(self._show_maps, maps, limits))

    def show_surface(self, found: Any) -> tuple[float, float]:
        """Show a coloured surface with its colour bar, in a later turn; return what they span."""
        layer = self.layer(SURFACE)
        limits: tuple[float, float] = found.limits()
        if layer is not None:
            low, high = layer.contrast_limits  # set once; a person may have moved them
            limits = float(low), float(high)
        QTimer.singleShot(0, partial(self._show_surface, found, limits))
        return limits

    def layer(self, what: str) -> Any | None:
        """Return the layer of this, None before it was made or after it was deleted."""
        layer = self._made.get(what)
        return layer if layer is not None and layer in self._viewer.layers else None

    def _show_maps(self, maps: Mapping[str, Any], limits: tuple[float, float] | None) -> None:
        for what, values in maps.items():
            layer = self.layer(what)
            if layer is not None:
                layer.data = values
                continue
            self._made[what] = self._viewer.add_image(
                values,
                **{**self._where, **_look(what, values, limits)},
                name=f"{what} · {self._name}",
                visible=False,
            )

    def _show_surface(self, found: Any, limits: tuple[float, float]) -> None:
        data = (found.vertices, found.faces, found.values)
        layer = self.layer(SURFACE)
        if layer is not None:
            layer.data = data
            return
        is_pixel = str(self._where["units"][0]) == "pixel"  # other units would undo all layers'
        layer = self._made[SURFACE] = self._viewer.add_surface(
            data,
            name=f"{SURFACE} · {self._name}",
            colormap=COLORS,
            contrast_limits=limits,
            shading="smooth",
            units=("pixel" if is_pixel else "angstrom",) * 3,
        )
        layer.colorbar.visible = True
        for other in self._viewer.layers:
            if type(other).__name__ == "Image":
                other.visible = False  # they would hide it
        self._viewer.dims.ndisplay = 3


def _look(what: str, values: Any, limits: tuple[float, float] | None) -> dict[str, Any]:
    if what == LOCAL and limits is not None:
        return {"colormap": COLORS, "contrast_limits": limits, "rendering": "translucent"}
    if what == _MASK:
        return {
            "colormap": "cyan", "blending": "additive", "opacity": 0.3, "contrast_limits": (0, 1),
            "iso_threshold": 0.5, "rendering": "iso",
        }  # fmt: skip
    look = first_look(values)
    return {
        "contrast_limits": (look.low, look.high), "iso_threshold": look.iso, "rendering": "iso",
    }  # fmt: skip
