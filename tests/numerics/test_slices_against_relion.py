"""RELION's projections and reconstructions as oracles of slices, both ways."""

import subprocess
from pathlib import Path
from typing import NamedTuple

import mrcfile
import pytest
import torch
from torch import Tensor

from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.fft import rfft2_centered
from napari_blush.numerics.gridding import gridding_correction
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.packing import pack, packed_coordinates, packed_shell_sum
from napari_blush.numerics.padded_transform import padded_inverse
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import matrix_to_euler, random_rotations
from napari_blush.numerics.slice_extraction import CentralSlices
from napari_blush.numerics.slice_insertion import SliceAccumulator

pytestmark = pytest.mark.relion

BOX, N_POSES, PIXEL_SIZE = 32, 600, 2.0
MAPS = ("back", "sym")
STAR_HEADER = f"""
data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnImagePixelSize #3
_rlnImageSize #4
_rlnImageDimensionality #5
_rlnVoltage #6
_rlnSphericalAberration #7
_rlnAmplitudeContrast #8
1 optics1 {PIXEL_SIZE} {BOX} 2 300 2.7 0.1

data_particles

loop_
_rlnAngleRot #1
_rlnAngleTilt #2
_rlnAnglePsi #3
_rlnOpticsGroup #4
_rlnOriginXAngst #5
_rlnOriginYAngst #6
_rlnImageName #7
"""


class Oracle(NamedTuple):
    volume: Tensor
    rotations: Tensor
    slices: Tensor
    reconstruction: Tensor
    tetrahedral: Tensor


def _lumps() -> Tensor:
    """A handed, off-center heap of Gaussian blobs."""
    generator = torch.Generator().manual_seed(3)
    axis = torch.arange(BOX) - BOX // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    volume = torch.zeros(BOX, BOX, BOX)
    for _ in range(40):
        cx, cy, cz = (3 * torch.randn(3, generator=generator)).clamp(-7, 7)
        width = 1.0 + 0.6 * torch.rand(1, generator=generator)
        squared = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2
        volume += torch.exp(-squared / (2 * width**2))
    return volume


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    folder: Path = tmp_path_factory.mktemp("relion")
    volume = _lumps()
    rotations = random_rotations(N_POSES, torch.Generator().manual_seed(4))
    mrcfile.write(folder / "map.mrc", volume.numpy(), voxel_size=PIXEL_SIZE)
    rows = [
        f"{rot:.8f} {tilt:.8f} {psi:.8f} 1 0 0 {number:06d}@poses.mrcs"
        for number, (rot, tilt, psi) in enumerate(matrix_to_euler(rotations).tolist(), start=1)
    ]
    (folder / "poses.star").write_text(STAR_HEADER + "\n".join(rows) + "\n")
    for command in (
        f"relion_project --i map.mrc --o images --ang poses.star --pad 2 --angpix {PIXEL_SIZE}",
        "relion_reconstruct --i images.star --o back.mrc --pad 2 --skip_gridding",
        "relion_reconstruct --i images.star --o sym.mrc --pad 2 --skip_gridding --sym T",
    ):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, timeout=120)
    images = torch.from_numpy(mrcfile.read(folder / "images.mrcs").copy())
    slices = pack(rfft2_centered(images), packed_coordinates(BOX, BOX // 2))
    maps = [torch.from_numpy(mrcfile.read(folder / f"{name}.mrc").copy()) for name in MAPS]
    return Oracle(volume, rotations, slices, *maps)


def test_slices_are_relions_projections(oracle: Oracle) -> None:
    coordinates = packed_coordinates(BOX, BOX // 2)
    count = coordinates.count(BOX // 2 - 1)
    ours = CentralSlices(oracle.volume, r_max=BOX // 2).extract(
        oracle.rotations, coordinates, count
    )
    theirs = oracle.slices[:, :count]
    assert (ours - theirs).norm() / theirs.norm() < 2e-4
    shell, n_shells = coordinates.shell[:count], BOX // 2 - 1
    difference = packed_shell_sum((ours - theirs).abs() ** 2, shell, n_shells).sum(0)
    power = packed_shell_sum(theirs.abs() ** 2, shell, n_shells).sum(0)
    assert (difference[1:] / power[1:]).max() < 0.02**2


def _reconstruct(sums: SliceAccumulator) -> Tensor:
    ratio = sums.data / sums.weight.clamp(min=1e-3 * float(sums.weight.mean()))
    volume = padded_inverse(ratio, box_size=BOX, padding=2) / gridding_correction(BOX, 2)
    # RELION masks the corners, where the division by sinc^2 has blown up what was wrapped there.
    return volume * soft_sphere(BOX, BOX / 2 - 3, 3)


def _closed_sums(oracle: Oracle) -> SliceAccumulator:
    coordinates = packed_coordinates(BOX, BOX // 2)
    sums = SliceAccumulator(BOX, r_max=BOX // 2)
    sums.insert(oracle.rotations, oracle.slices, torch.ones_like(oracle.slices.real), coordinates)
    sums.enforce_hermitian()
    return sums


def test_inserted_slices_give_relions_reconstruction(oracle: Oracle) -> None:
    volume = _reconstruct(_closed_sums(oracle))
    nyquist = BOX // 2
    against_relion = fourier_shell_correlation(volume, oracle.reconstruction)
    assert against_relion[: nyquist - 1].min() > 0.99
    assert fourier_shell_correlation(volume, oracle.volume)[: nyquist - 1].min() > 0.999
    # DC is not among the packed coefficients; what is left has RELION's scale.
    mine, theirs = (torch.fft.rfftn(map_) for map_ in (volume, oracle.reconstruction))
    mine[0, 0, 0] = theirs[0, 0, 0] = 0
    assert abs(mine.norm() / theirs.norm() - 1) < 0.02


def test_symmetrized_sums_give_relions_reconstruction(oracle: Oracle) -> None:
    sums = _closed_sums(oracle)
    without = fourier_shell_correlation(_reconstruct(sums), oracle.tetrahedral)
    sums.symmetrize(symmetry_operators("T"))
    curve = fourier_shell_correlation(_reconstruct(sums), oracle.tetrahedral)
    # Little of a lopsided map survives the average at high resolution.
    assert curve[: BOX // 4 + 1].min() > 0.997
    assert curve[: BOX // 2 - 1].min() > 0.95
    assert without[6 : BOX // 2 - 1].max() < 0.6
