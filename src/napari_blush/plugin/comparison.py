"""The maps of an iteration side by side, in the same greys, linked."""

from typing import Any

from napari_blush.plugin.layers import LayerBoard
from napari_blush.plugin.linked_contrast import LinkedContrast

_WITH_A_DENOISER = ("half1", "half2", "denoised1", "change")
_WITHOUT = ("half1", "half2", "reference")


class Comparison:
    """Changes what is visible, and puts it back.

    Parameters
    ----------
    viewer : napari viewer or viewer model
    board : LayerBoard
    """

    def __init__(self, viewer: Any, board: LayerBoard) -> None:
        self._viewer, self._board = viewer, board
        self._linked = LinkedContrast(viewer, board)
        self._before: dict[str, bool] = {}
        self._had_grid = False

    def side_by_side(self, wanted: bool) -> None:
        """Show half maps, denoised map and change in a grid, named, their limits linked."""
        if wanted == self._linked.is_on:
            return
        if wanted:
            layers = self._board.layers()
            self._before = {role: bool(layer.visible) for role, layer in layers.items()}
            self._had_grid = bool(self._viewer.canvas.grid.enabled)
            roles = _WITH_A_DENOISER if "denoised1" in layers else _WITHOUT
            for role, layer in layers.items():
                layer.visible = role in roles
                layer.name_overlay.visible = role in roles
            self._linked.start()
            self._viewer.canvas.grid.enabled = True
        else:
            self._linked.stop()
            self._viewer.canvas.grid.enabled = self._had_grid
            for role, layer in self._board.layers().items():
                layer.name_overlay.visible = False
                if role in self._before:
                    layer.visible = self._before[role]
            self._before = {}
