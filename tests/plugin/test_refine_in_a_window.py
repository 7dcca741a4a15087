"""A person picks files, presses Start, pauses, steers, and gets maps: in a real window."""

import os
from pathlib import Path

import napari
import numpy as np
import pytest
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QApplication

from napari_blush.denoiser.weights import known_weights
from napari_blush.io.mrc import read_map
from napari_blush.io.run_settings import read_settings
from napari_blush.plugin import run_folder_reader
from napari_blush.plugin.demo import open_demo
from napari_blush.plugin.layer_looks import TAG
from napari_blush.plugin.presets import PRESETS
from napari_blush.plugin.run_phase import RunPhase
from napari_blush.plugin.run_reader import read_runs
from napari_blush.plugin.sample_sets import CFTR
from napari_blush.plugin.widgets.refine import SET_UP, STEER, WATCH, RefineWidget
from napari_blush.plugin.widgets.steering_panel import READ_ONCE
from napari_blush.refine.changes import AT_THE_START_ONLY

SAMPLE = Path(__file__).parents[2] / "sample_data"
LINE_MARGIN = 2
"""Pixels that a line to type in leaves empty at each end."""

PICTURES = os.environ.get("NAPARI_BLUSH_PICTURES")
"""Folder to leave screenshots in, to be looked at."""


@pytest.fixture
def viewer(application):
    viewer = napari.Viewer()
    # Software rendering takes its time for every pixel.
    viewer.window.set_geometry(0, 0, *((1366, 768) if PICTURES else (700, 400)))
    yield viewer
    viewer.close()
    application.processEvents()


@pytest.fixture
def dock(viewer, wait_until) -> RefineWidget:
    dock = RefineWidget(viewer)
    viewer.window.add_dock_widget(dock, name="Refine", area="right")
    wait_until(lambda: dock.controller is not None)
    return dock


@pytest.fixture
def filled(dock, tiny_files, tmp_path) -> RefineWidget:
    fields = dock.inputs.fields
    fields["particles"].set_value(tiny_files.particles)
    fields["reference"].set_value(tiny_files.reference)
    fields["mask"].set_value(tiny_files.mask)
    fields["output"].set_value(tmp_path / "run")
    dock.form.set_value(tiny_files.settings)
    return dock


def picture(viewer, application, name: str) -> np.ndarray:
    for _ in range(5):
        application.processEvents()
    shot = viewer.window.screenshot(flash=False)
    if PICTURES:
        folder = Path(PICTURES)
        folder.mkdir(parents=True, exist_ok=True)
        viewer.window.screenshot(str(folder / f"{name}.png"), flash=False)
    return shot


def enabled(dock: RefineWidget) -> set[str]:
    return {name for name, button in dock.controls.buttons.items() if button.isEnabled()}


