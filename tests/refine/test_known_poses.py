"""Back-projection from known poses: the truth comes back, on its grey scale."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from napari_blush.cli.main import main
from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.particles import ImagesInMemory, Particles
from napari_blush.data_model.poses import Poses
from napari_blush.data_model.tool_settings import ReconstructionSettings
from napari_blush.errors import RefinementError
from napari_blush.io.mrc import read_map, write_stack
from napari_blush.io.star import pose_columns, write_particles
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.fft import rfftn_centered
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import random_rotations
from napari_blush.numerics.shells import shell_mean
from napari_blush.refine.known_poses import KnownPoseMaps, reconstruct_known_poses
from napari_blush.simulation.exposure import DefocusPlan, draw_exposure
from napari_blush.simulation.images import simulate_particles
from napari_blush.simulation.phantoms import random_blobs

BOX, VOXEL, TRUSTED = 32, 4.0, 9
"""From shell ``TRUSTED`` on the phantoms have faded to what interpolation leaks."""


def made_up(n: int, symmetry: str, generator: torch.Generator) -> tuple[torch.Tensor, Particles]:
    """Return a density and its noise-free images, shifted and CTF-modulated."""
    group = OpticsGroup("one", 300.0, 2.7, 0.1, VOXEL, BOX, beam_tilt_mrad=(0.3, -0.2))
    truth = random_blobs(generator, radius_px=8.0, symmetry=symmetry).volume(BOX)
    rotations = random_rotations(n, generator).double()
    shifts = 5.0 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    exposure = draw_exposure(n, (group,), DefocusPlan(), generator)
    return truth, simulate_particles(truth, Poses(rotations, shifts), exposure, spectrum=None)


def result_of(particles: Particles, **settings: object) -> KnownPoseMaps:
    steps = reconstruct_known_poses(
        particles, ReconstructionSettings.model_validate({"device": "cpu", **settings})
    )
    counts = []
    while True:
        try:
            counts.append(next(steps))
        except StopIteration as finished:
            assert counts == sorted(counts)
            assert counts[-1] == len(particles)
            return finished.value


def regression(volume: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return ``sum a b* / sum |b|^2`` by shell: 1 where the grey scale is the truth's."""
    ours, known = rfftn_centered(volume), rfftn_centered(truth)
    cross = shell_mean((ours * known.conj()).real, BOX, 3)
    return cross / shell_mean(known.abs() ** 2, BOX, 3)


def test_the_truth_comes_back_on_its_grey_scale(generator: torch.Generator) -> None:
    truth, particles = made_up(500, "C1", generator)
    maps = result_of(particles)
    assert maps.halves is None
    assert maps.voxel_size == VOXEL
    assert float(fourier_shell_correlation(maps.full, truth)[1:TRUSTED].min()) > 0.99
    torch.testing.assert_close(
        regression(maps.full, truth)[2:TRUSTED], torch.ones(TRUSTED - 2), atol=0.05, rtol=0
    )


def test_symmetry_makes_up_for_few_images(generator: torch.Generator) -> None:
    truth, particles = made_up(60, "D3", generator)
    with_symmetry = result_of(particles, symmetry="D3").full
    without = result_of(particles).full
    fsc = fourier_shell_correlation(with_symmetry, truth)[1:TRUSTED]
    assert float(fsc.min()) > 0.97
    assert float(fsc.mean()) > float(fourier_shell_correlation(without, truth)[1:TRUSTED].mean())
    assert len(symmetry_operators("D3")) == 6


def test_halves_are_kept_apart_and_add_up(generator: torch.Generator) -> None:
    _, particles = made_up(80, "C1", generator)
    subset = torch.arange(80) % 2 + 1
    maps = result_of(replace(particles, random_subset=subset))
    assert maps.halves is not None
    images = particles.images.read(torch.arange(80))
    images[subset == 2] = 7.0
    poisoned = replace(particles, random_subset=subset, images=ImagesInMemory(images))
    other = result_of(poisoned)
    assert other.halves is not None
    assert torch.equal(maps.halves.half1, other.halves.half1)
    assert not torch.allclose(maps.halves.half2, other.halves.half2)
    torch.testing.assert_close(maps.full, result_of(particles).full, atol=1e-4, rtol=1e-3)


def test_nothing_lies_beyond_the_limit(generator: torch.Generator) -> None:
    truth, particles = made_up(200, "C1", generator)
    full = result_of(particles, max_resolution=BOX * VOXEL / 6).full
    power = shell_mean(rfftn_centered(full).abs() ** 2, BOX, 3)
    known = shell_mean(rfftn_centered(truth).abs() ** 2, BOX, 3)
    assert float((power / known)[1:6].min()) > 0.8
    assert float(power[9:].max() / power[5]) < 1e-3


def test_without_ctf_correction_contrast_is_that_of_the_images(
    generator: torch.Generator,
) -> None:
    truth, particles = made_up(200, "C1", generator)
    plain = regression(result_of(particles, ctf=False).full, truth)
    assert float(plain[1:TRUSTED].abs().max()) < 0.95


def test_particles_without_poses_are_refused(generator: torch.Generator) -> None:
    _, particles = made_up(10, "C1", generator)
    with pytest.raises(RefinementError, match="have no poses"):
        result_of(replace(particles, has_poses=False))


@pytest.fixture
def folder(tmp_path: Path, generator: torch.Generator) -> Path:
    """Write particles with poses and halves, as files."""
    _, particles = made_up(400, "C1", generator)
    noise = torch.randn(400, BOX, BOX, generator=generator)
    write_stack(tmp_path / "p.mrcs", particles.images.read(torch.arange(400)) + 0.5 * noise, VOXEL)
    write_particles(
        tmp_path / "p.star",
        particles,
        {
            "rlnImageName": [f"{i + 1:06d}@p.mrcs" for i in range(400)],
            "rlnRandomSubset": [i % 2 + 1 for i in range(400)],
            **pose_columns(particles.poses),
        },
    )
    return tmp_path


def test_the_command_writes_maps_under_relions_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["reconstruct", str(folder / "p.star"), "--output", str(folder / "out")]
    assert main([*command, "--device", "cpu"]) == 0
    assert f"Wrote {folder / 'out' / 'run_class001.mrc'}" in capsys.readouterr().out
    half1 = read_map(folder / "out" / "run_half1_class001_unfil.mrc")
    half2 = read_map(folder / "out" / "run_half2_class001_unfil.mrc")
    fsc = fourier_shell_correlation(half1.volume, half2.volume)
    assert half1.voxel_size == VOXEL
    assert float(fsc[1:6].min()) > 0.9


@pytest.mark.relion
def test_map_is_that_of_relion(folder: Path) -> None:
    command = ["reconstruct", str(folder / "p.star"), "--output", str(folder / "out")]
    assert main([*command, "--device", "cpu"]) == 0
    relion = "relion_reconstruct --i p.star --o relion.mrc --ctf --pad 2"
    subprocess.run(relion.split(), cwd=folder, capture_output=True, check=True, timeout=120)
    ours = read_map(folder / "out" / "run_class001.mrc").volume
    theirs = read_map(folder / "relion.mrc").volume
    assert float(fourier_shell_correlation(ours, theirs)[1:TRUSTED].min()) > 0.97
    torch.testing.assert_close(regression(ours, theirs)[2:7], torch.ones(5), atol=0.05, rtol=0)
