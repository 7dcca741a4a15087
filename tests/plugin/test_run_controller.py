"""A controller starts, holds and leaves runs, and hears only of the one that is its own."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from qtpy.QtCore import QThreadPool

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.plugin.job_description import JobDescription
from napari_blush.plugin.run_controller import RunController
from napari_blush.plugin.run_phase import RunPhase
from napari_blush.refine.events import Message, RunStarted
from napari_blush.refine.steering import ChangeSettings, FinishNow
from napari_blush.session import RunStatus

JOB = JobDescription(Path("a.star"), Path("b.mrc"), Path("out"), RefinementSettings())
STARTED = RunStarted(4, (2, 2), 8, 2.0, 1, "cpu", "numba")


class Script:
    """Runs whose events are let out one by one."""

    def __init__(self) -> None:
        self.steps = threading.Semaphore(0)
        self.closed = 0
        self.inboxes = []
        self.error: Exception | None = None

    def __call__(self, job, steering):
        self.inboxes.append(steering)
        try:
            yield STARTED
            for number in range(50):
                self.steps.acquire(timeout=5)
                if self.error is not None:
                    raise self.error
                yield Message(str(number))
        finally:
            self.closed += 1


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def controller(application, script, wait_until):
    controller = RunController(script)
    yield controller
    controller.leave()
    script.steps.release(60)
    wait_until(lambda: script.closed == len(script.inboxes))


def start(controller, wait_until) -> None:
    controller.start(JOB)
    wait_until(lambda: controller.phase is RunPhase.RUNNING)


def test_events_reach_the_session(controller, script, wait_until) -> None:
    start(controller, wait_until)
    script.steps.release(3)
    wait_until(lambda: len(controller.session.messages) == 3)
    assert controller.session.status is RunStatus.RUNNING
    assert script.inboxes == [controller.session.steering]


def test_an_error_of_the_tensor_library_is_told_and_the_next_run_starts(
    controller, script, wait_until
) -> None:
    start(controller, wait_until)
    script.error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    script.steps.release()
    wait_until(lambda: controller.phase is RunPhase.FAILED)
    assert "mat1 and mat2" in controller.session.messages[-1].text
    assert controller.session.messages[-1].warning
    script.error = None
    start(controller, wait_until)
    assert controller.session.messages == ()


def test_what_arrives_of_a_run_that_was_left_is_dropped(
    controller, script, wait_until, application
) -> None:
    start(controller, wait_until)
    left = controller._run
    controller.leave()
    assert controller.phase is RunPhase.CANCELLED
    controller._arrived(left, Message("late"))
    assert controller.session.messages == ()
    script.steps.release()
    wait_until(lambda: script.closed == 1)


def test_one_run_at_a_time(controller, script, wait_until) -> None:
    start(controller, wait_until)
    controller.start(JOB)
    assert len(script.inboxes) == 1


def test_a_pause_that_is_taken_back_is_none(controller, script, wait_until) -> None:
    start(controller, wait_until)
    controller.pause()
    assert controller.phase is RunPhase.PAUSING
    controller.resume()
    script.steps.release(2)
    wait_until(lambda: len(controller.session.messages) == 2)
    assert controller.phase is RunPhase.RUNNING
    controller.pause()
    script.steps.release()
    wait_until(lambda: controller.phase is RunPhase.PAUSED)
    controller.resume()
    script.steps.release()
    wait_until(lambda: len(controller.session.messages) == 4)
    assert controller.phase is RunPhase.RUNNING


def test_cancel_reaches_a_run_that_is_held(controller, script, wait_until) -> None:
    start(controller, wait_until)
    controller.pause()
    script.steps.release()
    wait_until(lambda: controller.phase is RunPhase.PAUSED)
    controller.cancel()
    assert controller.phase is RunPhase.CANCELLING
    wait_until(lambda: controller.phase is RunPhase.CANCELLED)
    assert script.closed == 1


def test_changes_go_into_the_inbox(controller, script, wait_until) -> None:
    start(controller, wait_until)
    controller.propose(ChangeSettings({"tau2_fudge": 2.0}))
    controller.finish()
    assert controller.phase is RunPhase.FINISHING
    assert script.inboxes[0].take() == [ChangeSettings({"tau2_fudge": 2.0}), FinishNow()]


def test_the_command_line_is_quoted_and_holds_what_differs() -> None:
    settings = RefinementSettings(
        symmetry="D2", initial_low_pass=None, zero_mask=False, tau2_fudge=2.5
    )
    job = JobDescription(Path("my set/a.star"), Path("b.mrc"), Path("out"), settings, True)
    assert job.command == (
        "napari-blush refine 'my set/a.star' --reference b.mrc --output out --symmetry D2 "
        "--initial-low-pass none --tau2-fudge 2.5 --no-zero-mask --resume"
    )


def test_what_is_said_before_a_run_starts_does_not_end_it(application, wait_until) -> None:
    """After a failure, a lock that was taken over is told before the run says that it starts."""
    turns = [RuntimeError("no"), Message("The lock was taken over."), STARTED]
    going = threading.Event()

    def make_events(job, steering):
        if isinstance(turns[0], RuntimeError):
            raise turns.pop(0)
        yield from turns
        going.wait(10)

    controller, phases = RunController(make_events), []
    controller.phase_changed.connect(phases.append)
    controller.start(JOB)
    wait_until(lambda: controller.phase is RunPhase.FAILED)
    controller.start(JOB)
    wait_until(lambda: controller.phase is RunPhase.RUNNING)
    assert phases == [RunPhase.STARTING, RunPhase.FAILED, RunPhase.STARTING, RunPhase.RUNNING]
    controller.leave()
    going.set()


def test_a_run_folder_is_opened_and_left(application, wait_until, tiny_files, tmp_path) -> None:
    """Read again as it was, live while another process holds it; no thread stays."""
    job = JobDescription(
        tiny_files.particles, tiny_files.reference, tmp_path / "run", tiny_files.settings
    )
    controller = RunController()
    controller.start(job)
    controller.step()
    wait_until(lambda: controller.phase is RunPhase.PAUSED)
    watcher = RunController()
    watcher.open(job.output, seconds=0.02)
    wait_until(lambda: watcher.phase is RunPhase.FOLLOWING)
    assert list(watcher.session.summaries) == [1]
    assert "read-only" in watcher.session.messages[0].text
    controller.resume()
    wait_until(lambda: watcher.phase is RunPhase.FINISHED, 60)
    assert list(watcher.session.summaries) == [1, 2, 3]
    assert watcher.session.half_maps is not None
    watcher.open(job.output)
    wait_until(lambda: watcher.session.half_maps is None)
    assert watcher.phase is RunPhase.FINISHED
    for one in (controller, watcher):
        one.leave()
    pool = QThreadPool.globalInstance()
    wait_until(lambda: pool.activeThreadCount() == 0)


def test_leaving_a_run_that_is_followed_leaves_no_thread(
    application, wait_until, tiny_files, tmp_path
) -> None:
    job = JobDescription(
        tiny_files.particles, tiny_files.reference, tmp_path / "run", tiny_files.settings
    )
    controller, watcher = RunController(), RunController()
    controller.start(job)
    controller.step()
    wait_until(lambda: controller.phase is RunPhase.PAUSED)
    watcher.open(job.output, seconds=600.0)
    wait_until(lambda: watcher.phase is RunPhase.FOLLOWING)
    watcher.leave()
    controller.leave()
    pool = QThreadPool.globalInstance()
    wait_until(lambda: pool.activeThreadCount() == 0, 10)


def test_a_branch_begins_with_the_past_of_its_run(
    application, wait_until, tiny_files, tmp_path
) -> None:
    job = JobDescription(
        tiny_files.particles, tiny_files.reference, tmp_path / "run", tiny_files.settings
    )
    controller = RunController()
    controller.start(job)
    wait_until(lambda: controller.phase is RunPhase.FINISHED, 60)
    lived = controller.session.summaries
    changed = tiny_files.settings.model_copy(update={"regularizer": "smoothness"})
    branch = replace(
        job, output=tmp_path / "twin", settings=changed, branch_from=(job.output, 1),
        settings_before=job.settings,
    )  # fmt: skip
    assert branch.command.endswith(
        f"--continue-from {job.output} --iteration 1 --output {branch.output} "
        "--regularizer smoothness"
    )
    other = RunController()
    other.start(branch)
    wait_until(lambda: other.phase is RunPhase.FINISHED, 60)
    assert other.session.summaries[1] == lived[1]
    assert other.session.summaries[2].changed == ("branch: regularizer blush to smoothness",)
    assert list(other.session.fsc_history) == [1, 2, 3]
    assert other.session.denoised_maps is None
