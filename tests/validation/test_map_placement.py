"""A known map brought into the frame of another: what was planted is found, at its place."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from napari_blush.numerics.masks import soft_sphere
from napari_blush.simulation.phantoms import random_blobs
from napari_blush.validation.map_placement import RigidPlacement, moved, rigid_placement

BOX, VOXEL = 32, 4.0


@pytest.fixture(scope="module")
def blobs():
    return random_blobs(torch.Generator().manual_seed(4), radius_px=7.0, n_blobs=14)


def test_a_moved_map_is_the_density_at_the_moved_places(blobs) -> None:
    """Held to quintic splines, sampled at each voxel by the formula."""
    volume = blobs.volume(BOX)
    rotation = torch.from_numpy(Rotation.from_rotvec([0.3, -0.2, 0.5]).as_matrix())
    shift = torch.tensor([4.0, -6.0, 2.0], dtype=torch.float64)
    found = moved(volume, RigidPlacement(rotation, shift), VOXEL)
    grid = np.stack(np.meshgrid(*[np.arange(BOX) - BOX // 2] * 3, indexing="ij")[::-1], -1)
    source = (grid.reshape(-1, 3) - shift.numpy() / VOXEL) @ rotation.numpy()
    values = ndimage.map_coordinates(
        volume.double().numpy(), source[:, ::-1].T + BOX // 2, order=5
    ).reshape(volume.shape)
    inside = (soft_sphere(BOX, 11.0, 0.0) > 0).numpy()
    error = np.abs(found.numpy() - values)[inside].max()
    assert error < 0.02 * float(volume.max())


def test_what_was_turned_and_shifted_is_found(blobs) -> None:
    volume = blobs.volume(BOX)
    rotation = torch.from_numpy(Rotation.from_rotvec(np.radians([3.0, -5.0, 2.0])).as_matrix())
    planted = RigidPlacement(rotation, torch.tensor([3.0, 1.0, -2.5], dtype=torch.float64))
    fixed = moved(volume, planted, VOXEL)
    generator = torch.Generator().manual_seed(1)
    noisy = fixed + 0.3 * fixed.std() * torch.randn(fixed.shape, generator=generator)
    found = rigid_placement(volume, noisy, soft_sphere(BOX, 12.0, 2.0), VOXEL, 12.0)
    between = Rotation.from_matrix((found.rotation.T @ rotation).numpy()).magnitude()
    assert np.degrees(between) < 0.5
    assert float((found.shift_angstrom - planted.shift_angstrom).norm()) < 0.3
    assert found.angle_deg == pytest.approx(planted.angle_deg, abs=0.5)


def test_a_map_at_its_place_stays_there(blobs) -> None:
    volume = blobs.volume(BOX)
    found = rigid_placement(volume, volume, soft_sphere(BOX, 12.0, 2.0), VOXEL, 12.0)
    assert found.angle_deg < 0.05
    assert found.distance_angstrom < 0.05
    back = moved(volume, found, VOXEL)
    assert float((back - volume).abs().max()) < 0.02 * float(volume.max())
