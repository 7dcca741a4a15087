"""From accumulated slices to a map: exact slices, closed forms, and RELION."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_blush.io.mrc import read_map
from napari_blush.io.star import read_particles
from napari_blush.likelihood.half_model import HalfModel
from napari_blush.likelihood.prepared_images import ImagePreparation, ImagePreparer
from napari_blush.likelihood.reconstruction import (
    CORNER_EDGE_PX,
    MIN_REGULARIZED_SHELL,
    RIM_PX,
    join_at_low_resolution,
    map_variance,
    reconstruct,
    shell_mean_weight,
    shell_of_voxels,
)
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.fft import rfftn_centered
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.packing import packed_coordinates, shift_phases
from napari_blush.numerics.rotations import random_rotations
from napari_blush.numerics.shells import shell_mean
from napari_blush.numerics.slice_insertion import SliceAccumulator

BOX, PADDING = 16, 2
SHELLS = BOX // 2 + 1
COORDINATES = packed_coordinates(BOX, BOX // 2)
AXIS = np.arange(BOX) - BOX // 2
RADIUS = np.sqrt(AXIS[:, None, None] ** 2 + AXIS[:, None] ** 2 + AXIS**2)


def white_ball(seed: int = 3) -> Tensor:
    """Return a map with as much power at Nyquist as anywhere, inside a rim of solvent."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(BOX, BOX, BOX, generator=generator)
    return (1.0 + noise) * torch.from_numpy(RADIUS <= 3.0)


def exact_slices(volume: Tensor, rotations: Tensor) -> Tensor:
    """Return ``FT(volume) / n`` at ``R (kx, ky, 0)``, each a sum over all voxels, in float64."""
    flat = np.stack([COORDINATES.kx.numpy(), COORDINATES.ky.numpy()]).astype(float)
    xyz = np.einsum("mij,jk->imk", rotations.double().numpy()[:, :, :2], flat).reshape(3, -1)
    found = []
    for part in np.array_split(xyz, 40, axis=1):
        x, y, z = (np.exp(-2j * np.pi / BOX * np.outer(k, AXIS)) for k in part)
        along_x = np.tensordot(x, volume.double().numpy(), axes=([1], [2]))
        found.append(np.einsum("kz,ky,kzy->k", z, y, along_x, optimize=True))
    values = np.concatenate(found).reshape(len(rotations), -1) / BOX
    return torch.from_numpy(values).to(torch.complex64)


def accumulated(
    rotations: Tensor, values: Tensor, weights: Tensor, r_max: int = BOX // 2
) -> SliceAccumulator:
    count = COORDINATES.count(r_max)
    sums = SliceAccumulator(BOX, r_max=r_max, padding=PADDING)
    sums.insert(rotations, values[:, :count], weights[:, :count], COORDINATES)
    sums.enforce_hermitian()
    return sums


@pytest.fixture(scope="module")
def slices() -> tuple[Tensor, Tensor]:
    """Return random rotations and the exact slices of ``white_ball`` there."""
    rotations = random_rotations(300, torch.Generator().manual_seed(5)).float()
    return rotations, exact_slices(white_ball(), rotations)


def regression(volume: Tensor, truth: Tensor) -> Tensor:
    """Return ``sum a b* / sum |b|^2`` by shell: 1 where the grey scale is the truth's."""
    n = truth.shape[0]
    found, known = rfftn_centered(volume), rfftn_centered(truth)
    return shell_mean((found * known.conj()).real, n, 3) / shell_mean(known.abs() ** 2, n, 3)


def test_a_map_comes_back_from_its_slices(slices: tuple[Tensor, Tensor]) -> None:
    rotations, values = slices
    sums = accumulated(rotations, values, torch.ones(values.shape))
    found = reconstruct(sums, None)
    truth = white_ball()
    assert found.dtype == torch.float32
    assert float(fourier_shell_correlation(found, truth)[1 : SHELLS - 2].min()) > 0.99
    # The mean is in no image; it comes from the solvent, whose density is zero.
    torch.testing.assert_close(
        regression(found, truth)[: SHELLS - 2], torch.ones(SHELLS - 2), atol=0.03, rtol=0
    )


