"""The hand of what is seen in three dimensions.

napari calls a view right-handed when depth, height and width, in this order, make a right-handed
frame. The axes of a map are z, y and x in this order, and x, y and z make the right-handed one: in
a view that napari calls right-handed a map is seen in a mirror, and its helices turn left.
"""

from typing import Any

from napari_blush.plugin.layer_looks import TAG

_OPPOSITE = {"towards": "away", "away": "towards"}
_PLUGIN = "napari-blush"


def show_first_map_right_handed(viewer: Any) -> None:
    """Make the view right-handed before the first layer of ours; later a person may change it.

    Parameters
    ----------
    viewer : napari viewer or viewer model, or None
        None where there is no window.
    """
    if viewer is not None and not any(_is_ours(layer) for layer in viewer.layers):
        show_right_handed(viewer)


def _is_ours(layer: Any) -> bool:
    source = layer.source
    was_read = source.reader_plugin == _PLUGIN or _PLUGIN in (source.sample or ())
    return TAG in layer.metadata or was_read


def show_volumes(viewer: Any) -> None:
    """Make an empty viewer right-handed, of three dimensions: a map is no section at first.

    Parameters
    ----------
    viewer : napari viewer or viewer model, or None
        None where there is no window.
    """
    show_first_map_right_handed(viewer)
    if viewer is not None and not len(viewer.layers):
        viewer.dims.ndisplay = 3


def show_right_handed(viewer: Any) -> None:
    """Turn the depth axis of a viewer's camera round where maps would be seen in a mirror.

    Pictures in two dimensions stay as they are. A view that is right already is left alone.

    Parameters
    ----------
    viewer : napari viewer or viewer model
    """
    camera = viewer.scene.camera
    if str(camera.handedness) == "right":
        depth, vertical, horizontal = (str(axis) for axis in camera.orientation)
        camera.orientation = (_OPPOSITE[depth], vertical, horizontal)
