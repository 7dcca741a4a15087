"""Opens napari with the sample data and a refinement of them going on; ``make demo`` runs it."""

import argparse
from pathlib import Path
from typing import Any

import napari  # type: ignore[import-untyped]
from qtpy.QtCore import QTimer

from napari_blush.plugin.sample_sets import CFTR

_PLUGIN = "napari-blush"
_WIDTH, _HEIGHT = 1366, 768
_ASK_AGAIN_MILLISECONDS = 50


def main() -> None:
    """Open a window and run until it is closed."""
    parser = argparse.ArgumentParser(description="A refinement of the sample data in napari.")
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="run folder")
    viewer = napari.Viewer(title="napari-blush: demonstration")
    viewer.window.resize(_WIDTH, _HEIGHT)
    open_demo(viewer, parser.parse_args().output.absolute())
    napari.run()


def open_demo(viewer: Any, output: Path) -> Any:
    """Open the *Refine* dock, enter the sample data and press *Start* as soon as that can be.

    Parameters
    ----------
    viewer : napari.Viewer
    output : Path
        Run folder.

    Returns
    -------
    RefineWidget
    """
    _, dock = viewer.window.add_plugin_dock_widget(_PLUGIN, "Refine")
    dock.set_up.use_sample(CFTR)
    dock.inputs.fields["output"].set_value(output)
    timer = QTimer(dock)

    def start() -> None:
        if dock.controls.buttons["start"].isEnabled():
            timer.stop()
            dock.press("start")

    timer.timeout.connect(start)
    timer.start(_ASK_AGAIN_MILLISECONDS)
    return dock


if __name__ == "__main__":
    main()
