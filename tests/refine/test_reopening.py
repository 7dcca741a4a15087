"""A run folder tells what its run has said: after its end, after a crash, and while it goes on."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from napari_blush.errors import RefinementError, RunFolderError
from napari_blush.io.mrc import read_map, write_map, write_stack
from napari_blush.io.run_failure import read_failure
from napari_blush.io.run_history import read_history
from napari_blush.io.run_settings import RunSource, read_settings, settings_at
from napari_blush.io.star import read_particles, write_particles
from napari_blush.numerics.masks import soft_sphere
from napari_blush.refine.events import IterationFinished, IterationStarted
from napari_blush.refine.following import follow_folder
from napari_blush.refine.keeping import RunKeeper
from napari_blush.refine.kept_run import IterationRead, RunLeft, RunReopened, Standing
from napari_blush.refine.reopening import reopened
from napari_blush.refine.run_in_folder import RunRequest, opened
from napari_blush.refine.steering import ChangeMask, ChangeSettings, Steering
from napari_blush.regularization.regularizer import Regularized
from napari_blush.session import RefinementSession, RunStatus

FIELDS = ("fsc_history", "resolution_history", "summaries", "sampling", "cutoff_shell")


@pytest.fixture(scope="module")
def files(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny problem on disk."""
    folder = tmp_path_factory.mktemp("files")
    n = len(tiny.particles)
    images = tiny.particles.images.read(torch.arange(n))
    write_stack(folder / "p.mrcs", images, tiny.pixel_size)
    names = {"rlnImageName": [f"{i + 1:06d}@p.mrcs" for i in range(n)]}
    write_particles(folder / "p.star", tiny.particles, names)
    write_map(folder / "start.mrc", tiny.density, tiny.pixel_size)
    return folder


@pytest.fixture(scope="module")
def request_for(files: Path, settings_for):
    """The maker of runs of that problem."""

    def make(output: Path, **changes: object) -> RunRequest:
        names = {field for field in RunRequest.__dataclass_fields__ if field in changes}
        of_request = {name: changes.pop(name) for name in names}
        plain = RunRequest(
            read_particles(files / "p.star"),
            read_map(files / "start.mrc"),
            output,
            settings_for(**changes),
            RunSource(files / "p.star", files / "start.mrc"),
        )
        return replace(plain, **of_request)

    return make


def kept(request: RunRequest, steering=None, until=None, ask=None) -> RefinementSession:
    """Run into a folder, to the end or to an iteration; return the session that followed it."""
    session = RefinementSession()
    with opened(request, steering) as (writer, events):
        keeper = RunKeeper(writer)
        for event in events:
            keeper(event)
            session.apply(event)
            if ask is not None and isinstance(event, IterationStarted) and event.iteration == 1:
                for change in ask:
                    steering.propose(change)
            if isinstance(event, IterationFinished) and event.result.iteration == until:
                break
    return session


@pytest.fixture(scope="module")
def finished(request_for, tmp_path_factory: pytest.TempPathFactory):
    """A folder of two iterations and the last one, steered; and what its session had."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    ask = [ChangeSettings({"tau2_fudge": 2.0}), ChangeMask(soft_sphere(24, 8.0, 3.0))]
    session = kept(request_for(folder, max_iterations=2), Steering(), ask=ask)
    return folder, session


def same(first, second) -> bool:
    """Equal, curves to the six digits that are kept."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if hasattr(first, "unmasked"):
        names = ("unmasked", "masked", "phase_randomized", "corrected")
        close = (
            torch.allclose(getattr(first, n), getattr(second, n), atol=1e-5, equal_nan=True)
            for n in names
        )
        return all(close) and first.randomized_from_shell == second.randomized_from_shell
    return first == second


