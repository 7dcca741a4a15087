"""Simulated images against closed forms, written-out sums and RELION's projector."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile
import torch
from numpy.typing import NDArray

from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.particles import ImageSource
from napari_blush.data_model.poses import Poses
from napari_blush.errors import SettingsError
from napari_blush.io.mrc import write_map
from napari_blush.io.star import pose_columns
from napari_blush.numerics.rotations import random_rotations
from napari_blush.simulation.exposure import DefocusPlan, Exposure, draw_exposure
from napari_blush.simulation.images import ProjectedImages, scale_for_snr, simulate_particles
from napari_blush.simulation.noise import coloured_spectrum, noise_power
from napari_blush.simulation.phantoms import BlobPhantom, random_blobs

BOX, PIXEL, N = 32, 3.0, 12
GROUP = OpticsGroup("one", 300.0, 2.7, 0.1, PIXEL, BOX)


@pytest.fixture(scope="module")
def phantom() -> BlobPhantom:
    return random_blobs(torch.Generator().manual_seed(5), radius_px=7.0, sigma_px=(1.0, 2.0))


@pytest.fixture(scope="module")
def poses() -> Poses:
    generator = torch.Generator().manual_seed(6)
    shifts = PIXEL * torch.randn(N, 2, generator=generator, dtype=torch.float64)
    return Poses(random_rotations(N, generator).double(), shifts)


def exposure_of(*groups: OpticsGroup, n: int = N, **plan: object) -> Exposure:
    generator = torch.Generator().manual_seed(7)
    plan = {"particles_per_micrograph": 4, "astigmatism_um": 0.1, **plan}
    return draw_exposure(n, groups or (GROUP,), DefocusPlan(**plan), generator)


def without_ctf(n: int = N) -> Exposure:
    """An exposure whose CTF is 1 everywhere: no phase error, pure amplitude contrast."""
    flat = OpticsGroup("flat", 300.0, 0.0, 1.0, PIXEL, BOX)
    return replace(exposure_of(flat, n=n), defocus=torch.zeros(n, 3, dtype=torch.float64))


def relative_error(images: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((images - wanted).norm() / wanted.norm())


def everything(images: ImageSource) -> torch.Tensor:
    return images.read(torch.arange(len(images)))


def test_projections_are_those_of_the_phantom(phantom: BlobPhantom, poses: Poses) -> None:
    images = everything(ProjectedImages(phantom.volume(BOX), poses, without_ctf()))
    wanted = phantom.projections(poses.rotations, BOX, poses.shifts_angstrom / PIXEL)
    assert relative_error(images, wanted) < 0.004


def test_the_default_padding_beats_that_of_a_refinement(phantom: BlobPhantom, poses: Poses) -> None:
    wanted = phantom.projections(poses.rotations, BOX, poses.shifts_angstrom / PIXEL)
    volume = phantom.volume(BOX)
    fine = everything(ProjectedImages(volume, poses, without_ctf()))
    coarse = everything(ProjectedImages(volume, poses, without_ctf(), padding=2))
    assert relative_error(fine, wanted) < 0.4 * relative_error(coarse, wanted)


def written_out_ctf(row: NDArray[np.float64], group: OpticsGroup) -> NDArray[np.float64]:
    """The CTF on the half transform of an image, formula by formula, in float64."""
    k = np.fft.fftfreq(BOX, PIXEL)
    x, y = np.arange(BOX // 2 + 1)[None, :] / (BOX * PIXEL), k[:, None]
    wavelength = 12.2643247 / np.sqrt(group.voltage_kv * 1e3 * (1 + 0.978466e-6 * 1e3 * 300))
    squared = x**2 + y**2
    u, v, angle = row
    azimuth = np.arctan2(y, x) - np.radians(angle)
    defocus = (u + v) / 2 + (u - v) / 2 * np.cos(2 * azimuth)
    gamma = -np.pi * wavelength * defocus * squared
    gamma += np.pi / 2 * group.spherical_aberration_mm * 1e7 * wavelength**3 * squared**2
    return -np.sin(gamma - np.arcsin(group.amplitude_contrast))


def test_ctf_is_applied_to_every_coefficient(phantom: BlobPhantom, poses: Poses) -> None:
    exposure = exposure_of()
    volume = phantom.volume(BOX)
    clean = torch.fft.rfft2(everything(ProjectedImages(volume, poses, without_ctf()))).numpy()
    images = everything(ProjectedImages(volume, poses, exposure))
    for i in range(N):
        wanted = np.fft.irfft2(clean[i] * written_out_ctf(exposure.defocus[i].numpy(), GROUP))
        np.testing.assert_allclose(images[i].numpy(), wanted, atol=1e-4 * np.abs(wanted).max())


def test_origin_is_not_lost(phantom: BlobPhantom, poses: Poses) -> None:
    """The mean of an image is the amplitude contrast's share of the density."""
    volume = phantom.volume(BOX)
    shifted = replace(exposure_of(), phase_shift_deg=torch.full((N,), 30.0, dtype=torch.float64))
    for exposure, factor in ((exposure_of(), 0.1), (shifted, np.sin(np.arcsin(0.1) + np.pi / 6))):
        images = everything(ProjectedImages(volume, poses, exposure))
        wanted = np.full(N, factor * float(volume.sum()))
        np.testing.assert_allclose(images.sum((1, 2)).numpy(), wanted, rtol=1e-3)


