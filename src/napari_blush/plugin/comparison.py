"""The maps of an iteration side by side, or one flipped to the raw half map."""

from typing import Any

from napari_blush.plugin.layers import LayerBoard

_SIDE_BY_SIDE = ("half1", "half2", "denoised1", "reference", "change")
_SAME_GREYS = ("half2", "denoised1", "reference")


class Comparison:
    """Changes what is visible, and puts it back.

    Parameters
    ----------
    viewer : napari viewer or viewer model
    board : LayerBoard
    """

    def __init__(self, viewer: Any, board: LayerBoard) -> None:
        self._viewer, self._board = viewer, board
        self._before: dict[str, bool] = {}
        self._had_grid = False

    def side_by_side(self, wanted: bool) -> None:
        """Show half maps, denoised map, reference and change in a grid, in the same greys."""
        if wanted:
            self._remember()
            self._had_grid = bool(self._viewer.canvas.grid.enabled)
            self._equalize()
            self._show(_SIDE_BY_SIDE)
            self._viewer.canvas.grid.enabled = True
        else:
            self._viewer.canvas.grid.enabled = self._had_grid
            self._put_back()

    def show_raw(self, wanted: bool) -> None:
        """Show half map 1 in the place of all else."""
        if wanted:
            self._remember()
            self._show(("half1",))
        else:
            self._put_back()

    def _show(self, roles: tuple[str, ...]) -> None:
        for role, layer in self._board.layers().items():
            layer.visible = role in roles

    def _equalize(self) -> None:
        layers = self._board.layers()
        model = layers.get("denoised1") or layers.get("reference")
        if model is None:
            return
        for role in ("half1", *_SAME_GREYS):
            if role in layers:
                layers[role].contrast_limits = model.contrast_limits
                layers[role].iso_threshold = model.iso_threshold

    def _remember(self) -> None:
        layers = self._board.layers()
        self._before = {role: bool(layer.visible) for role, layer in layers.items()}

    def _put_back(self) -> None:
        layers = self._board.layers()
        for role, visible in self._before.items():
            if role in layers:
                layers[role].visible = visible
        self._before = {}
