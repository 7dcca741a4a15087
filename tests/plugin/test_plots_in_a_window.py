"""A person reads a run off its plots, and drags its cut-off: with a mouse, in a window."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_blush.plugin.run_phase import RunPhase
from napari_blush.plugin.widgets.refine import RefineWidget

PICTURES = os.environ.get("NAPARI_BLUSH_PICTURES")
"""Folder to leave screenshots in, to be looked at."""

_BETWEEN_MOVES = 15
"""Milliseconds: the plots hear of a hundred moves a second at most."""


@pytest.fixture
def running(application, tiny_files, tmp_path, wait_until) -> Iterator[RefineWidget]:
    """Return the dock of a run that is held after its first iteration, in a window of its own."""
    dock = RefineWidget(ViewerModel())  # maps on a canvas would only take time here
    dock.may_close = lambda: True
    dock.resize(360, 800)
    dock.show()
    wait_until(lambda: dock.controller is not None)
    fields = dock.inputs.fields
    fields["particles"].set_value(tiny_files.particles)
    fields["reference"].set_value(tiny_files.reference)
    fields["mask"].set_value(tiny_files.mask)
    fields["output"].set_value(tmp_path / "run")
    dock.form.set_value(tiny_files.settings.model_copy(update={"max_iterations": 4}))
    dock.controls.buttons["start"].click()
    step(dock, wait_until)
    yield dock
    dock.close()
    dock.deleteLater()


def step(dock: RefineWidget, wait_until) -> None:
    done = dock.controller.session.iteration + 1
    dock.controller.step()
    wait_until(lambda: dock.controller.phase is RunPhase.PAUSED and done in summaries(dock))


def summaries(dock: RefineWidget) -> dict:
    return dock.controller.session.summaries


def picture(dock, application, name: str) -> None:
    for _ in range(5):
        application.processEvents()
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        dock.grab().save(str(Path(PICTURES) / f"{name}.png"))


def place(figure, x: float, y: float, strip: int = 0) -> QPoint:
    """Return the pixel of a point of a strip."""
    return figure.mapFromScene(figure.strips[strip].vb.mapViewToScene(QPointF(x, y)))


def mouse(figure, kind: QEvent.Type, place: QPoint, *, held: bool = True) -> None:
    """Send what a mouse would, wherever the window has scrolled to."""
    is_move = kind == QEvent.Type.MouseMove
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    target, point = figure.viewport(), QPointF(place)
    everywhere = QPointF(target.mapToGlobal(place))
    pressed, changed = left if held else none, none if is_move else left
    no_key = Qt.KeyboardModifier.NoModifier
    QApplication.sendEvent(target, QMouseEvent(kind, point, everywhere, changed, pressed, no_key))


def test_the_cutoff_is_dragged_and_iterations_are_clicked(running, application, wait_until) -> None:
    dock, plots, session = running, running._view.plots, running.controller.session
    wait_until(lambda: plots.fsc.cutoff.isVisible())
    application.processEvents()
    automatic = session.automatic_cutoff_shell
    # So few images agree nowhere, and the cut-off is as low as it gets: finer is unsafe.
    wanted = automatic + 2
    of = plots.fsc._of_shown()
    start, end = (place(plots.fsc, shell * of.step, 0.2) for shell in (automatic, wanted))
    way = [start + (end - start) * part / 5 for part in range(6)]
    mouse(plots.fsc, QEvent.Type.MouseMove, start, held=False)
    mouse(plots.fsc, QEvent.Type.MouseButtonPress, start)
    for point in way:
        QTest.qWait(_BETWEEN_MOVES)
        mouse(plots.fsc, QEvent.Type.MouseMove, point)
    mouse(plots.fsc, QEvent.Type.MouseButtonRelease, end, held=False)
    application.processEvents()
    assert plots.fsc.cutoff.shell == wanted
    assert plots.fsc.cutoff.is_unsafe
    assert dock.steering.form.editors["trailing_limit"].value() == "21.333"
    assert dock.steering.changes() == {}
    picture(dock, application, "plots_1_dragged")
    step(dock, wait_until)
    assert "trailing limit of 21.3 A has no effect" in dock.log.toPlainText()
    assert session.cutoff_shell == automatic
    assert "trailing_limit" in " ".join(summaries(dock)[2].changed)
    wait_until(lambda: plots.fsc.cutoff.words == "cut-off")
    picture(dock, application, "plots_2_taken")
    plots.tabs.setCurrentWidget(plots.progress)
    wait_until(lambda: len(plots.progress.curves["resolution"].getData()[0]) == 2)
    application.processEvents()
    QTest.mouseClick(
        plots.progress.viewport(), Qt.MouseButton.LeftButton, pos=place(plots.progress, 1, 0.5, 2)
    )
    wait_until(lambda: plots.progress.marked == 1)
    assert dock._view.layers.shown == 1
    picture(dock, application, "plots_3_progress")
    plots.tabs.setCurrentWidget(plots.denoiser)
    wait_until(lambda: plots.denoiser.found is not None and plots.denoiser.found.iteration == 1)
    picture(dock, application, "plots_4_denoiser")
    dock.controller.cancel()
    wait_until(lambda: dock.controller.phase is RunPhase.CANCELLED)
    assert not plots.fsc.cutoff.movable