def test_a_whole_run(filled, viewer, application, wait_until, tmp_path) -> None:
    dock, phases = filled, []
    dock.controller.phase_changed.connect(phases.append)
    assert enabled(dock) == {"start"}
    picture(viewer, application, "1_ready")
    dock.controls.buttons["start"].click()
    dock.controller.pause()
    wait_until(lambda: dock.controller.phase is RunPhase.PAUSED)
    assert enabled(dock) == {"resume", "step", "finish", "cancel"}
    dock.steering.form.editors["tau2_fudge"].set_value(2.0)
    assert dock.steering.changes() == {"tau2_fudge": 2.0}
    assert "Changed and not applied: tau2 fudge" in dock.steering.state.text()
    dock.steering.apply.click()
    assert "From the next iteration on: tau2_fudge 2" in dock.steering.state.text()
    assert not dock.form.editors["symmetry"].native.isEnabled()
    assert "page Steer" in dock.form.editors["tau2_fudge"].native.toolTip()
    dock.controls.buttons["step"].click()
    wait_until(lambda: dock.controller.phase is RunPhase.PAUSED)
    assert dock.controller.session.iteration == 1
    board = dock._view.board
    wait_until(lambda: board.layer("change") is not None)  # layers come in turns of their own
    assert list(board.layers()) == [
        "reference", "half1", "half2", "denoised1", "denoised2", "change", "mask"
    ]  # fmt: skip
    before = list(viewer.layers)
    shot = picture(viewer, application, "2_after_one_iteration")
    assert shot.std() > 10
    dock.looks.compare.click()
    assert viewer.canvas.grid.enabled
    picture(viewer, application, "2_side_by_side")
    dock.looks.compare.click()
    assert not viewer.canvas.grid.enabled
    dock.controls.buttons["resume"].click()
    wait_until(lambda: dock.controller.phase is RunPhase.FINISHED, 120)
    wait_until(lambda: board.layer("final") is not None)
    assert list(viewer.layers)[: len(before)] == before
    picture(viewer, application, "3_finished")
    assert enabled(dock) == set()
    assert dock.controls.state.text() == "Finished. For another run choose another folder."
    dock.inputs.fields["output"].set_value(tmp_path / "another")
    assert enabled(dock) == {"start"}
    dock.inputs.fields["output"].set_value(tmp_path / "run")
    assert dock.set_up.command.copy.isEnabled()
    run = tmp_path / "run"
    assert np.array_equal(board.layer("final").data, read_map(run / "run_class001.mrc").volume)
    assert "Resolution" in dock.summary.text()
    opened = []
    dock.report.open = opened.append
    assert dock.report.isVisibleTo(dock)
    dock.report.click()
    wait_until(lambda: bool(opened))
    assert "was denoised" in opened[0].read_text()
    assert "Changed: tau2_fudge." in dock.log.toPlainText()
    assert read_settings(run) == dock.job().settings
    assert phases[0] is RunPhase.STARTING
    assert dock._view.plots.isVisibleTo(dock)
    number = dock._view.plots.iteration.lineEdit()
    room = number.contentsRect().width() - 2 * LINE_MARGIN
    assert number.fontMetrics().horizontalAdvance("it. 100") <= room
    found = {arguments["metadata"][TAG]["role"]: data for data, arguments, _ in read_runs(str(run))}
    assert np.array_equal(found["final"], board.layer("final").data)
    assert np.array_equal(found["reference"], board.layer("reference").data)
    assert run_folder_reader(str(run / "settings.yaml"))(str(run / "settings.yaml"))
    assert viewer.dims.ndisplay == 3


def test_the_eye_goes_down_the_dock_and_finds_start(dock, viewer, application, wait_until) -> None:
    viewer.window.set_geometry(0, 0, 1366, 768)
    wait_until(lambda: dock.height() > 600)
    start = dock.controls.buttons["start"]
    column = [dock.inputs, dock.set_up.presets, dock.form, dock.set_up.command, start]
    heights = [part.mapTo(dock, QPoint(0, 0)).y() for part in column]
    assert heights == sorted(heights)
    dock.pages.widget(0).verticalScrollBar().setValue(1000)
    assert start.mapTo(dock.window(), start.rect().bottomLeft()).y() < 768
    assert not start.visibleRegion().isEmpty()
    # What there is nothing of yet cannot be turned to.
    assert [dock.pages.isTabEnabled(index) for index in range(3)] == [True, False, False]


def test_pages_turn_by_themselves_at_the_start_and_never_later(filled, wait_until) -> None:
    dock = filled
    assert dock.pages.title == SET_UP
    dock.controls.buttons["start"].click()
    dock.controller.step()
    assert dock.pages.title == WATCH
    dock.pages.turn_to(STEER)
    assert dock.steering.apply.isVisibleTo(dock)
    wait_until(lambda: dock.controller.phase is RunPhase.PAUSED)
    dock.controls.buttons["resume"].click()
    wait_until(lambda: dock.controller.phase is RunPhase.FINISHED, 120)
    assert dock.pages.title == STEER
    assert not dock.steering.isVisibleTo(dock)
    assert dock.offer.isVisibleTo(dock)
    dock.offer.branch.click()
    assert dock.pages.title == SET_UP
    assert "Goes on from iteration" in dock.offer.origin.text()
    assert dock.offer.origin.isVisibleTo(dock)


def test_what_may_change_later_is_all_that_the_engine_can_change() -> None:
    assert set(READ_ONCE) == AT_THE_START_ONLY


