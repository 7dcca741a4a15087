"""Takes the pictures of the tutorial: goes through it in a real window, on a virtual display.

    python docs/make_tutorial.py [--output docs/images/tutorial] [--theme dark]

Needs napari and Xvfb; takes minutes. The run is coarser and shorter than the one that a reader of
the tutorial starts, so that it is soon over.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from make_screenshot import HEIGHT, REPOSITORY, WIDTH, shrink, virtual_display

COARSE = {"healpix_order": 1, "exhaustive_order": 1, "offset_range": 6.0, "max_iterations": 5}
LONGEST = 120.0
SETTLED = 1.5
"""Seconds for layers and curves to be drawn after something has happened."""

CLOSER = 1.4
_MOVES = 12
_BETWEEN_MOVES = 0.03
_ROUNDS = 5


class Journey:
    """A person at the window, who takes a picture now and then.

    Parameters
    ----------
    viewer : napari.Viewer
    output : Path
        Folder of the pictures.
    """

    def __init__(self, viewer: Any, output: Path) -> None:
        from qtpy.QtWidgets import QApplication  # noqa: PLC0415

        self.viewer = viewer
        self.application = QApplication.instance()
        self.output = output
        self.began = time.monotonic()
        self.dock: Any = None
        self.plots: Any = None

    def wait(self, is_so: Callable[[], bool], seconds: float = LONGEST) -> None:
        """Run the event loop until something is so."""
        ends = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > ends:
                raise SystemExit(f"It did not come about: {self.dock.log.toPlainText()}")
            self.application.processEvents()
            time.sleep(0.01)

    def settle(self, seconds: float = SETTLED) -> None:
        """Give the window time to be drawn."""
        ends = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > ends)
        # What came while a frame was being drawn has its turn, too.
        for _ in range(_ROUNDS):
            self.application.processEvents()
            time.sleep(_BETWEEN_MOVES)

    def picture(self, name: str, *, settle: float = SETTLED) -> None:
        """Write what is on the screen, menus and all."""
        self.settle(settle)
        path = self.output / f"{name}.png"
        self.application.primaryScreen().grabWindow(0).save(str(path))
        shrink(path)
        print(f"{time.monotonic() - self.began:5.0f} s  {path.name}", flush=True)

    def menu(self, *titles: str) -> list[Any]:
        """Open a menu of the menu bar and the menus below it; return them, outermost first."""
        from qtpy.QtWidgets import QMainWindow  # noqa: PLC0415

        windows = self.application.topLevelWidgets()
        window = next(one for one in windows if isinstance(one, QMainWindow) and one.isVisible())
        opened: list[Any] = [window.menuBar()]
        for title in titles:
            action = action_of(opened[-1], title)
            place = opened[-1].actionGeometry(action)
            corner = place.bottomLeft() if len(opened) == 1 else place.topRight()
            if len(opened) > 1:
                opened[-1].setActiveAction(action)
            action.menu().popup(opened[-1].mapToGlobal(corner))
            opened.append(action.menu())
            self.settle(0.3)
        return opened[1:]

    def choose(self, *titles: str, picture: str = "") -> None:
        """Choose an entry of the menus, by the titles on the way to it."""
        *way, last = titles
        menus = self.menu(*way)
        action = action_of(menus[-1], last)
        menus[-1].setActiveAction(action)
        if picture:
            self.picture(picture, settle=0.3)
        for menu in reversed(menus):
            menu.close()
        action.trigger()

    def dock_named(self, name: str) -> Any:
        """Wait for a dock of ours and return it."""
        docks = self.viewer.window.dock_widgets
        self.wait(lambda: any(title.startswith(name) for title in docks))
        return next(dock for title, dock in docks.items() if title.startswith(name))

    def turn_to(self, page: str) -> None:
        """Bring a page of the dock to the front."""
        self.dock.pages.turn_to(page)
        self.settle(0.2)

    def press(self, name: str) -> None:
        """Press a button of the run."""
        self.dock.controls.buttons[name].click()

    def iterations(self) -> int:
        """Return how many iterations the run has finished."""
        return len(self.dock.controller.session.summaries)

    def drag_cutoff(self, shells: int) -> None:
        """Take the cut-off by its line and drop it some shells away; a picture on the way."""
        from qtpy.QtCore import QEvent, QPointF  # noqa: PLC0415

        fsc = self.plots.fsc
        step = fsc.cutoff.value() / fsc.cutoff.shell

        def place(shell: int) -> Any:
            at = fsc.strips[0].vb.mapViewToScene(QPointF(shell * step, 0.3))
            return fsc.mapFromScene(at)

        start, end = place(fsc.cutoff.shell), place(fsc.cutoff.shell + shells)
        away = fsc.mapFromScene(fsc.strips[0].vb.mapViewToScene(QPointF(0.0, 0.3)))
        self._mouse(QEvent.Type.MouseMove, start, held=False)
        self._mouse(QEvent.Type.MouseButtonPress, start)
        for part in range(_MOVES + 1):
            self._mouse(QEvent.Type.MouseMove, start + (end - start) * part / _MOVES)
            self.settle(_BETWEEN_MOVES)
        self.picture("07_cut_off", settle=0.3)
        self._mouse(QEvent.Type.MouseButtonRelease, end, held=False)
        self._mouse(QEvent.Type.MouseMove, away, held=False)

    def _mouse(self, kind: Any, place: Any, *, held: bool = True) -> None:
        from qtpy.QtCore import QEvent, QPointF, Qt  # noqa: PLC0415
        from qtpy.QtGui import QMouseEvent  # noqa: PLC0415

        is_move = kind == QEvent.Type.MouseMove
        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        target, point = self.plots.fsc.viewport(), QPointF(place)
        everywhere = QPointF(target.mapToGlobal(place))
        pressed, changed = left if held else none, none if is_move else left
        no_key = Qt.KeyboardModifier.NoModifier
        event = QMouseEvent(kind, point, everywhere, changed, pressed, no_key)
        self.application.sendEvent(target, event)


def main() -> None:
    """Go through the tutorial and write its pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "images" / "tutorial")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    options = parser.parse_args()
    output = options.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    server = virtual_display()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            # The dock says where the maps are; that should not be a folder of this computer.
            os.chdir(temporary)
            go_through(output, options.theme)
            os.chdir(REPOSITORY)
    finally:
        if server is not None:
            server.terminate()
    total = sum(path.stat().st_size for path in output.glob("*.png"))
    print(f"Wrote {output}: {total / 1000:.0f} kB")