def test_beam_tilt_shifts_images_and_magnification_stretches_them(
    phantom: BlobPhantom, poses: Poses
) -> None:
    volume = phantom.volume(BOX)
    stretched = replace(GROUP, magnification_matrix=((1.05, 0.0), (0.0, 1.0)))
    tilted = replace(GROUP, beam_tilt_mrad=(12.0, -8.0))
    plain, wide, moved = (
        everything(ProjectedImages(volume, poses, exposure_of(group)))
        for group in (GROUP, stretched, tilted)
    )
    # Frequencies counted on the image are true ones after the matrix: 1.05 times larger along x,
    # so the image shows the particle 1.05 times wider.
    grid = torch.arange(BOX) - BOX // 2
    center = poses.shifts_angstrom / PIXEL

    def width(images: torch.Tensor) -> torch.Tensor:
        power = images**2
        return torch.stack(
            [
                ((grid + center[i, 0]) ** 2 * power[i].sum(0)).sum() / power[i].sum()
                for i in range(N)
            ]
        )

    assert ((width(wide) / width(plain)) > 1.03).double().mean() > 0.8
    # Odd phases: the amplitudes stay, the images do not.
    amplitude = torch.fft.rfft2(plain).abs()
    torch.testing.assert_close(torch.fft.rfft2(moved).abs(), amplitude, atol=0.02, rtol=1e-3)
    assert relative_error(moved, plain) > 0.02


