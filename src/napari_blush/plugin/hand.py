"""The hand of what is seen in three dimensions.

napari calls a view right-handed when depth, height and width, in this order, make a right-handed
frame. The axes of a map are z, y and x in this order, and x, y and z make the right-handed one: in
a view that napari calls right-handed a map is seen in a mirror, and its helices turn left.
"""

from typing import Any

_OPPOSITE = {"towards": "away", "away": "towards"}


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