def test_weights_choose_whom_to_believe(slices: tuple[Tensor, Tensor]) -> None:
    rotations, values = slices
    generator = torch.Generator().manual_seed(8)
    ctf = torch.randn(values.shape, generator=generator)
    modulated = reconstruct(accumulated(rotations, ctf**2 * values, ctf**2), None)
    assert float(fourier_shell_correlation(modulated, white_ball())[1 : SHELLS - 2].min()) > 0.985
    wrong = values.clone()
    wrong[:150] = 30.0
    trusted = torch.ones(values.shape)
    trusted[:150] = 1e-6
    spoiled = reconstruct(accumulated(rotations, trusted * wrong, trusted), None)
    assert float(fourier_shell_correlation(spoiled, white_ball())[1 : SHELLS - 2].min()) > 0.98


def test_nothing_lies_beyond_what_was_inserted(slices: tuple[Tensor, Tensor]) -> None:
    rotations, values = slices
    found = reconstruct(accumulated(rotations, values, torch.ones(values.shape), r_max=5), None)
    power = shell_mean(rfftn_centered(found).abs() ** 2, BOX, 3)
    assert float(power[7:].max()) < 0.02 * float(power[4])


def test_corners_of_the_box_are_empty_and_solvent_is_zero(slices: tuple[Tensor, Tensor]) -> None:
    rotations, values = slices
    found = reconstruct(accumulated(rotations, values, torch.ones(values.shape)), None).numpy()
    assert np.abs(found[BOX / 2 + CORNER_EDGE_PX <= RADIUS]).max() == 0.0
    inside = found[RADIUS < BOX / 2 - CORNER_EDGE_PX]
    assert np.abs(inside).max() > 1.0
    shell = (RADIUS > 3.5) & (RADIUS < BOX / 2 - CORNER_EDGE_PX)
    assert abs(found[shell].mean()) < 0.01