def test_cancelling_keeps_whole_iterations_and_gives_the_folder_back(
    filled, wait_until, tmp_path
) -> None:
    filled.controls.buttons["start"].click()
    filled.controller.step()
    wait_until(lambda: filled.controller.phase is RunPhase.PAUSED)
    filled.controls.buttons["cancel"].click()
    wait_until(lambda: filled.controller.phase is RunPhase.CANCELLED)
    assert (tmp_path / "run" / "run_it001_state.safetensors").is_file()
    assert not (tmp_path / "run" / "run.lock").exists()
    complaint = filled.inputs.complaints["output"]
    assert "holds a run already" in complaint.text()
    assert "choose another folder" in filled.controls.state.text()
    assert enabled(filled) == set()
    filled.inputs.resume.setChecked(True)
    assert complaint.isHidden()
    filled.controls.buttons["start"].click()
    wait_until(lambda: filled.controller.phase is RunPhase.RUNNING)
    filled.controls.buttons["finish"].click()
    wait_until(lambda: filled.controller.phase is RunPhase.FINISHED, 120)
    assert (tmp_path / "run" / "run_class001.mrc").is_file()


def test_closing_the_window_asks_and_ends_the_run(
    filled, viewer, application, wait_until, tmp_path
) -> None:
    answers = [False, True]
    filled.may_close = lambda: answers.pop(0)
    filled.controls.buttons["start"].click()
    filled.controller.pause()
    wait_until(lambda: filled.controller.phase is RunPhase.PAUSED)
    window = filled.window()
    window.close()
    assert window.isVisible()
    assert filled.controller.phase is RunPhase.PAUSED
    assert (tmp_path / "run" / "run.lock").exists()
    window.close()
    assert filled.controller.phase is RunPhase.CANCELLED
    wait_until(lambda: not (tmp_path / "run" / "run.lock").exists())
    assert not answers


def test_presets_change_what_they_name_and_nothing_else(filled, tiny_files) -> None:
    for name, (_, changes) in PRESETS.items():
        filled.form.set_value(tiny_files.settings)
        filled.set_up.use_preset(name)
        assert filled.form.value() == tiny_files.settings.model_copy(update=changes)
    box, chosen = filled.set_up.presets, []
    box.chosen.connect(chosen.append)
    for index in range(box.count()):
        box.textActivated.emit(box.itemText(index))
    assert chosen == list(PRESETS)


def test_a_filament_asks_for_its_screw(filled, tiny_files) -> None:
    filled.form.set_value(tiny_files.settings)
    assert not filled.form.problems()
    box = filled.set_up.presets
    box.setCurrentText("Filament")
    box.textActivated.emit("Filament")
    assert filled.form.problems().keys() == {"helical_twist", "helical_rise"}
    assert "rise in Å" in filled.form.problems()["helical_rise"]
    filled.form.enter({"helical_twist": -166.8})
    assert filled.form.problems().keys() == {"helical_rise"}
    filled.form.enter({"helical_rise": 27.5})
    assert not filled.form.problems()
    filled.form.enter({"helical_rise": None})
    filled.form.restore.click()
    assert box.currentText() != "Filament"
    assert not filled.form.problems()
    filled.form.enter({"helical_rise": 27.5})
    assert filled.form.problems().keys() == {"helical_twist"}


def test_layers_without_a_file_are_written_when_a_run_begins(
    filled, viewer, wait_until, tmp_path
) -> None:
    mask = read_map(filled.inputs.fields["mask"].value()).volume.numpy()
    arguments = {"scale": (8.0,) * 3, "units": ("angstrom",) * 3}
    layer = viewer.add_image(0.5 * mask, name="my mask", **arguments)
    field = filled.inputs.fields["mask"]
    field._fill_menu()
    (action,) = [one for one in field._menu.actions() if "my mask" in one.text()]
    action.trigger()
    target = tmp_path / "run" / "mask_of_a_layer.mrc"
    assert filled.job().settings.solvent_mask == target
    assert not target.parent.exists()
    filled.controls.buttons["start"].click()
    filled.controller.pause()
    assert np.array_equal(read_map(target).volume, layer.data)
    assert f"layer my mask was written to {target}" in filled.log.toPlainText()
    wait_until(lambda: filled.controller.phase is RunPhase.PAUSED)
    filled.controls.buttons["cancel"].click()
    wait_until(lambda: filled.controller.phase is RunPhase.CANCELLED)
    layer.data = mask
    (target.parent / "run_it001_data.star").touch()
    filled.press("start")
    assert filled.controller.phase is RunPhase.CANCELLED
    assert not np.array_equal(read_map(target).volume, mask)


