"""Real-space correlation of a map with a model, residue by residue and chain by chain."""

from dataclasses import dataclass
from math import ceil

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.validation.model_density import PlacedModel

_PAIRS_AT_A_TIME = 1_000_000


@dataclass(frozen=True, slots=True)
class ResidueCorrelation:
    """Correlations of the voxels around atoms.

    Parameters
    ----------
    chain, residue_name : tuple of str
        Of each residue, in the order of the file.
    residue_number : (r,) int64
    correlation : (r,) float64
        Pearson's, in [-1, 1]; NaN where all voxels are alike.
    chain_correlation : dict of str to float
        Over all voxels around a chain.
    """

    chain: tuple[str, ...]
    residue_name: tuple[str, ...]
    residue_number: Int64[Tensor, " r"]
    correlation: Float[Tensor, " r"]
    chain_correlation: dict[str, float]


def residue_correlation(
    volume: Volume, density: Volume, placed: PlacedModel, voxel_size: float, radius: float
) -> ResidueCorrelation:
    """Correlate a map with a model's density in the voxels around each residue.

    Parameters
    ----------
    volume, density : (n, n, n)
        Map and model density, best filtered to the same resolution and B-factor.
    placed : PlacedModel
    voxel_size, radius : float
        Angstrom; a voxel belongs to a residue when one of its atoms is within the radius. Fewer
        than some twenty voxels make a noisy figure, so the radius should be 1.5 voxels at least.

    Returns
    -------
    ResidueCorrelation
    """
    atoms, inside = placed.atoms, placed.inside.nonzero().flatten().tolist()
    keys = [(atoms.chain[i], int(atoms.residue_number[i]), atoms.residue_name[i]) for i in inside]
    residues = list(dict.fromkeys(keys))
    chains = list(dict.fromkeys(key[0] for key in residues))
    number = {key: i for i, key in enumerate(residues)}
    of_atom = torch.tensor([number[key] for key in keys])
    voxels, residue = _members(placed.positions, of_atom, volume.shape[-1], voxel_size, radius)
    chain_of = torch.tensor([chains.index(key[0]) for key in residues])
    # A voxel between two residues of a chain counts once for the chain.
    of_chain = torch.unique(chain_of[residue] * volume.numel() + voxels)
    by_chain = _grouped(
        volume, density, of_chain % volume.numel(), of_chain // volume.numel(), len(chains)
    )
    return ResidueCorrelation(
        chain=tuple(key[0] for key in residues),
        residue_name=tuple(key[2] for key in residues),
        residue_number=torch.tensor([key[1] for key in residues]),
        correlation=_grouped(volume, density, voxels, residue, len(residues)),
        chain_correlation=dict(zip(chains, by_chain.tolist(), strict=True)),
    )


def _members(
    positions: Tensor, of_atom: Tensor, box_size: int, voxel_size: float, radius: float
) -> tuple[Tensor, Tensor]:
    """Return the (voxel, residue) pairs, each once, voxels counted along the flattened map."""
    reach = ceil(radius / voxel_size + 0.5)
    axis = torch.arange(-reach, reach + 1)
    offsets = torch.cartesian_prod(axis, axis, axis)  # (x, y, z)
    # An atom lies at most half a diagonal from its voxel.
    offsets = offsets[offsets.double().norm(dim=1) <= radius / voxel_size + 0.5 * 3**0.5]
    atoms_at_a_time = max(1, _PAIRS_AT_A_TIME // len(offsets))
    found = []
    for start in range(0, len(positions), atoms_at_a_time):
        part = slice(start, start + atoms_at_a_time)
        at = positions[part] / voxel_size
        middle = at.round()
        rest = (middle - at).float()
        near = (rest[:, None] + offsets).square().sum(dim=-1) <= (radius / voxel_size) ** 2
        atom, place = near.nonzero(as_tuple=True)
        grid = middle.long()[atom] + offsets[place]
        there = ((grid >= 0) & (grid < box_size)).all(dim=-1)
        x, y, z = grid[there].unbind(dim=-1)
        flat = (z * box_size + y) * box_size + x
        found.append(torch.unique(of_atom[part][atom[there]] * box_size**3 + flat))
    pairs = torch.unique(torch.cat(found))
    return pairs % box_size**3, pairs // box_size**3


def _grouped(volume: Volume, density: Volume, voxels: Tensor, group: Tensor, n: int) -> Tensor:
    """Return Pearson's correlation of two maps over groups of voxels, ``(n,)`` float64."""
    a, b = (each.flatten()[voxels].double().cpu() for each in (volume, density))
    count = torch.bincount(group, minlength=n).double()

    def centered(values: Tensor) -> Tensor:
        mean = torch.bincount(group, values, minlength=n) / count
        return values - mean[group]

    a, b = centered(a), centered(b)
    cross, aa, bb = (
        torch.bincount(group, product, minlength=n) for product in (a * b, a * a, b * b)
    )
    return torch.where((aa > 0) & (bb > 0), cross / (aa * bb).sqrt(), torch.nan)
