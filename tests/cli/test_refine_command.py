"""``refine`` from files to a run folder: what it writes, how it is stopped, and how it goes on."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from napari_blush.cli.main import main
from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.poses import Poses
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.weights import save_denoiser
from napari_blush.io.mrc import read_map, write_map, write_stack
from napari_blush.io.run_history import read_history
from napari_blush.io.run_settings import read_settings, settings_at
from napari_blush.io.run_state import last_whole_iteration
from napari_blush.io.star import read_particles, write_particles
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.rotations import random_rotations
from napari_blush.simulation.exposure import DefocusPlan, draw_exposure
from napari_blush.simulation.images import simulate_particles
from napari_blush.simulation.phantoms import random_blobs

BOX, VOXEL, N = 32, 4.0, 48
MAPS = ("run_class001.mrc", "run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small data set: particles, start map, mask."""
    folder = tmp_path_factory.mktemp("inputs")
    generator = torch.Generator().manual_seed(7)
    truth = random_blobs(generator, radius_px=7.0).volume(BOX)
    poses = Poses(random_rotations(N, generator).double(), torch.zeros(N, 2, dtype=torch.float64))
    group = OpticsGroup("one", 300.0, 2.7, 0.1, VOXEL, BOX)
    exposure = draw_exposure(N, (group,), DefocusPlan(), generator)
    clean = simulate_particles(truth, poses, exposure, spectrum=None)
    signal_only = clean.images.read(torch.arange(N))
    images = signal_only / signal_only.std() + torch.randn(N, BOX, BOX, generator=generator)
    write_stack(folder / "p.mrcs", images, VOXEL)
    names = {"rlnImageName": [f"{i + 1:06d}@p.mrcs" for i in range(N)]}
    write_particles(folder / "p.star", clean, names)
    write_map(folder / "start.mrc", low_pass(truth, VOXEL, 30.0), VOXEL)
    write_map(folder / "mask.mrc", soft_sphere(BOX, 11.0, 3.0), VOXEL)
    return folder


def command(inputs: Path, output: Path, *options: str) -> list[str]:
    files = [inputs / "p.star", "--reference", inputs / "start.mrc", "--output", output]
    basics = "--particle-diameter 90 --initial-low-pass 30 --healpix-order 1 --device cpu --seed 5"
    basics += " --denoise-from none"
    return ["refine", *map(str, files), *basics.split(), *options]


def same_maps(first: Path, second: Path) -> bool:
    return all(
        torch.equal(read_map(first / name).volume, read_map(second / name).volume) for name in MAPS
    )


