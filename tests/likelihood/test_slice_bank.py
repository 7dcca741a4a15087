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


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("slice_matrix", [None, MAGNIFICATION])
def test_tiles_are_the_slices_of_the_covered_pixels(
    slice_matrix: Tensor | None, keep: bool
) -> None:
    found = bank(slice_matrix)
    assert len(found.covered) == 0
    pixels = torch.tensor([2, 11, 40])
    found.cover(pixels, keep=keep)
    assert found.kept == keep
    assert found.count == found.coordinates.count(R_MAX)
    assert found.covered.tolist() == [12 * p + psi for p in pixels.tolist() for psi in range(12)]
    poses = OrientationGrid(1).rotations(found.covered, perturbation_rotation(0.3, 1))
    if slice_matrix is not None:
        poses = poses @ slice_matrix
    wanted = found.projector.extract(poses, found.coordinates, found.count)
    for part in (slice(0, 36), slice(30, 36), slice(0, 7)):
        slices, power = found.tile(part)
        torch.testing.assert_close(slices, wanted[part])
        torch.testing.assert_close(power, wanted[part].abs() ** 2)
        assert slices.nbytes + power.nbytes == len(slices) * found.bytes_per_slice


def test_lookup_is_extraction() -> None:
    kept, fresh = bank(), bank()
    kept.cover(torch.tensor([1, 5, 7]), keep=True)
    index = torch.tensor([[12, 23, 60], [84, 12, 95]])
    found = kept.lookup(index)
    assert found.shape == (2, 3, kept.count)
    torch.testing.assert_close(found, fresh.lookup(index))
    torch.testing.assert_close(found[0, 1], fresh.extract(torch.tensor([23]))[0])
    assert torch.equal(kept.covered[kept.rows(index.flatten())], index.flatten())


def test_orientations_that_are_not_covered_do_no_harm() -> None:
    kept = bank()
    kept.cover(torch.tensor([5, 7]), keep=True)
    padding = torch.tensor([[60, 0, 575]])
    found = kept.lookup(padding)
    torch.testing.assert_close(found[0, 0], bank().extract(torch.tensor([60]))[0])
    assert bool(torch.isfinite(torch.view_as_real(found)).all())
    assert kept.rows(padding[0]).tolist() == [0, 0, 0]


def test_covering_other_pixels_forgets_the_old_ones() -> None:
    found = bank()
    whole = slice(None)
    for pixels, keep in (
        (torch.tensor([1, 5]), True),
        (torch.tensor([9]), True),
        (
            torch.tensor([30]),
            False,
        ),
    ):
        found.cover(pixels, keep=keep)
        slices, power = found.tile(whole)
        wanted = bank().extract(found.covered)
        torch.testing.assert_close(slices, wanted)
        torch.testing.assert_close(power, wanted.abs() ** 2)
        torch.testing.assert_close(found.lookup(found.covered), wanted)


def test_squared_magnitude() -> None:
    values = torch.tensor([[3 + 4j, -1j, 0]], dtype=torch.complex64)
    assert squared_magnitude(values).tolist() == [[25.0, 1.0, 0.0]]
    assert values[0, 0] == 3 + 4j