def test_a_finished_run_comes_back(finished) -> None:
    folder, lived = finished
    session = RefinementSession()
    session.apply(reopened(folder))
    assert session.status is RunStatus.FINISHED
    assert list(session.summaries) == [1, 2, 3]
    for name in ("fsc_history", "resolution_history", "summaries"):
        assert same(getattr(session, name), getattr(lived, name)), name
    assert session.summaries[2].changed == ("tau2_fudge 1 to 2", "mask")
    assert session.iteration == 3
    assert session.run == replace(lived.run, device="", backend="", first_iteration=3)
    assert session.state.iteration == 2
    assert torch.equal(session.poses.rotations, session.state.poses.rotations)


def test_what_was_changed_is_in_the_history_with_its_time(finished) -> None:
    folder, _ = finished
    settings, mask = read_history(folder)[1]["changes"]
    assert settings["values"] == {"tau2_fudge": 2.0}
    assert settings["time"].endswith("+00:00")
    assert mask["mask"] == "run_it002_mask.mrc"
    expected = soft_sphere(24, 8.0, 3.0)
    assert torch.equal(read_map(folder / mask["mask"]).volume, expected)
    assert read_settings(folder).tau2_fudge == 1.0
    assert settings_at(folder, 1) == read_settings(folder)
    assert settings_at(folder, 2).tau2_fudge == 2.0
    assert settings_at(folder).solvent_mask == folder / "run_it002_mask.mrc"


def test_a_steered_run_goes_on_as_it_was_steered(request_for, finished, tmp_path) -> None:
    """Stopped after iteration 2, where settings and mask had changed: to the same maps."""
    folder, _ = finished
    steering = Steering()
    ask = [ChangeSettings({"tau2_fudge": 2.0}), ChangeMask(soft_sphere(24, 8.0, 3.0))]
    request = request_for(tmp_path / "run", max_iterations=2)
    kept(request, steering, until=2, ask=ask)
    assert reopened(tmp_path / "run").standing is Standing.STOPPED
    kept(replace(request, resume=True))
    branch = replace(
        request, output=tmp_path / "branch", branch_from=(folder, 2), reference=None,
        settings=settings_at(folder, 2),
    )  # fmt: skip
    kept(branch)
    for name in ("run_class001.mrc", "run_half2_class001_unfil.mrc"):
        expected = read_map(folder / name).volume
        assert torch.equal(read_map(tmp_path / "run" / name).volume, expected)
        assert torch.equal(read_map(tmp_path / "branch" / name).volume, expected)
    assert settings_at(tmp_path / "run").tau2_fudge == 2.0


def test_the_settings_in_force_may_be_given_to_go_on(request_for, finished, tmp_path) -> None:
    request = request_for(tmp_path / "run", max_iterations=2)
    kept(request, Steering(), until=2, ask=[ChangeSettings({"tau2_fudge": 2.0})])
    with_changed = request.settings.model_copy(update={"tau2_fudge": 2.0})
    kept(replace(request, resume=True, settings=with_changed))
    assert read_settings(tmp_path / "run").tau2_fudge == 1.0
    assert settings_at(tmp_path / "run", 1).tau2_fudge == 1.0
    assert settings_at(tmp_path / "run").tau2_fudge == 2.0
    other = request.settings.model_copy(update={"tau2_fudge": 3.0})
    with pytest.raises(RunFolderError, match="tau2_fudge"):
        kept(replace(request, resume=True, settings=other))


class Failing:
    """Fails in its second iteration as the tensor library does."""

    name = "failing"

    def __init__(self) -> None:
        self.calls = 0

    def regularize(self, given):
        self.calls += 1
        yield from ()
        if self.calls > 1:
            torch.zeros(2, 3) @ torch.zeros(2, 3)
        return Regularized((given.wiener.half1, given.wiener.half2))