@pytest.fixture(scope="module")
def whole(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run three iterations without interruption."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    assert main(command(inputs, output, "--max-iterations", "3")) == 0
    return output


def test_maps_tables_and_settings_are_written(inputs: Path, whole: Path) -> None:
    expected = [*MAPS, "run_class001_sharpened.mrc", "run_data.star", "run_model.star"]
    expected += ["settings.yaml", "run_it003_half2_class001.mrc", "run_it003_optimiser.star"]
    assert not [name for name in expected if not (whole / name).is_file()]
    assert not (whole / "run_it004_data.star").exists()
    assert not list(whole.glob(".*.part"))
    assert read_particles(whole / "run_data.star", image_root=inputs).has_poses


def test_a_finished_run_is_left_alone(
    inputs: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = (whole / "run_class001.mrc").stat().st_mtime_ns
    assert main(command(inputs, whole, "--max-iterations", "3", "--resume")) == 0
    assert "is finished" in capsys.readouterr().out
    assert (whole / "run_class001.mrc").stat().st_mtime_ns == written


def test_more_iterations_continue_exactly(inputs: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert main(command(inputs, output, "--max-iterations", "1")) == 0
    assert main(command(inputs, output, "--max-iterations", "3", "--resume")) == 0
    assert same_maps(output, whole)


def test_resume_of_nothing_is_a_start(inputs: Path, tmp_path: Path) -> None:
    assert main(command(inputs, tmp_path / "new", "--max-iterations", "1", "--resume")) == 0
    assert (tmp_path / "new" / "run_class001.mrc").is_file()


@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_a_stopped_run_goes_on_exactly(
    inputs: Path, whole: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    output = tmp_path / "run"
    arguments = command(inputs, output, "--max-iterations", "3")
    process = subprocess.Popen(
        [sys.executable, "-m", "napari_blush", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        # A shell lets what it runs in the background ignore Ctrl-C, and that is inherited.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while last_whole_iteration(output) is None and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(sent)
    said, complaint = process.communicate(timeout=60)
    assert process.returncode == code, complaint
    if code == 130:
        assert "is kept; the same command with --resume goes on from there." in said
        assert complaint == "napari-blush: interrupted\n"
        assert not (output / "run.lock").exists()
    assert not (output / "run_class001.mrc").exists()
    assert main([*arguments, "--resume"]) == 0
    assert same_maps(output, whole)


def test_a_used_folder_is_refused(
    inputs: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(inputs, whole)) == 1
    complaint = capsys.readouterr().err
    assert "holds a run already" in complaint
    assert len(complaint.splitlines()) == 1


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    fields = {"name": "random", "version": "1", "voxel_size": VOXEL, "block_size": 16}
    save_denoiser(path, BlushUNet(width=2, depth=2), fields)
    return path


def test_blush_leaves_its_maps_and_its_weights_in_the_folder(
    inputs: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    options = ["--denoiser", str(weights)]
    assert main(command(inputs, output, *options, "--max-iterations", "1")) == 0
    said = capsys.readouterr().out
    assert "denoised with random 1 (sha256 " in said
    assert said.count("denoised with") == 1
    assert {path.name for path in output.glob("*denoised*")} == {
        f"run_it001_half{half}_class001_denoised.mrc" for half in (1, 2)
    }
    first = yaml.safe_load((output / "settings.yaml").read_text())["regularizer"]
    assert first.startswith("blush (random 1, sha256 ")
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    options[-1] = str(moved)
    assert main(command(inputs, output, *options, "--max-iterations", "2", "--resume")) == 0
    lines = read_history(output)
    assert [line["regularizer"] for line in lines] == [first, first, ""]
    assert [line["cutoff_shell"] is None for line in lines] == [False, False, True]


def test_blush_without_trailing_is_called_unsafe(
    inputs: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--denoiser", str(weights), "--no-spectral-trailing"]
    assert main(command(inputs, tmp_path / "run", *options, "--max-iterations", "1")) == 0
    assert "trailing is off, which is unsafe" in capsys.readouterr().out


def test_blush_without_weights_says_what_to_do_and_leaves_nothing_behind(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--regularizer", "blush", "--denoiser", "no-such-weights"]
    assert main(command(inputs, tmp_path / "run", *options)) == 1
    assert "no-such-weights" in capsys.readouterr().err
    assert not (tmp_path / "run" / "run.lock").exists()


# branches -------------------------------------------------------------------------------------


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {p.name: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.iterdir()}


def test_a_branch_with_nothing_changed_is_the_run_itself(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, branch = listing(whole), tmp_path / "branch"
    line = ["refine", "--continue-from", str(whole), "--iteration", "1", "--output", str(branch)]
    assert main(line) == 0
    assert ", from iteration 2" in capsys.readouterr().out
    assert same_maps(branch, whole)
    assert listing(whole) == before
    assert not (branch / "run_it001_data.star").exists()
    assert yaml.safe_load((branch / "settings.yaml").read_text())["branched_from"] == {
        "folder": str(whole),
        "iteration": 1,
    }
    assert [entry["changes"] for entry in read_history(branch)] == [[], [], []]


def test_a_branch_goes_its_own_way_and_says_how(whole: Path, tmp_path: Path) -> None:
    branch = tmp_path / "branch"
    line = ["refine", "--continue-from", str(whole), "--iteration", "2", "--output", str(branch)]
    assert main([*line, "--tau2-fudge", "4"]) == 0
    first, *rest = read_history(branch)
    assert first["iteration"] == 3
    assert [change["what"] for change in first["changes"]] == ["branch: tau2_fudge 1 to 4"]
    assert not any(entry["changes"] for entry in rest)
    assert read_history(whole)[2]["fsc"] != first["fsc"] or not same_maps(branch, whole)
    assert settings_at(branch).tau2_fudge == 4.0
    assert read_settings(whole).tau2_fudge == 1.0
    # Nothing is left to do in it, as in any run.
    assert main([*line, "--tau2-fudge", "4", "--resume"]) == 0


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--iteration", "7"], 1, "holds no whole iteration 7; the last is 3"),
        (["--symmetry", "C2"], 2, "was given another symmetry"),
    ],
)
def test_a_branch_that_cannot_be(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options, code: int, told: str
) -> None:
    line = ["refine", "--continue-from", str(whole), "--output", str(tmp_path / "branch"), *options]
    assert main(line) == code
    assert told in capsys.readouterr().err
    assert not (tmp_path / "branch").exists()


def test_a_run_needs_particles_and_a_start_map(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["refine", str(inputs / "p.star"), "--output", str(tmp_path / "run")]) == 2
    assert "wanted both" in capsys.readouterr().err
    assert main([*command(inputs, tmp_path / "run"), "--iteration", "3"]) == 2
    assert "without --continue-from" in capsys.readouterr().err