def test_what_is_wrong_with_a_file_is_said_beside_it(filled, tmp_path) -> None:
    complaints = filled.inputs.complaints
    assert not any(one.isVisibleTo(filled) for one in complaints.values())
    filled.inputs.fields["reference"].set_value(tmp_path / "none.mrc")
    assert complaints["reference"].text().endswith("none.mrc is not there.")
    filled.inputs.fields["particles"].set_value(SAMPLE / "truth" / "truth.mrc")
    assert "wanted particles" in complaints["particles"].text()
    filled.inputs.fields["reference"].set_value(SAMPLE / "particles.mrcs")
    assert "wanted a cube" in complaints["reference"].text()
    assert complaints["reference"].isVisibleTo(filled)
    assert enabled(filled) == set()
    filled.inputs.fields["reference"].set_value(SAMPLE / "start_map.mrc")
    assert not complaints["reference"].isVisibleTo(filled)
    filled.inputs.fields["particles"].set_value(SAMPLE / "particles.star")
    filled.inputs.fields["output"].set_value(SAMPLE / "particles.star")
    assert complaints["output"].text().endswith("wanted a folder; one that is not there is made.")
    assert enabled(filled) == set()
    filled.inputs.fields["output"].set_value(tmp_path / "new")
    assert complaints["output"].isHidden()
    assert enabled(filled) == {"start"}


def test_what_cannot_be_is_said_beside_the_setting(filled) -> None:
    editors = filled.form.editors
    assert read_map(filled.inputs.fields["reference"].value()).voxel_size * 16 == 128.0
    editors["particle_diameter"].set_value("128")
    assert "start map is 128 Å wide" in editors["particle_diameter"].problem.text()
    assert enabled(filled) == set()
    editors["particle_diameter"].set_value("127")
    editors["symmetry"].set_value("Q3")
    assert "not a known point group" in editors["symmetry"].problem.text()
    assert "not a known point group" in filled.controls.state.text()
    editors["symmetry"].set_value("d3")
    assert enabled(filled) == {"start"}
    filled.inputs.fields["reference"].set_value(SAMPLE / "start_map.mrc")
    editors["particle_diameter"].set_value("128")
    assert enabled(filled) == {"start"}


def test_weights_that_are_here_are_offered(dock, wait_until) -> None:
    for form in (dock.form, dock.steering.form):
        editor = form.editors["denoiser"]
        wait_until(lambda editor=editor: editor.menu is not None)
        names = [action.text() for action in editor.menu.actions()]
        assert names[0] == "default"
        assert set(names) >= {found.name for found in known_weights() if found.record is not None}
        editor.set_value("blush-of-nobody")
        assert "'blush-of-nobody' is neither a file nor one of: default," in editor.problem.text()
        editor.set_value("default")
        assert editor.problem.isHidden()


def test_every_sample_is_ready_to_start(dock) -> None:
    actions = dock.inputs.sample.menu().actions()
    assert [action.text() for action in actions] == ["CFTR", "Low signal"]
    for action, diameter in zip(actions, (160.0, 110.0), strict=True):
        action.trigger()
        job = dock.job()
        assert job.settings.particle_diameter == diameter
        assert job.particles.is_file() and job.reference.is_file()
        assert not job.output.exists()
        assert enabled(dock) == {"start"}


def test_the_demonstration_starts_by_itself(viewer, wait_until, tmp_path) -> None:
    dock = open_demo(viewer, tmp_path / "demo")
    wait_until(lambda: dock.controller is not None and dock.controller.phase is RunPhase.RUNNING)
    assert dock.job().particles == CFTR.particles
    assert dock.job().output == tmp_path / "demo"
    dock.controls.buttons["cancel"].click()
    wait_until(lambda: dock.controller.phase is RunPhase.CANCELLED)


def test_the_command_line_asks_for_the_same(filled, tiny_files, tmp_path) -> None:
    words = filled.set_up.command.text().split()
    filled.set_up.command.copy.click()
    assert QApplication.clipboard().text() == filled.set_up.command.text()
    assert words[:3] == ["napari-blush", "refine", str(tiny_files.particles)]
    assert words[words.index("--output") + 1] == str(tmp_path / "run")
    assert words[words.index("--initial-low-pass") + 1] == "25"
    filled.form.editors["particle_diameter"].set_value("-1")
    assert filled.set_up.command.text() == ""
    assert enabled(filled) == set()
    assert "wanted a number above 0" in filled.controls.state.text()
