"""The maps of an iteration side by side, in the same greys, linked."""

from typing import Any

from napari_blush.plugin.layers import LayerBoard
from napari_blush.plugin.linked_contrast import LinkedContrast

_WITH_A_DENOISER = ("half1", "half2", "denoised1", "change")
_WITHOUT = ("half1", "half2", "reference")
_FONT_SIZE = 8
_FAR_AWAY = 1e-3
"""Of the zoom: maps of a few pixels are drawn in no time, even without a graphics card."""


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
        self._before: list[tuple[Any, bool]] = []
        self._had_grid = False
        self._camera: tuple[Any, float] = (0.0, 0.0, 0.0), 1.0

    def side_by_side(self, wanted: bool) -> None:
        """Show half maps, denoised map and change in a grid, named, their limits linked."""
        if wanted == self._linked.is_on:
            return
        camera = self._viewer.scene.camera
        if wanted:
            self._camera = camera.center, camera.zoom
            self._had_grid = bool(self._viewer.canvas.grid.enabled)
            shown = self._show_alone()
            self._linked.start()
            self._turn_section()
            camera.events.angles.connect(self._turn_section)
            self._open_grid()
            self._board.fit_view(shown)
        else:
            self._linked.stop()
            camera.events.angles.disconnect(self._turn_section)
            self._viewer.canvas.grid.enabled = self._had_grid
            for layer, visible in self._before:
                layer.name_overlay.visible = False
                layer.visible = visible
            self._before = []
            camera.center, camera.zoom = self._camera

    def _turn_section(self, *_: Any) -> None:
        """Let the section of the change face whoever looks at it."""
        layer = self._board.layer("change")
        if layer is not None:
            layer.plane.normal = self._viewer.scene.camera.view_direction

    def _open_grid(self) -> None:
        """Make the views, and draw once, unseen: they know their size, and how to zoom, then."""
        camera = self._viewer.scene.camera
        zoom, camera.zoom = camera.zoom, _FAR_AWAY * camera.zoom
        self._viewer.canvas.grid.enabled = True
        if hasattr(self._viewer, "screenshot"):  # where there is a window
            self._viewer.screenshot(canvas_only=True, flash=False)
        camera.zoom = zoom

    def _show_alone(self) -> list[Any]:
        """Show the maps to be compared, with their names, and nothing else of the run."""
        layers = self._board.layers()
        roles = _WITH_A_DENOISER if "denoised1" in layers else _WITHOUT
        shown = [layers[role] for role in roles if role in layers]
        # Layers that do not share a place with the maps, like curves, are hidden as well.
        self._before = [(layer, bool(layer.visible)) for layer in self._board.all_of_the_run()]
        for layer, _ in self._before:
            layer.visible = layer in shown
            layer.name_overlay.visible = layer in shown
            layer.name_overlay.font_size = _FONT_SIZE
        return shown
