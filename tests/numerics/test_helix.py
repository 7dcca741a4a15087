"""Helical symmetry: sums held to an average of turned and shifted maps, ends to their middle."""

import shutil
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_blush.errors import SettingsError
from napari_blush.io.mrc import read_map, write_map
from napari_blush.likelihood.reconstruction import reconstruct
from napari_blush.numerics.helix import Helix, carried_along_helix, symmetrize_along_helix
from napari_blush.numerics.packing import packed_coordinates
from napari_blush.numerics.rotations import random_rotations
from napari_blush.numerics.slice_extraction import CentralSlices
from napari_blush.numerics.slice_insertion import SliceAccumulator

BOX, VOXEL = 48, 2.0


def blobs(places: np.ndarray, sigma_px: float = 1.6) -> torch.Tensor:
    """Gaussians at (x, y, z) in voxels from the center."""
    axis = np.arange(BOX) - BOX // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.zeros((BOX, BOX, BOX))
    for at in places:
        squares = (x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2
        volume += np.exp(-squares / 2 / sigma_px**2)
    return torch.from_numpy(volume).float()


def filament(helix: Helix, units: range, radius_px: float = 7.0) -> torch.Tensor:
    """One blob off the axis, and its copies: placed one by one, by the definition of a screw."""
    places = []
    for number in units:
        angle = np.radians(helix.twist_deg * number)
        z = helix.rise_angstrom * number / VOXEL
        places.append((radius_px * np.cos(angle), radius_px * np.sin(angle), z))
    return blobs(np.array(places))


def copy_of(volume: torch.Tensor, helix: Helix, number: int) -> np.ndarray:
    """A map turned and shifted to unit ``number``: cubic splines at each voxel, slow and plain."""
    angle = np.radians(helix.twist_deg * number)
    axis = np.arange(BOX) - BOX // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    source_x = np.cos(angle) * x + np.sin(angle) * y
    source_y = -np.sin(angle) * x + np.cos(angle) * y
    source_z = z - number * helix.rise_angstrom / VOXEL
    places = np.stack([source_z, source_y, source_x]) + BOX // 2
    return ndimage.map_coordinates(volume.double().numpy(), places, order=5)


@pytest.fixture(scope="module")
def lone() -> torch.Tensor:
    """Three blobs in the middle, without any symmetry."""
    return blobs(np.array([(6.0, 0.0, 0.0), (-2.0, 5.0, 2.0), (1.0, -7.0, -3.0)]))


def sums_of(volume: torch.Tensor, n: int = 900) -> SliceAccumulator:
    """The accumulated slices of a map, evenly seen."""
    coordinates = packed_coordinates(BOX, BOX // 2, torch.device("cpu"))
    rotations = random_rotations(n, torch.Generator().manual_seed(0))
    slices = CentralSlices(volume, r_max=BOX // 2).extract(rotations, coordinates)
    sums = SliceAccumulator(BOX, r_max=BOX // 2)
    sums.insert(rotations, slices, torch.ones(slices.shape), coordinates)
    sums.enforce_hermitian()
    return sums


@pytest.mark.parametrize("twist", [50.0, -27.5])
def test_sums_become_the_average_of_turned_and_shifted_copies(lone, twist: float) -> None:
    helix = Helix(twist, 9.0, 0.4)
    sums = sums_of(lone)
    copies = symmetrize_along_helix(sums, helix, VOXEL)
    assert copies == len(helix.copies(BOX * VOXEL)) == 5  # 2 x 19.2 A hold two rises of 9 A
    found = reconstruct(sums, None).numpy()
    expected = np.mean([copy_of(lone, helix, number) for number in range(-2, 3)], axis=0)
    inside = np.linalg.norm(np.stack(np.meshgrid(*[np.arange(BOX) - BOX // 2] * 3)), axis=0) < 20
    correlation = np.corrcoef(found[inside], expected[inside])[0, 1]
    assert correlation > 0.99
    mirrored = np.mean(
        [copy_of(lone, Helix(-twist, 9.0, 0.4), number) for number in range(-2, 3)], axis=0
    )
    assert np.corrcoef(found[inside], mirrored[inside])[0, 1] < 0.9


def test_a_filament_is_left_as_it_is_by_its_own_screw_and_not_by_its_mirror() -> None:
    helix = Helix(40.0, 6.0, 0.3)
    whole = filament(helix, range(-12, 13))
    middle = slice(BOX // 2 - 5, BOX // 2 + 6)

    def kept(by: Helix) -> float:
        sums = sums_of(whole)
        before = reconstruct(sums, None)[middle].numpy().ravel()
        symmetrize_along_helix(sums, by, VOXEL)
        return float(np.corrcoef(before, reconstruct(sums, None)[middle].numpy().ravel())[0, 1])

    assert kept(helix) > 0.97
    assert kept(Helix(-40.0, 6.0, 0.3)) < 0.7


@settings(max_examples=12, deadline=None)
@given(st.floats(-180, 180), st.floats(5.0, 14.0))
def test_the_ends_are_copies_of_the_middle(twist: float, rise: float) -> None:
    """A filament cut at both ends grows them again; what is kept stays to the last bit."""
    helix = Helix(twist, rise, 0.5)
    reach = int(BOX * VOXEL / rise) + 2
    whole = filament(helix, range(-reach, reach + 1))
    axis = torch.arange(BOX) - BOX // 2
    cut = whole * (axis.abs() < 16)[:, None, None]
    grown = carried_along_helix(cut, helix, VOXEL)
    shown = slice(4, BOX - 4)  # the ends wrap around by the width of a blob
    error = (grown - whole)[shown].abs().max()
    assert float(error) < 0.03 * float(whole.max())
    assert torch.allclose(grown[BOX // 2 - 8 : BOX // 2 + 8], whole[BOX // 2 - 8 : BOX // 2 + 8])


def test_no_helix_is_refused() -> None:
    with pytest.raises(SettingsError, match="wanted a rise above 0"):
        Helix(10.0, 0.0)
    with pytest.raises(SettingsError, match="a part from 0 to 1"):
        Helix(10.0, 5.0, 1.5)


@pytest.mark.relion
@pytest.mark.parametrize("twist", [40.0, -40.0])
def test_the_screw_is_that_of_relion(tmp_path, twist: float) -> None:
    """``relion_helix_toolbox --impose`` grows the same filament of a cut one, hand and all."""
    toolbox = shutil.which("relion_helix_toolbox")
    if toolbox is None:
        pytest.skip("relion_helix_toolbox is not installed")
    helix = Helix(twist, 6.0, 0.5)
    axis = torch.arange(BOX) - BOX // 2
    cut = filament(helix, range(-20, 21)) * (axis.abs() < 16)[:, None, None]
    write_map(tmp_path / "cut.mrc", cut, VOXEL)
    words = f"--impose --i cut.mrc --o grown.mrc --angpix {VOXEL} --rise 6 --twist {twist}"
    more = "--cyl_outer_diameter 60 --sphere_percentage 0.95 --z_percentage 0.5"
    subprocess.run(
        [toolbox, *words.split(), *more.split()], cwd=tmp_path, check=True, capture_output=True
    )
    theirs = read_map(tmp_path / "grown.mrc").volume
    ours = carried_along_helix(cut, helix, VOXEL)
    shown = slice(8, BOX - 8)
    pair = np.stack([ours[shown, 12:36, 12:36].ravel(), theirs[shown, 12:36, 12:36].ravel()])
    assert np.corrcoef(pair)[0, 1] > 0.97


@pytest.mark.real_data
def test_actin_is_carried_along_by_its_own_screw(data_dir) -> None:
    """EMD-5168: 27.5 A and 166.8 degrees, left-handed."""
    given = read_map(data_dir / "maps" / "emd_5168.map", allow_odd=True)
    n = given.volume.shape[-1]
    height = (torch.arange(n) - n // 2).abs() / n
    beyond = (height > 0.2) & (height < 0.4)
    across = (torch.arange(n) - n // 2) * given.voxel_size
    filament = (across[:, None] ** 2 + across[None] ** 2) < 45.0**2

    def kept(twist: float) -> float:
        carried = carried_along_helix(given.volume, Helix(twist, 27.5, 0.35), given.voxel_size)
        pair = np.stack([each[beyond][:, filament].ravel() for each in (carried, given.volume)])
        return float(np.corrcoef(pair)[0, 1])

    assert kept(-166.8) > 0.98
    assert kept(166.8) < 0.3