def test_a_crash_leaves_its_reason_until_the_run_goes_on(
    request_for, tmp_path, monkeypatch
) -> None:
    request = request_for(tmp_path / "run", max_iterations=2)
    with monkeypatch.context() as patch:
        failing = Failing()
        patch.setattr("napari_blush.refine.run.make_regularizer", lambda *_: failing)
        with pytest.raises(RuntimeError):
            kept(request)
    found = reopened(tmp_path / "run")
    assert found.standing is Standing.FAILED
    assert "RuntimeError" in found.text
    assert "shapes cannot be multiplied" in found.text
    assert [one.summary.iteration for one in found.iterations] == [1]
    kept(replace(request, resume=True))
    assert read_failure(tmp_path / "run") == ""
    assert reopened(tmp_path / "run").standing is Standing.FINISHED


def test_a_killed_process_is_told_as_such(request_for, tmp_path) -> None:
    kept(request_for(tmp_path / "run", max_iterations=2), until=1)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lock = {"pid": dead.pid, "host": os.uname().nodename, "began": "1"}
    (tmp_path / "run" / "run.lock").write_text(json.dumps(lock))
    found = reopened(tmp_path / "run")
    assert found.standing is Standing.FAILED
    assert f"process {dead.pid}" in found.text
    assert "Continue" in found.text


def test_a_folder_without_a_run_is_refused(tmp_path) -> None:
    with pytest.raises(RunFolderError):
        next(follow_folder(tmp_path))


def test_a_run_of_another_process_is_followed_to_its_end(files, settings_for, tmp_path) -> None:
    """Read-only: what is seen live is what is there at the end."""
    output, settings = tmp_path / "run", tmp_path / "settings.yaml"
    values = settings_for(max_iterations=2).model_dump(mode="json", exclude_defaults=True)
    settings.write_text(json.dumps({**values, "device": "cpu"}))
    line = ["refine", files / "p.star", "--reference", files / "start.mrc", "--output", output]
    command = [sys.executable, "-m", "napari_blush", *map(str, line), "--settings", str(settings)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    session, seen = RefinementSession(), []
    try:
        while not (output / "settings.yaml").exists():
            assert process.poll() is None
        for event in follow_folder(output, seconds=0.05):
            seen.append(event)
            session.apply(event)
            if len(seen) == 1:
                assert session.status is RunStatus.FOLLOWED
                assert f"process {process.pid}" in session.messages[0].text
    finally:
        process.wait(60)
    assert isinstance(seen[-1], RunLeft)
    assert session.status is RunStatus.FINISHED
    assert list(session.summaries) == [1, 2, 3]
    assert any(isinstance(event, IterationRead) for event in seen)
    expected = read_map(output / "run_half1_class001_unfil.mrc").volume
    assert torch.equal(session.half_maps.half1, expected)
    reference = read_map(output / "run_it002_half1_class001.mrc").volume
    assert torch.equal(session.references[0], reference)
    afterwards = RefinementSession()
    afterwards.apply(reopened(output))
    for name in FIELDS:
        assert same(getattr(session, name), getattr(afterwards, name)), name


def test_a_run_that_is_begun_again_earlier_is_read_anew(request_for, finished, tmp_path) -> None:
    """What another process does to a history between two looks."""
    folder = tmp_path / "run"
    kept(request_for(folder, max_iterations=3), until=2)
    (folder / "run.lock").write_text(json.dumps({"pid": 1, "host": "elsewhere", "began": None}))
    looks = []

    def wait(seconds: float) -> bool:
        looks.append(seconds)
        if len(looks) == 1:
            (folder / "run_it002_state.safetensors").unlink()
        return len(looks) > 2

    seen = list(follow_folder(folder, wait))
    assert [type(event) for event in seen] == [RunReopened, RunReopened]
    assert [len(event.iterations) for event in seen] == [2, 1]
    assert "elsewhere" in seen[0].text


def test_a_start_map_is_needed_at_the_start(request_for, tmp_path) -> None:
    with pytest.raises(RefinementError, match="No start map"):
        kept(request_for(tmp_path / "run", reference=None))
