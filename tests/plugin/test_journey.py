"""The whole way of a new user through one real window, from the menu to a run opened again."""

import os
from pathlib import Path

import napari
import numpy as np
import pytest
from qtpy.QtWidgets import QMainWindow

from napari_blush.io.mrc import read_map
from napari_blush.io.run_history import read_history
from napari_blush.io.run_settings import read_source
from napari_blush.plugin.mask_painting import painted_layer
from napari_blush.plugin.run_phase import RunPhase
from napari_blush.plugin.widgets.refine import STEER, RefineWidget

PICTURES = os.environ.get("NAPARI_BLUSH_PICTURES")
"""Folder to leave screenshots in, to be looked at."""

_DARK = 30
_SEEN = 0.01
"""Part of the canvas that a map covers at least."""


@pytest.fixture
def new_viewer(application):
    """Return a function that opens a window; all are closed at the end."""
    opened = []

    def open_one():
        viewer = napari.Viewer()
        # Software rendering takes its time for every pixel.
        viewer.window.set_geometry(0, 0, *((1366, 768) if PICTURES else (640, 360)))
        opened.append(viewer)
        return viewer

    yield open_one
    for viewer in opened:
        viewer.close()
        application.processEvents()


def choose(application, *titles: str) -> None:
    """Choose an entry of the menus of the one window."""
    windows = [one for one in application.topLevelWidgets() if isinstance(one, QMainWindow)]
    menu = next(one for one in windows if one.isVisible()).menuBar()
    for title in titles:
        found = {action.text().replace("&", ""): action for action in menu.actions()}
        action, menu = found[title], found[title].menu()
        if menu is not None:
            menu.aboutToShow.emit()
    action.trigger()


def canvas(viewer, application, name: str) -> np.ndarray:
    """Return what is drawn of the maps, as grey values."""
    for _ in range(10):
        application.processEvents()
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        viewer.window.screenshot(str(Path(PICTURES) / f"journey_{name}.png"), flash=False)
    shot = viewer.window.screenshot(flash=False, canvas_only=True)
    return shot[..., :3].max(-1).astype(int)


def covered(shot: np.ndarray) -> float:
    return float((shot > _DARK).mean())


def widest(dock: RefineWidget) -> int:
    """Return how wide the dock has to be for all of its pages."""
    areas = [dock.pages.widget(index) for index in range(dock.pages.count())]
    bar = areas[0].verticalScrollBar().sizeHint().width()
    pages = [area.widget().minimumSizeHint().width() + bar for area in areas]
    return max(dock.minimumSizeHint().width(), *pages)


def test_the_whole_way(new_viewer, application, wait_until, tiny_files, tmp_path) -> None:
    viewer = new_viewer()
    choose(application, "Plugins", "Blush refinement", "Refine (Blush refinement)")
    (dock,) = [one for one in viewer.window.dock_widgets.values() if type(one) is RefineWidget]
    controller_is = lambda phase: lambda: dock.controller.phase is phase  # noqa: E731
    press = {name: button.click for name, button in dock.controls.buttons.items()}
    wait_until(lambda: dock.controller is not None)

    # The sample fills in everything; a smaller problem takes its place.
    dock.inputs.sample.menu().actions()[0].trigger()
    assert dock.controls.buttons["start"].isEnabled()
    assert not dock.log.isVisibleTo(dock)
    assert widest(dock) <= 360
    for name in ("particles", "reference", "mask"):
        dock.inputs.fields[name].set_value(getattr(tiny_files, name))
    run = tmp_path / "run"
    dock.inputs.fields["output"].set_value(run)
    dock.form.set_value(tiny_files.settings.model_copy(update={"max_iterations": 3}))
    press["start"]()
    dock.controller.step()
    wait_until(controller_is(RunPhase.PAUSED))
    wait_until(lambda: viewer.dims.ndisplay == 3 and dock.board.layer("half1") is not None)
    session = dock.controller.session
    assert list(session.summaries) == [1]
    assert covered(canvas(viewer, application, "1_first")) > _SEEN

    # The mask is painted, the cut-off moved; both wait, and are taken by the next iteration.
    dock.steering.paint.click()
    layer = painted_layer(dock.board)
    assert viewer.dims.ndisplay == 2
    layer.paint((8, 8, 14), 1)
    dock.steering.use_mask.click()
    assert viewer.dims.ndisplay == 3
    dock._view.plots.cutoff_dragged.emit(1)
    assert "mask" in dock.steering.state.text()
    assert "trailing_limit" in dock.steering.state.text()
    assert widest(dock) <= 360
    press["step"]()
    wait_until(lambda: list(session.summaries) == [1, 2])
    wait_until(controller_is(RunPhase.PAUSED))
    assert read_map(run / "run_it002_mask.mrc").volume[8, 8, 14] == 1
    assert "trailing_limit" in " ".join(session.summaries[2].changed)

    # Back to the start map, which is another picture, and on with the run.
    latest = canvas(viewer, application, "2_latest")
    dock._view.show_iteration(0)
    earlier = canvas(viewer, application, "3_earlier")
    assert covered(earlier) > _SEEN
    assert np.abs(latest - earlier).mean() > 0.5
    dock.looks.latest.click()
    assert np.abs(canvas(viewer, application, "4_back") - latest).mean() < 0.2
    press["resume"]()
    wait_until(controller_is(RunPhase.FINISHED), 60)
    wait_until(lambda: dock.board.layer("final") is not None)
    final = dock.board.layer("final")
    assert viewer.layers.selection == {final}
    assert covered(canvas(viewer, application, "5_finished")) > _SEEN
    saved = tmp_path / "final.mrc"
    assert viewer.layers.save(str(saved), selected=True, plugin="napari-blush") == [str(saved)]
    assert np.array_equal(read_map(saved).volume, final.data)
    assert read_map(saved).voxel_size == pytest.approx(8.0)

    # Another dock of ours comes in front of this one, not below it.
    choose(application, "Plugins", "Blush refinement", "Validate (Blush refinement)")
    beside = next(one for one in viewer.window.dock_widgets.values() if one is not dock)
    wait_until(lambda: not beside.visibleRegion().isEmpty())
    wait_until(lambda: dock.visibleRegion().isEmpty())
    viewer.window.remove_dock_widget(beside)

    # Another run from the second iteration, beside the first in the same viewer.
    assert dock.offer.iteration.value() == 3
    dock.offer.iteration.setValue(2)
    dock.offer.branch.click()
    dock.form.editors["denoiser_strength"].set_value(0.5)
    press["start"]()
    wait_until(lambda: dock.controller.session.status == "running")
    wait_until(controller_is(RunPhase.FINISHED), 60)
    branch = tmp_path / "run-branch"
    assert read_source(branch).branched_from == (run, 2)
    assert [line["iteration"] for line in read_history(branch)] == [3, 4]
    viewer.close()
    application.processEvents()

    reopened = new_viewer()
    reopened.open(str(branch), plugin="napari-blush")
    wait_until(lambda: len(reopened.window.dock_widgets) == 1)
    (dock,) = reopened.window.dock_widgets.values()
    wait_until(lambda: dock.controller is not None)
    wait_until(lambda: dock.controller.phase is RunPhase.FINISHED)
    dock.pages.turn_to(STEER)
    wait_until(lambda: dock.offer.isVisibleTo(dock))
    assert reopened.dims.ndisplay == 3
    assert list(dock.controller.session.summaries) == [3, 4]
    assert dock.form.value().denoiser_strength == 0.5
    assert dock.offer.iteration.value() == 3
    assert covered(canvas(reopened, application, "6_reopened")) > _SEEN
