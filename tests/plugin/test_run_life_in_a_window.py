"""A run beyond one sitting, in a real window: opened again, continued, branched, with a twin."""

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import napari
import numpy as np
import pytest
import torch
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QApplication

from napari_blush.io.mrc import read_map
from napari_blush.io.run_history import read_history
from napari_blush.io.run_settings import read_settings, read_source
from napari_blush.io.run_state import last_whole_iteration
from napari_blush.io.star import read_particles
from napari_blush.io.whole_iterations import whole_iterations
from napari_blush.plugin.job_description import JobDescription
from napari_blush.plugin.layer_looks import TAG
from napari_blush.plugin.orientation_counts import counted
from napari_blush.plugin.refinement_job import refinement_events
from napari_blush.plugin.run_phase import RunPhase
from napari_blush.plugin.run_reader import read_runs
from napari_blush.plugin.widgets.refine import STEER, WATCH, RefineWidget
from napari_blush.refine.events import IterationFinished, RunStarted
from napari_blush.refine.steering import ChangeSettings, Steering
from napari_blush.regularization import registry

PICTURES = os.environ.get("NAPARI_BLUSH_PICTURES")
INTERRUPTED = 130
"""What the program ends with that was asked to end."""

LESS_THAN_A_MAP = 8192
"""Bytes."""

THEME = os.environ.get("NAPARI_BLUSH_THEME", "dark")


@pytest.fixture
def viewer(application):
    # Software rendering takes its time for every pixel, and nobody looks.
    viewer = napari.Viewer(show=bool(PICTURES))
    viewer.theme = THEME
    viewer.window.set_geometry(0, 0, *((1366, 768) if PICTURES else (560, 320)))
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
def job(tiny_files, tmp_path) -> JobDescription:
    return JobDescription(
        tiny_files.particles, tiny_files.reference, tmp_path / "run", tiny_files.settings
    )


def kept(job: JobDescription, until: int | None = None, change=None) -> Path:
    """Run a job to its end, or to the end of an iteration; return its folder."""
    steering = Steering()
    if change is not None:
        steering.propose(change)
    events = refinement_events(job, steering)
    for event in events:
        if isinstance(event, IterationFinished) and event.result.iteration == until:
            break
    events.close()
    return job.output


def until(events, kind: type) -> None:
    """Let a run go on to its next event of a kind, and hold it there."""
    while not isinstance(next(events), kind):
        pass


def picture(viewer, application, name: str) -> None:
    for _ in range(5):
        application.processEvents()
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        viewer.window.screenshot(str(Path(PICTURES) / f"{name}_{THEME}.png"), flash=False)


def drop(viewer, folder: Path) -> None:
    """Do what napari does with a run folder that is dropped on it."""
    for data, arguments, _ in read_runs(str(folder)):
        viewer.add_image(data, **arguments)


def shown(dock, name: str) -> bool:
    dock.pages.turn_to(STEER)
    return getattr(dock.offer, name).isVisibleTo(dock)


def test_a_dropped_run_comes_back_and_is_continued(
    dock, viewer, application, wait_until, job
) -> None:
    folder = kept(job, until=1, change=ChangeSettings({"tau2_fudge": 2.0}))
    drop(viewer, folder)
    wait_until(lambda: dock.controller.phase is RunPhase.CANCELLED)
    session = dock.controller.session
    assert list(session.summaries) == [1]
    assert session.summaries[1].changed == ("tau2_fudge 1 to 2",)
    assert dock.form.value().tau2_fudge == 2.0
    assert dock.inputs.fields["particles"].value() == job.particles
    assert dock.inputs.fields["output"].value() == folder
    assert dock._view.plots.isVisibleTo(dock)
    wait_until(lambda: shown(dock, "go_on"))
    application.processEvents()
    expected = read_map(folder / "run_it001_half1_class001.mrc").volume.numpy()
    assert np.array_equal(dock.board.layer("reference").data, expected)
    picture(viewer, application, "1_reopened")
    # One layer of a kind: the dock has taken over those that came with the folder.
    roles = [layer.metadata.get(TAG, {}).get("role") for layer in viewer.layers]
    assert len(roles) == len(set(roles))
    dock.form.editors["max_iterations"].set_value(3)
    dock.offer.go_on.click()
    wait_until(lambda: dock.controller.phase is RunPhase.FINISHED, 60)
    assert list(session.summaries) == [1, 2, 3, 4]
    assert read_settings(folder).tau2_fudge == 1.0
    assert read_settings(folder).max_iterations == 3
    wait_until(lambda: dock.board.layer("final") is not None)
    picture(viewer, application, "2_continued")


