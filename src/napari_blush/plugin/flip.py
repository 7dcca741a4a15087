"""One map in the place of another as long as a key or a button is held: raw, denoised, trailed.

The maps are of one iteration and drawn at one contour. All is found by tag: layers may have been
renamed or reordered, and deleted ones are left out.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from napari_blush.plugin.layer_looks import TAG
from napari_blush.plugin.linked_contrast import levels_of, set_levels

KEYS = {"H": "half1", "N": "denoised1", "U": "reference"}
"""Keys to hold, by what they show: the half map, what the network made of it, and what is used for
alignment. napari gives none of them a meaning."""

_SHARE_A_PLACE = ("half1", "denoised1", "reference", "final")


@dataclass(frozen=True, slots=True)
class _Before:
    """How a layer was before another map took its place."""

    layer: Any
    visible: bool
    levels: tuple[float, float, float]
    rendering: str


class Flip:
    """Shows a map in the place of the visible one of the same run, and puts it back.

    Parameters
    ----------
    viewer : napari viewer or viewer model
        All runs in it are flipped at once.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._before: list[_Before] = []

    def show(self, role: str) -> None:
        """Show the map of a role; does nothing to a run in which it is seen already."""
        self.put_back()
        for layers in _by_run(self._viewer.layers).values():
            seen = [layer for layer in layers.values() if layer.visible]
            target = layers.get(role)
            if target is None or target.visible or not seen:
                continue
            self._before += [
                _Before(layer, layer.visible, levels_of(layer), str(layer.rendering))
                for layer in layers.values()
            ]
            set_levels(target, levels_of(seen[-1]))
            if target.rendering != seen[-1].rendering:
                target.rendering = seen[-1].rendering
            target.visible = True
            for layer in seen:
                layer.visible = False

    def put_back(self) -> None:
        """Show again what was seen before; layers that were deleted since are left out."""
        before, self._before = self._before, []
        for was in before:
            if was.layer not in self._viewer.layers:
                continue
            set_levels(was.layer, was.levels)
            if str(was.layer.rendering) != was.rendering:
                was.layer.rendering = was.rendering
        for was in before:
            if was.layer in self._viewer.layers:
                was.layer.visible = was.visible


def bind_keys(viewer: Any) -> None:
    """Give the keys in ``KEYS`` their meaning in a viewer; may be called again."""
    for key, role in KEYS.items():
        viewer.bind_key(key, _held(role), overwrite=True)


def _held(role: str) -> Callable[[Any], Any]:
    # napari lets a generator wait for the release of the key only if its function is plainly one,
    # which it would not be inside a wrapper that checks types; a lambda is left unwrapped.
    return lambda viewer: (yield from _hold(viewer, role))


def _hold(viewer: Any, role: str) -> Generator[None, None, None]:
    flip = Flip(viewer)
    flip.show(role)
    yield  # until the key is let go
    flip.put_back()


def _by_run(layers: Any) -> dict[str, dict[str, Any]]:
    """Return the layers that share a place, by run and role, in the order they are drawn in."""
    found: dict[str, dict[str, Any]] = {}
    for layer in layers:
        tag = layer.metadata.get(TAG, {})
        if tag.get("role") in _SHARE_A_PLACE:
            found.setdefault(tag.get("run"), {})[tag["role"]] = layer
    return found
