"""Micelles and loose blobs: where they are, how fine, and that distances are right."""

import pytest
import torch

from napari_blush.conventions import Volume
from napari_blush.errors import SettingsError
from napari_blush.numerics.fft import rfftn_centered
from napari_blush.numerics.shells import radius_grid
from napari_blush.simulation.surroundings import distance_from_atoms, loose_blobs, micelle_belt

BOX, VOXEL = 40, 4.0


def rod() -> Volume:
    """Distances from atoms along z through the middle of the box, 80 A long."""
    along = torch.arange(-40.0, 41.0, 2.0)
    positions = torch.stack([0 * along, 0 * along, along], dim=1) + BOX // 2 * VOXEL
    return distance_from_atoms(positions, BOX, VOXEL)


def test_distances_are_to_the_nearest_atom() -> None:
    positions = torch.tensor([[40.0, 80.0, 80.0], [120.0, 80.0, 80.0]])
    distance = distance_from_atoms(positions, BOX, VOXEL)
    assert distance[20, 20, 10] == 0
    assert distance[20, 20, 20] == 40.0
    assert distance[23, 20, 10] == 12.0
    with pytest.raises(SettingsError, match="None of 2 atoms is inside"):
        distance_from_atoms(positions + 500, BOX, VOXEL)


def power_beyond(volume: Volume, resolution: float) -> float:
    power = rfftn_centered(volume).abs().square()
    power[0, 0, 0] = 0
    beyond = radius_grid(BOX, 3) > BOX * VOXEL / resolution
    return float(power[beyond].sum() / power.sum())


def test_a_belt_lies_round_the_waist_as_high_and_thick_as_asked() -> None:
    axis = torch.tensor([0.0, 0.0, 2.0])
    belt = micelle_belt(
        rod(), VOXEL, axis, torch.Generator().manual_seed(0), height=32, thickness=24, resolution=15
    )
    # Along the rod itself there is none; nor above and below; nor far off.
    at_waist = belt[16:25].mean(dim=0)
    assert at_waist[20, 24] > 0.4
    assert at_waist[20, 20] < 0.5 * at_waist[20, 24]
    assert at_waist[20, 30:].abs().max() < 0.1
    assert belt[:8].abs().max() < 0.1
    assert belt[33:].abs().max() < 0.1
    assert power_beyond(belt, 13.0) < 0.01


def test_blobs_lie_near_the_surface_and_are_smooth() -> None:
    distance = rod()
    blobs = loose_blobs(
        distance, VOXEL, torch.Generator().manual_seed(0), count=3, radius=14, resolution=16
    )
    assert blobs.max() > 0.5
    assert blobs[distance > 60].abs().max() < 0.05
    assert power_beyond(blobs, 14.0) < 0.01
    none = loose_blobs(
        distance, VOXEL, torch.Generator().manual_seed(0), count=0, radius=14, resolution=16
    )
    assert none.abs().max() == 0