def test_a_run_folder_opens_the_dock(viewer, wait_until, job) -> None:
    folder = kept(job)
    viewer.open(str(folder), plugin="napari-blush")
    wait_until(lambda: "Refine" in " ".join(viewer.window.dock_widgets))
    (dock,) = [one for one in viewer.window.dock_widgets.values() if type(one) is RefineWidget]
    wait_until(lambda: dock.controller is not None)
    wait_until(lambda: dock.controller.phase is RunPhase.FINISHED)
    assert list(dock.controller.session.summaries) == [1, 2, 3]
    assert dock.inputs.fields["output"].value() == folder


def test_orientations_of_a_reopened_run_follow_the_slider(
    dock, viewer, application, wait_until, job
) -> None:
    folder = kept(job)
    drop(viewer, folder)
    wait_until(lambda: dock.controller.phase is RunPhase.FINISHED)
    wait_until(lambda: dock.board.layer("final") is not None)
    layers = dock._view.layers
    dock.looks.orientations.setChecked(True)
    wait_until(lambda: layers.orientations.layer() is not None)
    sphere = layers.orientations.layer()
    middle = dock.board.layer("final").extent.world.mean(axis=0)[-1]
    wait_until(lambda: viewer.scene.camera.center[-1] < middle - 20)  # the sphere is in view
    counts = {}
    for iteration in (2, 1):
        viewer.dims.set_point(layers.iterations.axis, iteration)
        wait_until(lambda at=iteration: sphere.metadata[TAG]["iteration"] == at)
        table = folder / f"run_it{iteration:03d}_data.star"
        particles = read_particles(table, image_root=job.particles.parent)
        expected = counted(particles.poses.rotations[:, :, 2].numpy(), np.ones(len(particles)))
        counts[iteration] = np.asarray(sphere.features["count"])
        assert np.array_equal(counts[iteration], expected.count)
    assert not np.array_equal(counts[1], counts[2])
    # A final map is of no iteration, and would hide the past.
    final, reference = dock.board.layer("final"), dock.board.layer("reference")
    assert (final.visible, reference.visible) == (False, True)
    assert 0 < np.nanmean(sphere.features["p_max"]) <= 1
    picture(viewer, application, "9_orientations")
    viewer.dims.set_point(layers.iterations.axis, 2)
    assert (final.visible, reference.visible) == (True, False)


