"""Layers of a run whose limits and contours move together; found by tag, so any may come and go.

Maps of one kind share their levels. The denoiser's change is in other units: its levels move by
the same factor.
"""

from typing import Any

from napari_blush.plugin.layer_looks import TAG
from napari_blush.plugin.layers import LayerBoard

SAME_GREYS = ("denoised1", "reference", "half1", "half2")
"""Roles that share their levels; the first that is there leads."""

BY_FACTOR = "change"

_Levels = tuple[float, float, float]
_SMALLEST = 1e-12


class LinkedContrast:
    """The link between the layers of one run, from ``start`` to ``stop``.

    Parameters
    ----------
    viewer : napari viewer or viewer model
    board : LayerBoard
    """

    def __init__(self, viewer: Any, board: LayerBoard) -> None:
        self._viewer, self._board = viewer, board
        self._linked: list[Any] = []
        self._levels: dict[str, _Levels] = {}
        self._is_following = False
        self.is_on = False

    def start(self) -> None:
        """Give all maps the levels of the first, and keep them together from now on."""
        if self.is_on:
            return
        self.is_on = True
        self._viewer.layers.events.inserted.connect(self._relink)
        self._viewer.layers.events.removed.connect(self._relink)
        self._relink()

    def stop(self) -> None:
        """Leave levels as they are, each layer its own again."""
        if not self.is_on:
            return
        self.is_on = False
        self._viewer.layers.events.inserted.disconnect(self._relink)
        self._viewer.layers.events.removed.disconnect(self._relink)
        self._disconnect()
        self._board.led = set()

    def _relink(self, *_: Any) -> None:
        self._disconnect()
        layers = self._board.layers()
        there = [role for role in SAME_GREYS if role in layers]
        self._board.led = set(there[1:])
        if there:
            self._spread(there[0], levels_of(layers[there[0]]))
        for role in (*there, BY_FACTOR):
            if role in layers:
                self._levels[role] = levels_of(layers[role])
                layers[role].events.contrast_limits.connect(self._changed)
                layers[role].events.iso_threshold.connect(self._changed)
                self._linked.append(layers[role])

    def _disconnect(self) -> None:
        for layer in self._linked:
            layer.events.contrast_limits.disconnect(self._changed)
            layer.events.iso_threshold.disconnect(self._changed)
        self._linked, self._levels = [], {}

    def _changed(self, event: Any) -> None:
        role = event.source.metadata.get(TAG, {}).get("role")
        if self._is_following or role not in self._levels:
            return
        before, after = self._levels[role], levels_of(event.source)
        self._levels[role] = after
        if role == BY_FACTOR:
            leader = next((name for name in SAME_GREYS if name in self._levels), None)
            if leader is not None:
                self._spread(leader, _scaled(self._levels[leader], before, after))
            return
        self._spread(role, after)
        # What the data of the next iteration do to the levels of maps is not a person's wish.
        if not self._board.is_updating and BY_FACTOR in self._levels:
            self._set(BY_FACTOR, _scaled(self._levels[BY_FACTOR], before, after))

    def _spread(self, role: str, levels: _Levels) -> None:
        for name in (role, *SAME_GREYS):
            self._set(name, levels)

    def _set(self, role: str, levels: _Levels) -> None:
        layer = self._board.layer(role)
        if layer is None:
            return
        self._is_following = True
        try:
            set_levels(layer, levels)
        finally:
            self._is_following = False
        self._levels[role] = levels


def levels_of(layer: Any) -> _Levels:
    """Return lower limit, upper limit and contour of an image layer."""
    low, high = layer.contrast_limits
    return float(low), float(high), float(layer.iso_threshold)


def set_levels(layer: Any, levels: _Levels) -> None:
    """Give an image layer its limits and contour, telling of what is new alone."""
    low, high, iso = levels
    if levels_of(layer)[:2] != (low, high):
        layer.contrast_limits = (low, high)
    if levels_of(layer)[2] != iso:
        layer.iso_threshold = iso


def _scaled(levels: _Levels, before: _Levels, after: _Levels) -> _Levels:
    """Return levels about their middle, wider and higher as others became."""
    low, high, iso = levels
    width = max(before[1] - before[0], _SMALLEST)
    factor = max((after[1] - after[0]) / width, _SMALLEST)
    middle, reach = (low + high) / 2, (high - low) / 2 * factor
    raised = after[2] / before[2] if abs(before[2]) > _SMALLEST else 1.0
    return middle - reach, middle + reach, iso * (raised if raised > 0 else 1.0)