def test_optics_groups_are_each_given_their_own(phantom: BlobPhantom, poses: Poses) -> None:
    other = replace(GROUP, name="two", voltage_kv=200.0)
    volume = phantom.volume(BOX)
    both = everything(ProjectedImages(volume, poses, exposure_of(GROUP, other)))
    first = everything(ProjectedImages(volume, poses, exposure_of(GROUP)))
    second = everything(ProjectedImages(volume, poses, exposure_of(other)))
    wanted = torch.cat([first[:4], second[4:8], first[8:]])  # four particles per micrograph
    torch.testing.assert_close(both, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("snr", [0.05, 2.0])
def test_snr_is_as_asked(phantom: BlobPhantom, snr: float) -> None:
    n = 300
    generator = torch.Generator().manual_seed(8)
    poses = Poses(random_rotations(n, generator).double(), torch.zeros(n, 2, dtype=torch.float64))
    exposure = exposure_of(n=n)
    volume = phantom.volume(BOX)
    volume = volume * scale_for_snr(ProjectedImages(volume, poses, exposure), snr)
    signal = everything(simulate_particles(volume, poses, exposure, spectrum=None).images)
    images = everything(simulate_particles(volume, poses, exposure, seed=3).images)
    noise = (images - signal).double()
    assert signal.double().var((1, 2), correction=0).mean().item() == pytest.approx(snr, rel=1e-4)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.std().item() == pytest.approx(1, abs=0.005)


def test_noise_of_the_images_has_the_spectrum_asked_for(phantom: BlobPhantom) -> None:
    n = 600
    generator = torch.Generator().manual_seed(9)
    poses = Poses(random_rotations(n, generator).double(), torch.zeros(n, 2, dtype=torch.float64))
    arguments = (0.2 * phantom.volume(BOX), poses, exposure_of(n=n))
    signal = everything(simulate_particles(*arguments, spectrum=None).images)
    images = everything(simulate_particles(*arguments, spectrum=coloured_spectrum).images)
    power = (torch.fft.rfft2(images - signal).abs().double() ** 2).mean(0) / BOX**2
    k = np.fft.fftfreq(BOX, 1 / BOX)
    shell = np.rint(np.hypot(k[:, None], np.arange(BOX // 2 + 1))).astype(int)
    ratio = (power / noise_power(coloured_spectrum, BOX, PIXEL)).numpy()
    for s in range(4, BOX // 2 + 1):
        assert ratio[shell == s].mean() == pytest.approx(1, abs=max(0.02, 3 / (n * s * 3) ** 0.5))


def test_images_do_not_depend_on_batches_or_order(phantom: BlobPhantom, poses: Poses) -> None:
    arguments = (phantom.volume(BOX), poses, exposure_of())
    lazy = simulate_particles(*arguments, in_memory=False).images
    kept = simulate_particles(*arguments).images
    some = torch.tensor([7, 2, 11])
    torch.testing.assert_close(lazy.read(some), kept.read(some), atol=1e-4, rtol=0)
    assert torch.equal(everything(kept), everything(simulate_particles(*arguments).images))
    other = simulate_particles(*arguments, seed=1).images
    assert relative_error(everything(other), everything(kept)) > 0.05


def test_particles_carry_what_is_true_of_them(phantom: BlobPhantom, poses: Poses) -> None:
    exposure = exposure_of()
    particles = simulate_particles(phantom.volume(BOX), poses, exposure)
    assert len(particles) == N
    assert particles.has_poses and torch.equal(particles.poses.rotations, poses.rotations)
    assert not particles.random_subset.any()
    assert particles.group_names == ("mic0001.mrc", "mic0002.mrc", "mic0003.mrc")


def test_boxes_and_numbers_must_fit(phantom: BlobPhantom, poses: Poses) -> None:
    with pytest.raises(SettingsError, match="density of 16 voxels"):
        ProjectedImages(phantom.volume(16), poses, exposure_of())
    with pytest.raises(SettingsError, match="12 poses and 9 exposures"):
        ProjectedImages(phantom.volume(BOX), poses, exposure_of(n=9))


@pytest.mark.parametrize("snr", [0.0, float("nan")])
def test_an_snr_without_sense_is_refused(phantom: BlobPhantom, poses: Poses, snr: float) -> None:
    with pytest.raises(SettingsError, match="signal-to-noise"):
        scale_for_snr(ProjectedImages(phantom.volume(BOX), poses, exposure_of()), snr)


def test_an_empty_density_has_no_snr(poses: Poses) -> None:
    with pytest.raises(SettingsError, match="check the density"):
        scale_for_snr(ProjectedImages(torch.zeros(BOX, BOX, BOX), poses, exposure_of()), 0.1)


@pytest.mark.relion
def test_images_are_those_of_relion_project(
    phantom: BlobPhantom, poses: Poses, tmp_path: Path
) -> None:
    exposure = exposure_of()
    volume = phantom.volume(BOX)
    write_map(tmp_path / "volume.mrc", volume, PIXEL)
    starfile.write(tables_for_relion(poses, exposure), tmp_path / "poses.star")
    program = shutil.which("relion_project") or "relion_project"
    command = [program, "--i", "volume.mrc", "--ang", "poses.star", "--ctf", "--pad", "4"]
    command += ["--angpix", str(PIXEL), "--o", "projected"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    theirs = torch.from_numpy(mrcfile.read(tmp_path / "projected.mrcs").astype(np.float32))
    ours = everything(ProjectedImages(volume, poses, exposure))
    assert relative_error(ours, theirs) < 0.03
    scale = float((ours * theirs).sum() / (theirs * theirs).sum())
    assert scale == pytest.approx(1, abs=0.01)


def tables_for_relion(poses: Poses, exposure: Exposure) -> dict:
    particles = pd.DataFrame(pose_columns(poses))
    for i, label in enumerate(("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")):
        particles[label] = exposure.defocus[:, i].numpy()
    particles["rlnImageName"] = [f"{i + 1:06d}@none.mrcs" for i in range(N)]
    particles["rlnOpticsGroup"] = 1
    optics = {
        "rlnOpticsGroupName": "one",
        "rlnOpticsGroup": 1,
        "rlnVoltage": 300.0,
        "rlnSphericalAberration": 2.7,
        "rlnAmplitudeContrast": 0.1,
        "rlnImagePixelSize": PIXEL,
        "rlnImageSize": BOX,
        "rlnImageDimensionality": 2,
    }
    return {"optics": pd.DataFrame([optics]), "particles": particles}