def test_a_branch_from_the_dock(dock, viewer, application, wait_until, job, tmp_path) -> None:
    folder = kept(job)
    dock._life.open(folder)
    wait_until(lambda: dock.controller.phase is RunPhase.FINISHED)
    wait_until(lambda: dock.board.layer("final") is not None)
    assert not shown(dock, "go_on")
    assert not dock.inputs.resume.isChecked()
    assert dock.offer.about.text() == "Over; kept in run up to iteration 2."
    assert dock.offer.iteration.maximum() == 2
    dock.offer.iteration.setValue(1)
    dock.offer.branch.click()
    assert "iteration 1 of run" in dock.offer.origin.text()
    assert dock.inputs.fields["output"].value() == tmp_path / "run-branch"
    assert not dock.form.editors["symmetry"].native.isEnabled()
    dock.form.editors["denoiser_strength"].set_value(0.5)
    assert f"--continue-from {folder} --iteration 1" in dock.set_up.command.text()
    assert dock.set_up.command.text().endswith("--denoiser-strength 0.5")
    picture(viewer, application, "3_branch")
    dock.offer.drop.click()
    assert "--continue-from" not in dock.set_up.command.text()
    dock.offer.branch.click()
    dock.form.editors["denoiser_strength"].set_value(0.5)
    dock.controls.buttons["start"].click()
    wait_until(lambda: dock.controller.session.status == "running")
    wait_until(lambda: dock.controller.phase is RunPhase.FINISHED, 60)
    first = read_history(tmp_path / "run-branch")[0]
    assert first["iteration"] == 2
    assert first["changes"][0]["what"] == "branch: denoiser_strength 1 to 0.5"
    assert read_source(tmp_path / "run-branch").branched_from == (folder, 1)
    assert list(dock.controller.session.summaries) == [1, 2, 3]
    beside = lambda: dock._view.plots._beside  # noqa: E731
    wait_until(lambda: beside().name == "run")
    assert list(beside().summaries) == list(beside().history) == [1, 2, 3]
    dock.pages.turn_to(WATCH)
    dock._view.plots.tabs.setCurrentIndex(1)
    picture(viewer, application, "3_branch_and_parent")
    # Opened again it has its parent beside it, and another run has not.
    dock._life.open(folder)
    assert beside().name == ""
    dock._life.open(tmp_path / "run-branch")
    wait_until(lambda: beside().name == "run")


def test_a_twin_runs_beside_its_run(dock, viewer, application, wait_until, job, tmp_path) -> None:
    dock.fill(job)
    dock.controls.buttons["start"].click()
    dock.controller.step()
    wait_until(lambda: dock.controller.phase is RunPhase.PAUSED)
    wait_until(lambda: shown(dock, "twin"))
    assert dock.offer.twin.text() == "Twin with smoothness beside it"
    dock.offer.twin.click()
    (twin,) = [one for one in dock.twins if one is not dock]
    wait_until(lambda: twin.controller is not None)
    wait_until(lambda: twin.controller.phase is RunPhase.FINISHED, 60)
    assert dock.controller.phase is RunPhase.PAUSED
    assert "Went on from iteration 1 of run" in twin.offer.origin.text()
    source = read_source(tmp_path / "run-twin")
    assert source.branched_from == (tmp_path / "run", 1)
    assert twin.controller.session.summaries[1] == dock.controller.session.summaries[1]
    runs = {layer.metadata[TAG]["run"] for layer in viewer.layers if TAG in layer.metadata}
    assert runs == {"run", "run-twin"}
    assert viewer.canvas.grid.enabled
    picture(viewer, application, "4_twin")
    dock.controls.buttons["resume"].click()
    wait_until(lambda: dock.controller.phase is RunPhase.FINISHED, 60)
    here, there = (one.controller.session.resolution_history[3] for one in (twin, dock))
    assert f"Iteration 3: {here:.2f} Å here, {there:.2f} Å in run" in twin.offer.origin.text()
    for run in ("run", "run-twin"):
        assert last_whole_iteration(tmp_path / run) == 2


class Failing(registry.SmoothnessRegularizer):
    """Somebody's regularizer that fails as the tensor library does, in the second iteration."""

    calls = 0

    def regularize(self, given):
        Failing.calls += 1
        if Failing.calls == 2:
            torch.zeros(2, 3) @ torch.zeros(2, 3)
        return super().regularize(given)


def test_a_crash_is_told_and_can_be_gone_on_from(
    dock, viewer, application, wait_until, job, monkeypatch
) -> None:
    monkeypatch.setitem(registry._OWN, "smoothness", lambda *_: Failing())
    settings = job.settings.model_copy(update={"regularizer": "smoothness"})
    dock.fill(replace(job, settings=settings))
    dock.controls.buttons["start"].click()
    wait_until(lambda: dock.controller.phase is RunPhase.FAILED, 60)
    told = dock.log.toPlainText()
    assert "shapes cannot be multiplied" in told
    assert "go on from there" in told
    assert "shapes cannot be multiplied" in dock.controls.state.text()
    wait_until(lambda: shown(dock, "go_on"))
    picture(viewer, application, "5_failed")
    dock.offer.go_on.click()
    wait_until(lambda: dock.controller.phase is RunPhase.FINISHED, 60)
    assert Failing.calls == 3


