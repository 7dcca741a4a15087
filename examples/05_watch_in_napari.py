"""Open napari with the Refine dock and the sample data entered; press *Start*."""

import napari


def main() -> napari.Viewer:
    """Return a viewer with the dock in it."""
    viewer = napari.Viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari-blush", "Refine")
    dock.use_sample()
    return viewer


if __name__ == "__main__":
    main()
    napari.run()