def go_through(output: Path, theme: str) -> None:
    """Do what the tutorial says, step by step."""
    # The display must be there before these are imported.
    import napari  # noqa: PLC0415

    viewer = napari.Viewer()
    viewer.theme = theme
    viewer.window.set_geometry(0, 0, WIDTH, HEIGHT)
    journey = Journey(viewer, output)
    begin(journey)
    watch_and_steer(journey)
    finish(journey)
    validate_and_save(journey)
    branch(journey)
    viewer.close()
    journey.application.processEvents()
    reopen(output, theme)


def begin(journey: Journey) -> None:
    """Open the dock, enter the sample data, start."""
    from napari_blush.plugin.plots.panel import PlotsPanel  # noqa: PLC0415

    journey.choose("Plugins", "Blush refinement", "Refine (Blush refinement)", picture="01_open")
    dock = journey.dock = journey.dock_named("Refine")
    journey.wait(lambda: dock.controller is not None)
    journey.plots = dock.findChild(PlotsPanel)
    button = dock.inputs.sample
    sample = button.menu()
    sample.popup(button.mapToGlobal(button.rect().bottomLeft()))
    sample.setActiveAction(sample.actions()[0])
    journey.picture("02_sample_data")
    sample.close()
    sample.actions()[0].trigger()
    dock.inputs.fields["output"].set_value(Path("run001"))
    Path("sample_data").symlink_to(dock.inputs.fields["particles"].value().parent.resolve())
    show_short_paths(dock)
    journey.picture("03_ready")
    dock.form.set_value(dock.form.value().model_copy(update=COARSE))
    journey.wait(dock.controls.buttons["start"].isEnabled)
    journey.press("start")
    journey.wait(lambda: journey.iterations() >= 1)
    # CFTR stands upright, seen from its side; z is the first axis.
    camera = journey.viewer.scene.camera
    camera.set_view_direction(view_direction=(0, 1, 0), up_direction=(-1, 0, 0))
    camera.zoom *= CLOSER