@pytest.mark.skipif(os.name == "nt", reason="there is no limit to the size of files")
def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(
    dock, viewer, application, wait_until, job
) -> None:
    import resource  # noqa: PLC0415  not on every system

    dock.fill(replace(job, settings=job.settings.model_copy(update={"max_iterations": 3})))
    dock.controls.buttons["start"].click()
    dock.controller.step()
    wait_until(lambda: dock.controller.phase is RunPhase.PAUSED)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LESS_THAN_A_MAP, limits[1]))
    try:
        dock.controls.buttons["resume"].click()
        wait_until(lambda: dock.controller.phase is RunPhase.FAILED)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    told = dock.controls.state.text()
    assert "Cannot write" in told
    assert "File too large; check the disk" in told
    assert "holds a run already" not in told
    assert whole_iterations(job.output) == (1,)
    assert not list(job.output.glob("*it002*"))
    assert dock.board.layer("reference") is not None
    wait_until(lambda: shown(dock, "go_on"))
    picture(viewer, application, "9_full_disk")
    dock.offer.go_on.click()
    wait_until(lambda: dock.controller.phase is RunPhase.FINISHED, 60)
    assert list(dock.controller.session.summaries) == [1, 2, 3, 4]


def test_a_run_of_another_process_is_followed(
    dock, viewer, application, wait_until, job, tmp_path
) -> None:
    events = refinement_events(job, Steering())
    until(events, RunStarted)
    assert viewer.open(str(job.output), plugin="napari-blush") == []
    wait_until(lambda: dock.controller.phase is RunPhase.FOLLOWING)
    assert not dock.controller.session.summaries
    until(events, IterationFinished)
    wait_until(lambda: shown(dock, "branch"))
    assert "Following" in dock.controls.state.text()
    assert not dock.controls.buttons["start"].isEnabled()
    assert not shown(dock, "go_on")
    picture(viewer, application, "6_followed")
    for _ in events:
        pass
    wait_until(lambda: dock.controller.phase is RunPhase.FINISHED, 20)
    assert list(dock.controller.session.summaries) == [1, 2, 3]
    wait_until(lambda: dock.board.layer("final") is not None)


