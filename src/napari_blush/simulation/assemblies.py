"""Symmetric assemblies of one structure, and the symmetry of a reconstruction on its grid.

Only point groups whose rotations map the grid onto itself are known here, so that symmetrizing
moves voxels and interpolates nothing.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.simulation.structures import Structure

GridSymmetry = Literal["C1", "C2", "C4", "D2", "D4"]

_CLOSEST = 3.2  # angstrom between atoms of neighbors that touch
_STEP = 2.0  # angstrom by which copies are moved apart until they do not clash
_SAMPLED_ATOMS = 800  # of a structure, to look for clashes
_MAX_STEPS = 150


def assembled(
    structure: Structure, symmetry: GridSymmetry, generator: torch.Generator
) -> Structure:
    """Put copies of a structure round symmetry axes until they touch.

    Parameters
    ----------
    structure : Structure
        Already turned as it is to face the axes.
    symmetry : {"C1", "C2", "C4", "D2", "D4"}
        The axis of highest order along z, 2-fold axes of D along x.
    generator : torch.Generator
        Decides on which side of the axes the first copy sits.

    Returns
    -------
    Structure
        All copies, the axes through the origin; centered for C1.
    """
    structure = structure.centered()
    operators = symmetry_operators(symmetry).to(structure.positions)
    if len(operators) == 1:
        return structure
    away = torch.randn(3, generator=generator).to(structure.positions)
    if symmetry.startswith("C"):
        away[2] = 0  # along a single axis nothing keeps copies apart
    away = away / away.norm()
    every = max(1, len(structure) // _SAMPLED_ATOMS)
    sample = structure.positions[::every]
    steps = next(
        (n for n in range(_MAX_STEPS) if _is_free(sample + n * _STEP * away, operators)), 0
    )
    placed = structure.positions + steps * _STEP * away
    copies = torch.einsum("gij,nj->gni", operators, placed)
    g = len(operators)
    return Structure(
        copies.reshape(-1, 3),
        structure.atomic_numbers.repeat(g),
        structure.b_factors.repeat(g),
    )


def grid_symmetrized(volume: Volume, symmetry: GridSymmetry) -> Volume:
    """Return the mean of a map's copies under a point group, without interpolation.

    Parameters
    ----------
    volume : (n, n, n)
        ``n`` even; the axes go through voxel ``n // 2``.
    symmetry : {"C1", "C2", "C4", "D2", "D4"}
    """
    operators = symmetry_operators(symmetry)
    if len(operators) == 1:
        return volume
    copies = [_turned(volume, operator) for operator in operators]
    return torch.stack(copies).mean(dim=0)


def _turned(volume: Volume, operator: Float[Tensor, "3 3"]) -> Volume:
    rounded = operator.round()
    # The copy at R p is the map at p. Axes of the map are (z, y, x), those of operators (x, y, z).
    source = rounded.abs().argmax(dim=1).tolist()
    axes = [2 - source[2 - axis] for axis in range(3)]
    turned = volume.permute(*axes)
    for axis in range(3):
        row = 2 - axis
        if rounded[row, source[row]] < 0:
            # Voxel n // 2 + k goes to n // 2 - k; the first has no mate and stays.
            turned = turned.flip(axis).roll(1, axis)
    return turned


def _is_free(positions: Float[Tensor, "n 3"], operators: Float[Tensor, "g 3 3"]) -> bool:
    tree = cKDTree(positions.double().numpy())
    for operator in operators[1:]:
        distances, _ = tree.query((positions @ operator.T).double().numpy(), k=1)
        if float(np.min(distances)) < _CLOSEST:
            return False
    return True
