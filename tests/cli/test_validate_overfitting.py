"""A refinement run again on phase-randomized images: what it is, prints and concludes."""

import json
import re
from pathlib import Path

import pytest
import torch

from napari_blush.cli.main import main
from napari_blush.cli.validate_overfitting import curve, judged, repeated_settings
from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.poses import Poses
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.data_model.validation_settings import ImageRandomizationSettings
from napari_blush.io.mrc import write_map, write_stack
from napari_blush.io.run_history import read_history
from napari_blush.io.run_settings import read_settings
from napari_blush.io.star import write_particles
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.rotations import random_rotations
from napari_blush.simulation.exposure import DefocusPlan, draw_exposure
from napari_blush.simulation.images import simulate_particles
from napari_blush.simulation.phantoms import random_blobs
from napari_blush.validation.judged_poses import likelihood_course
from napari_blush.validation.kept_sections import read_sections
from napari_blush.validation.lights import Light

BOX, VOXEL, N = 32, 4.0, 48


def write_particles_of(
    folder: Path, truth: torch.Tensor, generator: torch.Generator, n: int = N
) -> None:
    """Write noisy images of a density; of nothing where it is empty."""
    poses = Poses(random_rotations(n, generator).double(), torch.zeros(n, 2, dtype=torch.float64))
    group = OpticsGroup("one", 300.0, 2.7, 0.1, VOXEL, BOX)
    exposure = draw_exposure(n, (group,), DefocusPlan(), generator)
    clean = simulate_particles(truth, poses, exposure, spectrum=None)
    signal = clean.images.read(torch.arange(n))
    images = signal / signal.std().clamp(min=1e-6) + torch.randn(n, BOX, BOX, generator=generator)
    write_stack(folder / "p.mrcs", images, VOXEL)
    names = {"rlnImageName": [f"{i + 1:06d}@p.mrcs" for i in range(n)]}
    write_particles(folder / "p.star", clean, names)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write particles, a start map and a mask."""
    folder = tmp_path_factory.mktemp("overfitting")
    generator = torch.Generator().manual_seed(7)
    truth = random_blobs(generator, radius_px=7.0).volume(BOX)
    write_particles_of(folder, truth, generator)
    write_map(folder / "start.mrc", low_pass(truth, VOXEL, 30.0), VOXEL)
    write_map(folder / "mask.mrc", soft_sphere(BOX, 11.0, 3.0), VOXEL)
    return folder


def test_a_run_is_repeated_and_judged(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = tmp_path / "run", tmp_path / "randomized"
    files = [str(inputs / "p.star"), "--reference", str(inputs / "start.mrc")]
    basics = "--particle-diameter 90 --initial-low-pass 30 --healpix-order 1 --device cpu --seed 5"
    mask = ["--mask", str(inputs / "mask.mrc"), "--max-iterations", "1"]
    mask += ["--regularizer", "smoothness"]
    assert main(["refine", *files, "--output", str(before), *basics.split(), *mask]) == 0
    command = ["validate", "overfitting", str(before), *files, "--output", str(after)]
    assert main([*command, "--randomize-at", "25"]) == 0
    said = capsys.readouterr().out
    assert "Phases of all images are random beyond 25.00 A." in said
    assert "made from noise" in said
    assert read_settings(after) == read_settings(before)
    # The same images up to 25 A (shell 5), and other ones beyond.
    real, random = (curve(read_history(folder)[-1], "unmasked") for folder in (before, after))
    assert (real - random)[1:4].abs().max() < 0.2
    assert not torch.allclose(real[8:], random[8:], atol=1e-3)
    (kept,) = read_sections(after, "validate-overfitting")
    assert [check.name for check in kept.checks] == ["made from noise"]
    page = (after / "report.html").read_text()
    assert all(f">{name}</text>" in page for name in ("FSC_t", "FSC_n", "FSC_true"))
    # Views and poses of a whole run folder, with the course of the run.
    assert main(["validate-angles", str(before), "--output", str(tmp_path / "angles")]) == 0
    assert "p_max, median" in capsys.readouterr().out
    assert len(likelihood_course(before)) == 1
    assert "average p_max" in (tmp_path / "angles" / "report.html").read_text()
    empty = ["validate-overfitting", str(inputs), *files, "--output", str(tmp_path / "none")]
    assert main(empty) == 1
    assert "holds no iteration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("signal", "low_pass", "beyond", "light"),
    [(1.0, "30", "20", "green"), (0.0, "none", "42", "red")],
    ids=["particles", "noise and a detailed start map"],
)
def test_halves_that_follow_a_common_reference_are_red(
    signal: float,
    low_pass: str,
    beyond: str,
    light: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Images of noise are aligned to a start map with all its details: they come back in both.
    generator = torch.Generator().manual_seed(3)
    start = random_blobs(generator, n_blobs=60, radius_px=8.0, sigma_px=(0.6, 0.8)).volume(BOX)
    write_particles_of(tmp_path, signal * start, generator, 100)
    write_map(tmp_path / "start.mrc", start, VOXEL)
    write_map(tmp_path / "mask.mrc", soft_sphere(BOX, 11.0, 3.0), VOXEL)
    files = [str(tmp_path / "p.star"), "--reference", str(tmp_path / "start.mrc")]
    settings = "--particle-diameter 90 --healpix-order 1 --device cpu --seed 5 --max-iterations 1"
    settings += " --regularizer smoothness --offset-range 2 --offset-step 2"
    rest = ["--mask", str(tmp_path / "mask.mrc"), "--initial-low-pass", low_pass]
    before, after = str(tmp_path / "run"), str(tmp_path / "random")
    assert main(["refine", *files, "--output", before, *settings.split(), *rest]) == 0
    command = ["validate", "overfitting", before, *files, "--output", after]
    assert main([*command, "--randomize-at", beyond]) == 0
    assert re.search(rf"{light} +made from noise", capsys.readouterr().out)


def line(corrected: torch.Tensor) -> dict[str, object]:
    text = json.dumps({"voxel_size": VOXEL, "fsc": {"corrected": corrected.tolist()}})
    made: dict[str, object] = json.loads(text)
    return made


@pytest.mark.parametrize(("level", "light"), [(0.0, Light.GREEN), (0.4, Light.RED)])
def test_agreement_that_stays_without_phases_is_red(level: float, light: Light) -> None:
    # What halves refined against a common reference show: noise aligned to it agrees.
    shells = torch.arange(33.0)
    fsc_t = 1 / (1 + torch.exp((shells - 18) / 2))
    fsc_n = torch.where(shells < 8, fsc_t, torch.minimum(fsc_t, torch.tensor(level)))
    found = judged(line(fsc_t), line(fsc_n), 64 * VOXEL / 8, soft_sphere(64, 20.0, 4.0))
    assert found.check.light is light
    assert found.from_shell == 8


def test_only_what_was_asked_differs() -> None:
    before = RefinementSettings(regularizer="blush", seed=3, healpix_order=1)
    same = repeated_settings(before, ImageRandomizationSettings())
    assert same == before
    asked = ImageRandomizationSettings(keep_trailing=False, max_iterations=4, device="cpu")
    changed = repeated_settings(before, asked)
    assert not changed.spectral_trailing
    assert (changed.max_iterations, changed.device, changed.seed) == (4, "cpu", 3)