def test_the_copied_line_runs_in_a_shell_and_is_followed(
    dock, viewer, wait_until, job, tiny_files, tmp_path
) -> None:
    folder = tmp_path / "the lab's data"
    folder.mkdir()
    for path in tiny_files.particles.parent.iterdir():
        shutil.copy(path, folder)
    settings = job.settings.model_copy(
        update={
            "max_iterations": 40,
            "denoiser": str(folder / "tiny.safetensors"),
            "solvent_mask": folder / "mask.mrc",
        }
    )
    run = tmp_path / "a run"
    dock.fill(JobDescription(folder / "particles.star", folder / "start.mrc", run, settings))
    dock.set_up.command.copy.click()
    line = QApplication.clipboard().text()
    line = line.replace("napari-blush", f"exec {shlex.quote(sys.executable)} -m napari_blush", 1)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    shell = subprocess.Popen(["sh", "-c", line], env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_until((run / "settings.yaml").is_file, 60)
        viewer.open(str(run), plugin="napari-blush")
        wait_until(lambda: dock.controller.phase is RunPhase.FOLLOWING)
        begun_with = len(dock.controller.session.summaries)
        wait_until(lambda: len(dock.controller.session.summaries) > begun_with, 20)
        assert dock.board.layer("reference") is not None
        assert dock.controller.phase is RunPhase.FOLLOWING
        shell.terminate()
        wait_until(lambda: dock.controller.phase is not RunPhase.FOLLOWING, 20)
        assert shell.wait(20) == INTERRUPTED
    finally:
        shell.kill()
    assert read_settings(run) == settings
    wait_until(lambda: shown(dock, "go_on"))
    assert dock.job().command.endswith("--resume")


def test_everything_can_be_steered_and_waits_in_sight(
    dock, viewer, application, wait_until, job
) -> None:
    dock.fill(replace(job, settings=job.settings.model_copy(update={"max_iterations": 9})))
    dock.controls.buttons["start"].click()
    dock.controller.pause()
    wait_until(lambda: dock.controller.phase is RunPhase.PAUSED)
    dock.controls.buttons["step"].click()
    wait_until(lambda: dock.controller.session.state is not None)
    wait_until(lambda: dock.controller.phase is RunPhase.PAUSED)
    panel = dock.steering
    dock.steer({"trailing_shells": 1, "denoiser_strength": 0.7})
    panel.finer.click()
    panel.local.click()
    panel.reach.setValue(20.0)
    panel.offsets.click()
    panel.no_mask.click()
    waiting = panel.state.text()
    for words in ("denoiser_strength 0.7", "finer step", "local search", "offsets to 20.0 A",
                  "no mask", "trailing_shells 1", "Unsafe: fewer than 2"):  # fmt: skip
        assert words in waiting, words
    dock._show_memory()
    assert "GB in use" in dock.controls.memory.text()
    picture(viewer, application, "7_steering")
    if PICTURES:
        panel.grab().save(str(Path(PICTURES) / f"8_panel_{THEME}.png"))
    dock.controls.buttons["step"].click()
    wait_until(lambda: len(dock.controller.session.summaries) == 2, 60)
    assert "From the next iteration" not in panel.state.text()
    changed = dock.controller.session.summaries[2].changed
    assert changed[0] == "denoiser_strength 1 to 0.7, trailing_shells 2 to 1"
    assert len(changed) == 5
    wait_until(lambda: dock.controller.phase is RunPhase.PAUSED)
    dock.steer({"regularizer": "smoothness", "tau2_fudge": 1.5})
    dock.controls.buttons["step"].click()
    wait_until(lambda: len(dock.controller.session.summaries) == 3, 60)
    assert dock.controller.session.last_result.denoised_maps is None
    wait_until(lambda: dock.controller.phase is RunPhase.PAUSED)
    history = [[one["what"] for one in line["changes"]] for line in read_history(job.output)]
    assert history[0] == []
    assert history[1][0] == "denoiser_strength 1 to 0.7, trailing_shells 2 to 1"
    assert len(history[1]) == 5
    assert len(history[2]) == 1
    for words in ("regularizer blush to smoothness", "tau2_fudge 1 to 1.5"):
        assert words in history[2][0]
    dock.controls.buttons["cancel"].click()
    wait_until(lambda: dock.controller.phase is RunPhase.CANCELLED)


@pytest.mark.parametrize("how", ["window", "dock"])
def test_closing_leaves_no_thread(application, wait_until, job, how: str) -> None:
    viewer = napari.Viewer()
    dock = RefineWidget(viewer)
    dock.may_close = lambda: True
    place = viewer.window.add_dock_widget(dock, name="Refine", area="right")
    wait_until(lambda: dock.controller is not None)
    controller = dock.controller
    dock.fill(job)
    dock.controls.buttons["start"].click()
    wait_until(lambda: controller.phase is RunPhase.RUNNING)
    if how == "dock":
        place.destroyOnClose()  # what the cross of a dock does
        wait_until(lambda: controller.phase is RunPhase.CANCELLED)
    viewer.close()
    pool = QThreadPool.globalInstance()
    wait_until(lambda: pool.activeThreadCount() == 0)
    assert controller.phase is RunPhase.CANCELLED
    assert not (job.output / "run.lock").exists()
