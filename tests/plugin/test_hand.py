"""The first of our layers makes the view right-handed for maps, and nothing else touches it."""

import pytest
import torch
from napari.components import ViewerModel
from napari.layers import Image
from napari.layers._source import Source

from napari_blush.plugin.hand import show_first_map_right_handed, show_right_handed
from napari_blush.plugin.layers import LayerBoard

VOLUME = torch.zeros(4, 4, 4)


def axes_on_the_screen(viewer: ViewerModel) -> list[list[int]]:
    """Return where x, y and z of a map point to, as (right, up, towards the viewer)."""
    vectors = {
        "right": [1, 0, 0], "left": [-1, 0, 0], "up": [0, 1, 0], "down": [0, -1, 0],
        "towards": [0, 0, 1], "away": [0, 0, -1],
    }  # fmt: skip
    depth, vertical, horizontal = viewer.scene.camera.orientation
    return [vectors[str(axis)] for axis in (horizontal, vertical, depth)]


def is_right_handed(viewer: ViewerModel) -> bool:
    return bool(torch.linalg.det(torch.tensor(axes_on_the_screen(viewer)).float()) > 0)


def test_a_fresh_viewer_shows_maps_in_a_mirror_until_the_first_layer() -> None:
    viewer = ViewerModel()
    assert not is_right_handed(viewer)
    board = LayerBoard(viewer, "run")
    board.show("half1", VOLUME, 2.0)
    assert is_right_handed(viewer)
    viewer.scene.camera.orientation = ("towards", "down", "right")  # a person wants it so
    board.show("half2", VOLUME, 2.0)
    assert not is_right_handed(viewer)


def test_a_map_that_was_read_counts_as_the_first() -> None:
    viewer = ViewerModel()
    show_first_map_right_handed(viewer)
    assert is_right_handed(viewer)
    read = Image(VOLUME.numpy())
    read._set_source(Source(reader_plugin="napari-blush"))
    viewer.add_layer(read)
    viewer.scene.camera.orientation = ("towards", "down", "right")
    show_first_map_right_handed(viewer)
    assert not is_right_handed(viewer)
    show_first_map_right_handed(None)  # no window, nothing to turn


@pytest.mark.parametrize("depth", ["towards", "away"])
@pytest.mark.parametrize("vertical", ["up", "down"])
@pytest.mark.parametrize("horizontal", ["left", "right"])
def test_any_view_becomes_right_handed(depth, vertical, horizontal) -> None:
    viewer = ViewerModel()
    viewer.scene.camera.orientation = (depth, vertical, horizontal)
    was_right = is_right_handed(viewer)
    show_right_handed(viewer)
    assert is_right_handed(viewer)
    after = tuple(str(axis) for axis in viewer.scene.camera.orientation)
    assert after[1:] == (vertical, horizontal)  # pictures in two dimensions are left alone
    assert (after[0] == depth) == was_right
