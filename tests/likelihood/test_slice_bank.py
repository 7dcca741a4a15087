"""Slices from a table are the slices of the map, at the pose they are asked for."""

import pytest
import torch
from torch import Tensor

from napari_blush.likelihood.slice_bank import SliceBank, squared_magnitude
from napari_blush.numerics.orientation_grid import OrientationGrid, perturbation_rotation
from napari_blush.numerics.packing import packed_coordinates
from napari_blush.numerics.slice_extraction import CentralSlices
from napari_blush.simulation.phantoms import random_blobs

BOX, R_MAX = 16, 6
MAGNIFICATION = torch.tensor([[1.02, 0.01, 0.0], [0.01, 0.97, 0.0], [0.0, 0.0, 1.0]])


def bank(slice_matrix: Tensor | None = None) -> SliceBank:
    generator = torch.Generator().manual_seed(8)
    volume = random_blobs(generator, n_blobs=8, radius_px=4.0).volume(BOX)
    return SliceBank(
        CentralSlices(volume, r_max=R_MAX),
        OrientationGrid(1),
        packed_coordinates(BOX, BOX // 2),
        r_max=R_MAX,
        perturbation=perturbation_rotation(0.3, 1),
        slice_matrix=slice_matrix,
    )


@pytest.mark.parametrize("slice_matrix", [None, MAGNIFICATION])
def test_table_holds_the_slices_of_its_pixels(slice_matrix: Tensor | None) -> None:
    kept = bank(slice_matrix)
    assert not kept.kept
    pixels = torch.tensor([2, 11, 40])
    kept.keep(pixels)
    assert kept.kept
    assert kept.table.shape == (3 * 12, kept.count)
    assert kept.count == kept.coordinates.count(R_MAX)
    assert sorted(set(kept.grid.pixel_of(kept.kept_index).tolist())) == pixels.tolist()
    poses = OrientationGrid(1).rotations(kept.kept_index, perturbation_rotation(0.3, 1))
    if slice_matrix is not None:
        poses = poses @ slice_matrix
    wanted = kept.projector.extract(poses, kept.coordinates, kept.count)
    torch.testing.assert_close(kept.table, wanted)
    torch.testing.assert_close(kept.table_power, wanted.abs() ** 2)
    assert kept.table.nbytes + kept.table_power.nbytes == 36 * kept.bytes_per_slice


def test_lookup_is_extraction() -> None:
    kept, fresh = bank(), bank()
    kept.keep(torch.tensor([1, 5, 7]))
    index = torch.tensor([[12, 23, 60], [84, 12, 95]])
    found = kept.lookup(index)
    assert found.shape == (2, 3, kept.count)
    torch.testing.assert_close(found, fresh.lookup(index))
    torch.testing.assert_close(found[0, 1], fresh.extract(torch.tensor([23]))[0])
    assert torch.equal(kept.kept_index[kept.rows(index.flatten())], index.flatten())


def test_a_new_table_replaces_the_old_one() -> None:
    kept = bank()
    kept.keep(torch.tensor([1, 5]))
    assert len(kept.table_power) == 24
    kept.keep(torch.tensor([9]))
    torch.testing.assert_close(kept.table_power, kept.table.abs() ** 2)


def test_squared_magnitude() -> None:
    values = torch.tensor([[3 + 4j, -1j, 0]], dtype=torch.complex64)
    assert squared_magnitude(values).tolist() == [[25.0, 1.0, 0.0]]
    assert values[0, 0] == 3 + 4j
