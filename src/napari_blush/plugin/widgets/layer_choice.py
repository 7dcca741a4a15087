"""A list of the viewer's layers of one kind, of which one is chosen; it follows the viewer."""

from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QWidget

from napari_blush.errors import SettingsError
from napari_blush.plugin.layer_grid import grid_of

_SAME_SIZE = 1e-3  # relative: what two headers may differ by rounding
_EVENTS = ("inserted", "removed", "reordered", "renamed")


class LayerChoice(QComboBox):
    """Layers by name, the topmost first; what is chosen stays chosen when layers come and go.

    Parameters
    ----------
    layers : napari layer list
    wanted : callable
        Whether a layer is offered.
    nothing : str, optional
        First entry, for no layer; without it the topmost is chosen.
    parent : QWidget, optional
    """

    changed = Signal()

    def __init__(
        self,
        layers: Any,
        wanted: Callable[[Any], bool],
        nothing: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._layers, self._wanted, self._nothing = layers, wanted, nothing
        self._offered: list[Any] = []
        self._has_left = False
        # A long name must not widen the dock.
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        for name in _EVENTS:
            getattr(layers.events, name).connect(self._list)
        self._list()
        self.currentIndexChanged.connect(lambda _: self.changed.emit())

    def layer(self) -> Any | None:
        """Return the chosen layer, None for none."""
        index = self.currentIndex()
        return self._offered[index] if 0 <= index < len(self._offered) else None

    def wanted_layer(self, what: str) -> Any:
        """Return the chosen layer.

        Raises
        ------
        SettingsError
            When none is.
        """
        layer = self.layer()
        if layer is None:
            raise SettingsError(
                f"No {what} is chosen; wanted an image layer of a map; open one first."
            )
        return layer

    def offered(self) -> list[Any]:
        """Return the layers that can be chosen."""
        return [layer for layer in self._offered if layer is not None]

    def choose(self, layer: Any | None) -> None:
        """Choose a layer that is offered."""
        for index, one in enumerate(self._offered):
            if one is layer:
                self.setCurrentIndex(index)

    def leave(self) -> None:
        """Stop following the viewer; may be called again."""
        if self._has_left:
            return
        self._has_left = True
        for name in _EVENTS:
            getattr(self._layers.events, name).disconnect(self._list)

    def _list(self, *_: Any) -> None:
        chosen = self.layer()
        found = [layer for layer in self._layers if self._wanted(layer)][::-1]
        self._offered = [None, *found] if self._nothing else found
        self.blockSignals(True)
        self.clear()
        self.addItems([self._nothing if one is None else one.name for one in self._offered])
        self.choose(chosen)
        self.blockSignals(False)
        self.changed.emit()


def is_map(layer: Any) -> bool:
    """Return whether a layer is a cubic map."""
    shape = getattr(layer.data, "shape", ())
    return type(layer).__name__ == "Image" and len(shape) == 3 and len(set(shape)) == 1


def common_grid(layers: Sequence[Any]) -> tuple[float, tuple[float, float, float]]:
    """Return voxel size and origin (x, y, z), in angstrom, of maps on one grid.

    Raises
    ------
    MrcFileError
        When one is no cube of cubic voxels.
    SettingsError
        When they are not on one grid.
    """
    grids = []
    for layer in layers:
        attributes = {"scale": layer.scale, "units": layer.units, "translate": layer.translate}
        grids.append((layer.data.shape[0], *grid_of(layer.name, layer.data.shape, attributes)))
    (n, voxel, origin), *others = grids
    for other_n, other_voxel, _ in others:
        if other_n != n or abs(other_voxel / voxel - 1) > _SAME_SIZE:
            raise SettingsError(
                f"Given maps of {n} voxels of {voxel:g} A and {other_n} of {other_voxel:g} A; "
                "wanted one grid; choose other layers."
            )
    return voxel, origin
