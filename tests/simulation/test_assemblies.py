"""Assemblies: copies touch and do not clash; symmetry on the grid is that of the operators."""

from typing import get_args

import pytest
import torch
from scipy.spatial import cKDTree

from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.simulation.assemblies import GridSymmetry, assembled, grid_symmetrized
from napari_blush.simulation.phantoms import random_blobs
from napari_blush.simulation.structures import Structure

SYMMETRIES = get_args(GridSymmetry)


def lopsided(n_atoms: int = 300) -> Structure:
    generator = torch.Generator().manual_seed(1)
    positions = 8 * torch.randn(n_atoms, 3, generator=generator)
    return Structure(
        positions * torch.tensor([1.0, 0.7, 1.4]) + 50,
        torch.full((n_atoms,), 7),
        torch.arange(n_atoms) % 30 + 10.0,
    )


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_an_assembly_has_its_symmetry_and_copies_touch(symmetry: GridSymmetry) -> None:
    operators = symmetry_operators(symmetry).float()
    whole = assembled(lopsided(), symmetry, torch.Generator().manual_seed(0))
    assert len(whole) == 300 * len(operators)
    tree = cKDTree(whole.positions.numpy())
    for operator in operators:
        distances, partner = tree.query((whole.positions @ operator.T).numpy())
        assert distances.max() < 1e-3
        assert torch.equal(whole.b_factors[torch.from_numpy(partner)], whole.b_factors)
    if len(operators) > 1:
        first, others = whole.positions[:300], whole.positions[300:]
        nearest = cKDTree(others.numpy()).query(first.numpy())[0].min()
        assert 3.0 < nearest < 7.0


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_symmetry_on_the_grid_is_that_of_the_operators(symmetry: GridSymmetry) -> None:
    phantom = random_blobs(torch.Generator().manual_seed(0), radius_px=6.0)
    operators = symmetry_operators(symmetry)
    expected = phantom.symmetrized(operators).volume(32) / len(operators)
    found = grid_symmetrized(phantom.volume(32), symmetry)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
