"""Takes the README's picture of the window: runs the demonstration in it, on a virtual display.

    python docs/make_screenshot.py [--output docs/images/window.png] [--theme dark]

Needs napari and, where there is no display, Xvfb. Takes as long as ``make demo``: minutes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 1366, 768
LONGEST = 1200.0
COLORS = 256
SETTLED = 3.0
"""Seconds for layers and curves to be drawn after the last iteration."""


def main() -> None:
    """Run, look, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY / "docs" / "images" / "window.png"
    )
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    options = parser.parse_args()
    server = virtual_display()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            output = options.output.absolute()
            # The dock says where the maps are; that should not be a folder of this computer.
            os.chdir(temporary)
            take(output, options.theme, Path("demo_output"))
            os.chdir(REPOSITORY)
    finally:
        if server is not None:
            server.terminate()
    print(f"Wrote {options.output}: {options.output.stat().st_size / 1000:.0f} kB")


def virtual_display() -> subprocess.Popen[bytes] | None:
    """Start Xvfb where there is no display, with software rendering and napari's own settings."""
    os.environ["NAPARI_CONFIG"] = ""
    if os.environ.get("DISPLAY") or sys.platform != "linux":
        return None
    read_end, write_end = os.pipe()
    screen = f"{WIDTH}x{HEIGHT}x24"
    command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", screen, "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write_end], stderr=subprocess.DEVNULL)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        os.environ["DISPLAY"] = f":{pipe.readline().strip()}"
    os.environ["LIBGL_ALWAYS_SOFTWARE"] = "1"
    return server


def take(output: Path, theme: str, run: Path) -> None:
    """Run the demonstration in a window and write what it looks like at the end."""
    # The display must be there before these are imported.
    import napari  # noqa: PLC0415
    from qtpy.QtWidgets import QApplication  # noqa: PLC0415

    from napari_blush.plugin.demo import open_demo  # noqa: PLC0415
    from napari_blush.plugin.run_phase import RunPhase  # noqa: PLC0415

    viewer = napari.Viewer()
    viewer.theme = theme
    viewer.window.set_geometry(0, 0, WIDTH, HEIGHT)
    application = QApplication.instance()
    ended = (RunPhase.FINISHED, RunPhase.FAILED, RunPhase.CANCELLED)

    def wait(is_so: Callable[[], bool], seconds: float) -> None:
        ends = time.monotonic() + seconds
        while not is_so() and time.monotonic() < ends:
            application.processEvents()
            time.sleep(0.01)

    dock = open_demo(viewer, run)
    wait(lambda: dock.controller is not None and dock.controller.phase in ended, LONGEST)
    if dock.controller is None or dock.controller.phase is not RunPhase.FINISHED:
        raise SystemExit(f"The run did not finish: {dock.log.toPlainText()}")
    wait(lambda: False, SETTLED)
    # CFTR stands upright, seen from its side; z is the first axis.
    viewer.camera.set_view_direction(view_direction=(0, 1, 0), up_direction=(-1, 0, 0))
    viewer.camera.zoom *= 1.5
    wait(lambda: False, SETTLED)
    output.parent.mkdir(parents=True, exist_ok=True)
    viewer.window.screenshot(str(output), flash=False)
    viewer.close()
    application.processEvents()
    shrink(output)


def shrink(path: Path) -> None:
    """Write a picture again with a palette that has every hue of it."""
    from PIL import Image  # noqa: PLC0415  comes with napari

    method = Image.Quantize.MAXCOVERAGE
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLORS, method=method, kmeans=2)
    small.save(path, optimize=True)


if __name__ == "__main__":
    main()