def watch_and_steer(journey: Journey) -> None:
    """See two iterations, hold the run, change mask and cut-off, let it go on."""
    from napari_blush.plugin.run_phase import RunPhase  # noqa: PLC0415

    dock, viewer = journey.dock, journey.viewer
    journey.wait(lambda: journey.iterations() >= 2)
    journey.picture("04_watch", settle=0.5)
    journey.press("pause")
    journey.wait(lambda: dock.controller.phase is RunPhase.PAUSED)
    journey.turn_to("Steer")
    journey.picture("05_pause")
    dock.steering.paint.click()
    painted = viewer.layers.selection.active
    middle = painted.data.shape[0] // 2
    for across in range(4):
        painted.paint((middle, middle - 3 + across, middle + 10 + across), 1)
    journey.picture("06_mask")
    dock.steering.use_mask.click()
    journey.turn_to("Watch")
    journey.settle()
    journey.drag_cutoff(-2)
    journey.picture("08_waiting")
    # To the end of this iteration, and through the next one, in which the changes take effect.
    for _ in range(2):
        done = journey.iterations()
        journey.press("step")
        journey.wait(lambda done=done: journey.iterations() > done)
        journey.wait(lambda: dock.controller.phase is RunPhase.PAUSED)
    journey.plots.iteration.setValue(1)
    journey.picture("09_earlier_iteration")
    dock.looks.latest.click()
    journey.press("resume")


def finish(journey: Journey) -> None:
    """Let the run end, and look at half-maps beside the denoised ones."""
    from napari_blush.plugin.run_phase import RunPhase  # noqa: PLC0415

    dock = journey.dock
    journey.wait(lambda: dock.controller.phase is RunPhase.FINISHED)
    journey.wait(lambda: dock.board.layer("final") is not None)
    journey.plots.tabs.setCurrentWidget(journey.plots.progress)
    journey.picture("10_finished")
    journey.plots.tabs.setCurrentWidget(journey.plots.fsc)
    dock.looks.compare.click()
    journey.picture("11_side_by_side", settle=3 * SETTLED)
    dock.looks.compare.click()


def validate_and_save(journey: Journey) -> None:
    """Judge the half-maps, and write the final map."""
    viewer = journey.viewer
    journey.choose("Plugins", "Blush refinement", "Validate (Blush refinement)")
    validate = journey.dock_named("Validate")
    journey.wait(validate.resolution.isEnabled)
    journey.settle()
    validate.resolution.click()
    journey.settle(0.2)
    journey.wait(lambda: not validate.is_busy)
    journey.picture("12_validate")
    final = journey.dock.board.layer("final")
    viewer.layers.selection = {final}
    for menu in reversed(journey.menu("File")):
        journey.picture("13_save", settle=0.3)
        menu.close()
    final.save("final.mrc", plugin="napari-blush")
    viewer.window.remove_dock_widget(validate)


def branch(journey: Journey) -> None:
    """Enter a run that goes on from an earlier iteration."""
    dock = journey.dock
    journey.turn_to("Steer")
    dock.offer.iteration.setValue(2)
    dock.offer.branch.click()
    show_short_paths(dock)
    journey.picture("14_branch")


def show_short_paths(dock: Any) -> None:
    """Enter the files as they lie beside the run: no picture names a folder of this computer."""
    for name in ("particles", "reference", "mask"):
        field = dock.inputs.fields[name]
        field.set_value(Path("sample_data") / field.value().name)


def reopen(output: Path, theme: str) -> None:
    """Open the run folder in a new window."""
    import napari  # noqa: PLC0415

    from napari_blush.plugin.run_phase import RunPhase  # noqa: PLC0415

    viewer = napari.Viewer()
    viewer.theme = theme
    viewer.window.set_geometry(0, 0, WIDTH, HEIGHT)
    journey = Journey(viewer, output)
    viewer.open("run001", plugin="napari-blush")
    journey.wait(lambda: len(viewer.window.dock_widgets) > 0)
    journey.dock = next(iter(viewer.window.dock_widgets.values()))
    journey.wait(lambda: journey.dock.controller is not None)
    journey.wait(lambda: journey.dock.controller.phase is RunPhase.FINISHED)
    journey.picture("15_reopened", settle=2 * SETTLED)
    viewer.close()
    journey.application.processEvents()


def action_of(menu: Any, title: str) -> Any:
    """Return the entry of a menu that has a title."""
    found = {action.text().replace("&", ""): action for action in menu.actions()}
    if title not in found:
        raise SystemExit(f"There is no {title!r} in the menu; it has {', '.join(found)}.")
    return found[title]


if __name__ == "__main__":
    main()