def made_by_hand(volume: Tensor, weight: float) -> SliceAccumulator:
    """Return sums that hold ``weight`` everywhere, of a map seen through the gridding window."""
    sums = SliceAccumulator(BOX, r_max=BOX // 2, padding=PADDING)
    center = sums.shape[0] // 2
    whole = padded_transform(volume.double().numpy() * window()) / BOX
    reach = slice(PADDING * BOX // 2 - center + 1, PADDING * BOX // 2 + center)
    assert reach.start == 0
    sums.data[1:-1, 1:-1, :-1] = weight * torch.from_numpy(
        np.pad(whole, ((0, 1),) * 3)[:, :, PADDING * BOX // 2 :]
    ).to(torch.complex64)
    sums.weight += weight
    sums.enforce_hermitian()
    sums.data[:, :, 0] /= 2
    sums.weight[:, :, 0] /= 2
    return sums


def window() -> np.ndarray:
    return np.sinc(RADIUS / (BOX * PADDING)) ** 2


def padded_transform(volume: np.ndarray) -> np.ndarray:
    """Return the shifted transform of a zero-padded map, phases about voxel ``n // 2``."""
    padded = np.zeros((PADDING * BOX,) * 3)
    inner = slice((PADDING - 1) * BOX // 2, (PADDING + 1) * BOX // 2)
    padded[inner, inner, inner] = volume
    return np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(padded)))


def filtered(volume: Tensor, transfer: np.ndarray) -> np.ndarray:
    """Return what ``reconstruct`` makes of sums whose quotient is damped by ``transfer``."""
    k = np.arange(PADDING * BOX) - PADDING * BOX // 2
    radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)
    shell = np.round(radius / PADDING).astype(int)
    gain = np.append(transfer, 0.0)[shell.clip(max=SHELLS)]
    # The Nyquist planes of the padded transform are left out.
    for axis in range(3):
        np.moveaxis(gain, axis, 0)[0] = 0.0
    spectrum = padded_transform(volume.double().numpy() * window()) * gain
    real = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(spectrum))).real
    inner = slice((PADDING - 1) * BOX // 2, (PADDING + 1) * BOX // 2)
    found = real[inner, inner, inner] / window()
    outer = BOX / 2
    corner, core = (soft_ball(outer - thickness) for thickness in (0.0, RIM_PX))
    rim = (corner - core) / (corner - core).sum()
    return (found - (found * rim).sum()) * corner


def soft_ball(radius: float) -> np.ndarray:
    return 0.5 * (1 + np.cos(np.pi * np.clip((RADIUS - radius) / CORNER_EDGE_PX, 0, 1)))


@pytest.mark.parametrize("weight", [0.02, 3.0])
def test_regularization_is_the_wiener_filter(weight: float) -> None:
    truth = white_ball()
    tau2 = 2.0 ** torch.arange(4, 4 - SHELLS, -1.0)
    found = reconstruct(made_by_hand(truth, weight), tau2)
    inverse = 1 / (PADDING**3 * tau2.double().numpy())
    inverse[:MIN_REGULARIZED_SHELL] = 0.0
    wanted = filtered(truth, weight / (weight + inverse))
    np.testing.assert_allclose(found.numpy(), wanted, atol=2e-5 * np.abs(wanted).max())
    plain = filtered(truth, np.ones(SHELLS))
    assert np.abs(plain - wanted).max() > 0.1 * np.abs(plain).max()


def test_a_strong_signal_needs_no_regularization(slices: tuple[Tensor, Tensor]) -> None:
    rotations, values = slices
    sums = accumulated(rotations, values, torch.ones(values.shape))
    plain = reconstruct(sums, None)
    torch.testing.assert_close(reconstruct(sums, torch.full((SHELLS,), 1e9)), plain)


def test_without_signal_nothing_is_left_beyond_the_first_shells(
    slices: tuple[Tensor, Tensor],
) -> None:
    rotations, values = slices
    sums = accumulated(rotations, values, torch.ones(values.shape))
    found = reconstruct(sums, torch.zeros(SHELLS))
    wanted = reconstruct(sums, torch.tensor([1e9] * MIN_REGULARIZED_SHELL + [1e-12] * 4))
    torch.testing.assert_close(found, wanted)
    power = shell_mean(rfftn_centered(found).abs() ** 2, BOX, 3)
    assert float(power[MIN_REGULARIZED_SHELL + 2 :].max()) < 0.01 * float(power[2])
    assert bool(torch.isfinite(found).all())


def test_missing_voxels_are_not_blown_up() -> None:
    """A weight far below that of its shell is lifted to a thousandth of it."""
    sums = made_by_hand(white_ball(), 2.0)
    plain = reconstruct(sums, None)
    sums.weight[20, 20, 5] = 1e-9
    sums.data[20, 20, 5] = 1e-9
    found = reconstruct(sums, None)
    assert bool(torch.isfinite(found).all())
    value = sums.data[20, 20, 5] / sums.weight[20, 20, 5]
    assert float(value.abs()) == pytest.approx(1.0, rel=1e-3)
    lost = (found - plain).abs().max()
    removed = made_by_hand(white_ball(), 2.0)
    removed.data[20, 20, 5] = 0.0
    torch.testing.assert_close(found, reconstruct(removed, None), atol=1e-5, rtol=0)
    assert float(lost) > 1e-4


def test_no_images_make_an_empty_map() -> None:
    sums = SliceAccumulator(BOX, r_max=BOX // 2)
    sums.enforce_hermitian()
    for tau2 in (None, torch.zeros(SHELLS), torch.ones(SHELLS)):
        assert float(reconstruct(sums, tau2).abs().max()) == 0.0
    assert float(map_variance(sums).abs().max()) == 0.0


def test_shells_of_padded_voxels() -> None:
    shell = shell_of_voxels((13, 13, 7), 2)
    for z, y, x in ((6, 6, 0), (6, 6, 2), (0, 6, 0), (6, 9, 4), (3, 2, 6)):
        radius = ((z - 6) ** 2 + (y - 6) ** 2 + x**2) ** 0.5 / 2
        assert int(shell[z, y, x]) == round(radius)


def test_mean_weight_is_that_of_each_shell() -> None:
    sums = SliceAccumulator(BOX, r_max=BOX // 2)
    generator = torch.Generator().manual_seed(1)
    sums.weight += torch.rand(sums.shape, generator=generator)
    shell = shell_of_voxels(sums.shape, PADDING).numpy()
    wanted = [sums.weight.numpy()[shell == s].astype(float).mean() for s in range(SHELLS)]
    np.testing.assert_allclose(shell_mean_weight(sums).numpy(), wanted, rtol=1e-5)


@pytest.mark.parametrize("r_max", [BOX // 2, 5])
def test_variance_of_a_map_from_evenly_spread_slices(r_max: int) -> None:
    """``N`` slices of weight ``w`` give a voxel of shell ``s`` a weight of ``N w / (2 s)``."""
    n_slices, weight = 2000, 0.3
    rotations = random_rotations(n_slices, torch.Generator().manual_seed(2)).float()
    values = torch.zeros(n_slices, len(COORDINATES), dtype=torch.complex64)
    sums = accumulated(rotations, values, torch.full(values.shape, weight), r_max)
    found = map_variance(sums)
    shell = torch.arange(SHELLS)
    wanted = 2 * shell / (n_slices * weight)
    torch.testing.assert_close(found[2:r_max], wanted[2:r_max], rtol=0.06, atol=0)
    assert float(found[r_max + 1 :].abs().sum()) == 0.0


def test_variance_is_that_of_reconstructed_noise() -> None:
    """Pure noise of variance ``1 / w`` in each part, weighted by ``w``.

    Weights that differ from voxel to voxel of a shell make the map noisier than their mean says.
    """
    n_slices, weight = 1500, 4.0
    generator = torch.Generator().manual_seed(6)
    rotations = random_rotations(n_slices, generator).float()
    shape = (n_slices, len(COORDINATES))
    noise = torch.complex(
        torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    )
    sums = accumulated(rotations, weight * noise / weight**0.5, torch.full(shape, weight))
    transform = rfftn_centered(reconstruct(sums, None)) / BOX
    measured = shell_mean(transform.abs() ** 2, BOX, 3) / 2
    seen = float((soft_ball(BOX / 2) ** 2).mean())
    ratio = measured / (seen * map_variance(sums))
    assert bool((ratio[2:7] > 0.85).all())
    assert bool((ratio[2:7] < 1.5).all())


def test_halves_share_low_resolution_and_nothing_else() -> None:
    generator = torch.Generator().manual_seed(4)
    halves = []
    for _ in range(2):
        half = SliceAccumulator(BOX, r_max=6)
        half.data += torch.randn(half.shape, generator=generator, dtype=torch.complex64)
        half.weight += torch.rand(half.shape, generator=generator)
        halves.append(half)
    before = [half.clone() for half in halves]
    join_at_low_resolution(halves[0], halves[1], 3)
    shared = shell_of_voxels(halves[0].shape, PADDING) <= 3
    for name in ("data", "weight"):
        old = [getattr(half, name) for half in before]
        average = (old[0] + old[1]) / 2
        for half, own in zip(halves, old, strict=True):
            torch.testing.assert_close(getattr(half, name)[shared], average[shared])
            assert torch.equal(getattr(half, name)[~shared], own[~shared])
            assert not torch.allclose(own[shared], average[shared])


@pytest.mark.real_data
@pytest.mark.relion
def test_map_from_known_poses_is_that_of_relion(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "simulated" / "tiny64"
    command = "relion_reconstruct --i truth/truth_poses.star --ctf --pad 2 --skip_gridding --o"
    subprocess.run(
        [*command.split(), str(tmp_path / "theirs.mrc")],
        cwd=folder,
        capture_output=True,
        check=True,
        timeout=120,
    )
    theirs = read_map(tmp_path / "theirs.mrc").volume
    ours = reconstruct(from_known_poses(folder / "truth" / "truth_poses.star", folder), None)
    # Noise at the rim, which says nothing of the particle, is left out.
    common = soft_sphere(64, 20.0, 6.0)
    fsc = fourier_shell_correlation(common * ours, common * theirs)
    slope = regression(common * ours, common * theirs)
    assert float(fsc[1:31].min()) > 0.99
    # Shell 1 feels where density zero is, which RELION leaves open.
    torch.testing.assert_close(slope[2:31], torch.ones(29), atol=0.02, rtol=0)
    assert float(slope[1]) == pytest.approx(1.0, abs=0.1)


def from_known_poses(star: Path, folder: Path) -> SliceAccumulator:
    """Insert all images of a file at their poses, each weighted by its CTF."""
    particles = read_particles(star, image_root=folder)
    n = particles.optics_groups[0].box_size
    coordinates = packed_coordinates(n, n // 2)
    count = len(coordinates)
    model = HalfModel(
        reference=torch.zeros(1, 1, 1),
        sigma2_noise=torch.ones(1, n // 2 + 1),
        sigma_offset_angstrom=1.0,
        pdf_direction=torch.ones(12) / 12,
        pdf_order=0,
        group_scale=torch.ones(len(particles.group_names)),
        average_norm=1.0,
        data_vs_prior=torch.zeros(n // 2 + 1),
        tau2=torch.zeros(n // 2 + 1),
    )
    preparer = ImagePreparer(
        particles, coordinates, torch.device("cpu"), ImagePreparation(mask_radius_px=n / 2)
    )
    sums = SliceAccumulator(n, r_max=n // 2)
    for index in torch.arange(len(particles)).split(100):
        shifts = particles.poses.shifts_angstrom[index] / preparer.pixel_size
        images = preparer.prepare(index, shifts, torch.ones(len(index)), model, count)
        rest = shifts.float() - images.base_shift_px
        moved = images.unmasked * shift_phases(rest, coordinates, count)
        rotations = particles.poses.rotations[index]
        sums.insert(rotations, moved * images.ctf, images.ctf**2, coordinates)
    sums.enforce_hermitian()
    return sums
