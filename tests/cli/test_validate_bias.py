"""Particles that hold something, and particles that hold nothing, beside noise."""

import re
from pathlib import Path

import pytest
import torch

from napari_blush.cli.main import main
from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.poses import Poses
from napari_blush.io.mrc import write_map, write_stack
from napari_blush.io.star import write_particles
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.rotations import random_rotations
from napari_blush.simulation.exposure import DefocusPlan, draw_exposure
from napari_blush.simulation.images import simulate_particles
from napari_blush.simulation.phantoms import random_blobs
from napari_blush.validation.kept_sections import read_sections

BOX, VOXEL, N = 32, 4.0, 100


def refine_and_judge(folder: Path, signal_to_noise: float) -> None:
    """Write particles, refine them, and refine noise against the same start map."""
    generator = torch.Generator().manual_seed(7)
    truth = random_blobs(generator, n_blobs=60, radius_px=8.0, sigma_px=(0.6, 0.8)).volume(BOX)
    poses = Poses(random_rotations(N, generator).double(), torch.zeros(N, 2, dtype=torch.float64))
    group = OpticsGroup("one", 300.0, 2.7, 0.1, VOXEL, BOX)
    exposure = draw_exposure(N, (group,), DefocusPlan(), generator)
    clean = simulate_particles(truth, poses, exposure, spectrum=None)
    signal = clean.images.read(torch.arange(N))
    images = signal_to_noise * signal / signal.std() + torch.randn(N, BOX, BOX, generator=generator)
    write_stack(folder / "p.mrcs", images, VOXEL)
    names = {"rlnImageName": [f"{i + 1:06d}@p.mrcs" for i in range(N)]}
    write_particles(folder / "p.star", clean, names)
    write_map(folder / "start.mrc", low_pass(truth, VOXEL, 12.0), VOXEL)
    files = [str(folder / "p.star"), "--reference", str(folder / "start.mrc")]
    basics = "--particle-diameter 80 --initial-low-pass 30 --healpix-order 1 --device cpu --seed 5"
    rest = "--regularizer smoothness --max-iterations 2 --offset-range 2 --offset-step 2"
    run = ["--output", str(folder / "run")]
    assert main(["refine", *files, *run, *basics.split(), *rest.split()]) == 0
    noise = ["validate", "bias", str(folder / "run"), *files, "--output", str(folder / "noise")]
    assert main([*noise, "--max-iterations", "2"]) == 0


@pytest.mark.parametrize(("signal_to_noise", "light"), [(1.5, "green"), (0.0, "red")])
def test_noise_is_told_from_particles(
    signal_to_noise: float, light: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refine_and_judge(tmp_path, signal_to_noise)
    said = capsys.readouterr().out
    assert f"{N} images of noise" in said
    assert re.search(rf"{light} +explained by noise", said), said
    (kept,) = read_sections(tmp_path / "noise", "validate-bias")
    assert kept.checks[0].light.word == light
    page = (tmp_path / "noise" / "report.html").read_text()
    assert ">low-pass</text>" in page and ">run with start map</text>" in page
