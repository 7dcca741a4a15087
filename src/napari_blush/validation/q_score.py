r"""Q-scores: how much like a well resolved atom the map looks around each atom of a model.

Map values on spheres of 0 to 2 A about an atom, at points that are its own, are correlated with a
Gaussian of 0.6 A at the same distances [1]_: 1 where the map is such a peak, 0 where it knows
nothing of the atom, below 0 where the atom sits in a hole. A point at a distance ``r`` is an atom's
own where no other atom is within ``0.9 r`` of it, as MapQ has it.

Notes
-----
The original draws eight points on each sphere; here all of 32 even directions that qualify are
taken and each sphere counts alike, which is what draws scatter about. Maps are interpolated by
cubic splines.

References
----------
.. [1] Pintilie et al. (2020), Nat. Methods 17, 328.
"""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from scipy.spatial import cKDTree
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.stepwise import result_of
from napari_blush.validation.model_density import PlacedModel

ATOM_WIDTH = 0.6
"""Standard deviation of the ideal atom in angstrom: that of well resolved ones at about 1.5 A."""

RADII = torch.arange(21, dtype=torch.float64) / 10
"""Angstrom, of the spheres."""

OWN = 0.9
"""By the distance to the atom: no other atom may be nearer than that to one of its points."""

_DIRECTIONS = 32
_ATOMS_AT_A_TIME = 4000
_TOUCHING = 1e-9
_FLAT = 1e-24


@dataclass(frozen=True, slots=True)
class QScores:
    """Q-scores of a model's atoms inside the box, their residues and chains.

    Parameters
    ----------
    atom : (m,) float64
        NaN where no point is nearer to the atom than to another on two spheres at least.
    residue : (r,) float64
        Means over atoms; residues in the order of ``residue_correlation``.
    chain : dict of str to float
        Means over atoms.
    mean : float
        Over all atoms.
    """

    atom: Float[Tensor, " m"]
    residue: Float[Tensor, " r"]
    chain: dict[str, float]
    mean: float


def q_scores(volume: Volume, placed: PlacedModel, voxel_size: float) -> QScores:
    """Return Q-scores of all atoms, residues and chains.

    Parameters
    ----------
    volume : (n, n, n)
        Any grey scale; best not masked sharply.
    placed : PlacedModel
    voxel_size : float
        Angstrom.
    """
    return result_of(q_scores_steps(volume, placed, voxel_size))


def q_scores_steps(
    volume: Volume, placed: PlacedModel, voxel_size: float
) -> Generator[float, None, QScores]:
    """Do what ``q_scores`` does, with the fraction done after some hundred atoms each."""
    scores = yield from atom_q_scores_steps(volume, placed.positions, voxel_size)
    atoms, inside = placed.atoms, placed.inside.nonzero().flatten().tolist()
    keys = [(atoms.chain[i], int(atoms.residue_number[i]), atoms.residue_name[i]) for i in inside]
    residues = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    chains = {name: i for i, name in enumerate(dict.fromkeys(key[0] for key in keys))}
    by_chain = _means(scores, torch.tensor([chains[key[0]] for key in keys]), len(chains))
    return QScores(
        atom=scores,
        residue=_means(scores, torch.tensor([residues[key] for key in keys]), len(residues)),
        chain=dict(zip(chains, by_chain.tolist(), strict=True)),
        mean=float(scores.nanmean()),
    )


def atom_q_scores(
    volume: Volume, positions: Float[Tensor, "m 3"], voxel_size: float
) -> Float[Tensor, " m"]:
    """Return the Q-score of each atom.

    Parameters
    ----------
    volume : (n, n, n)
    positions : (m, 3)
        (x, y, z) in angstrom from the middle of the first voxel.
    voxel_size : float
        Angstrom.
    """
    return result_of(atom_q_scores_steps(volume, positions, voxel_size))


def atom_q_scores_steps(
    volume: Volume, positions: Float[Tensor, "m 3"], voxel_size: float
) -> Generator[float, None, Float[Tensor, " m"]]:
    """Do what ``atom_q_scores`` does, with the fraction done after some hundred atoms each."""
    spline = volume.double().cpu().numpy()
    for axis in range(3):
        yield 0.0
        spline = ndimage.spline_filter1d(spline, order=3, axis=axis, mode="grid-wrap")
    directions = even_directions(_DIRECTIONS)
    reach = _reach(positions, directions)
    found = []
    for start in range(0, len(positions), _ATOMS_AT_A_TIME):
        yield start / len(positions)
        part = slice(start, start + _ATOMS_AT_A_TIME)
        found.append(_scores(spline, positions[part], reach[part], directions, voxel_size))
    return torch.cat(found) if found else positions.new_zeros(0)


def even_directions(number: int) -> Float[Tensor, "d 3"]:
    """Return unit vectors along a spiral from pole to pole, evenly spread."""
    place = torch.arange(number, dtype=torch.float64) + 0.5
    z = 1 - 2 * place / number
    angle = torch.pi * (1 + 5**0.5) * place
    flat = (1 - z**2).sqrt()
    return torch.stack([flat * angle.cos(), flat * angle.sin(), z], dim=1)


def _reach(positions: Tensor, directions: Tensor) -> Float[Tensor, "m d"]:
    """Return how far one can go from each atom along each direction before another is too near.

    At ``r`` along ``d`` an atom displaced by ``b`` is within ``0.9 r`` from the smaller root of
    ``(1 - 0.81) r^2 - 2 r d.b + |b|^2`` on; the larger one lies beyond the spheres for atoms
    0.9 A apart, and is not looked at.
    """
    rest = 1 - OWN**2
    farthest = 2 * float(RADII[-1])
    pairs = torch.from_numpy(
        cKDTree(positions.numpy()).query_pairs(farthest, output_type="ndarray").astype(np.int64)
    ).reshape(-1, 2)
    own = torch.cat([pairs[:, 0], pairs[:, 1]])
    other = torch.cat([pairs[:, 1], pairs[:, 0]])
    reach = torch.full((len(positions), len(directions)), torch.inf, dtype=torch.float64)
    for column, direction in enumerate(directions):
        displaced = positions[other] - positions[own]
        along = displaced @ direction
        discriminant = along**2 - rest * displaced.square().sum(dim=1)
        root = (along - discriminant.clamp(min=0).sqrt()) / rest
        limit = torch.where((along > 0) & (discriminant >= 0), root, torch.inf)
        reach[:, column].scatter_reduce_(0, own, limit, "amin")
    return reach


def _scores(
    spline: np.ndarray, positions: Tensor, reach: Tensor, directions: Tensor, voxel_size: float
) -> Tensor:
    """Correlate map and Gaussian over the points of some atoms, spheres counting alike."""
    kept = reach[:, None, :] > RADII[:, None] + _TOUCHING  # (atoms, spheres, directions)
    atom, sphere, direction = kept.nonzero(as_tuple=True)
    points = positions[atom] + RADII[sphere, None] * directions[direction]
    values = torch.from_numpy(
        ndimage.map_coordinates(
            spline,
            (points / voxel_size).flip(1).T.numpy(),
            order=3,
            mode="grid-wrap",
            prefilter=False,
        )
    )
    weight = 1 / kept.sum(dim=2).double()[atom, sphere]
    ideal = torch.exp(-0.5 * (RADII[sphere] / ATOM_WIDTH) ** 2)
    n = len(positions)

    def total(terms: Tensor) -> Tensor:
        return torch.bincount(atom, terms, minlength=n)

    whole = total(weight).clamp(min=1)
    u = values - (total(weight * values) / whole)[atom]
    v = ideal - (total(weight * ideal) / whole)[atom]
    power = total(weight * u**2)
    size = (power * total(weight * v**2)).sqrt()
    # Where the map is flat what is left is rounding.
    is_known = (size > 0) & (power > _FLAT * total(weight * values**2))
    return torch.where(is_known, total(weight * u * v) / size, torch.nan)


def _means(values: Tensor, group: Tensor, number: int) -> Tensor:
    known = torch.isfinite(values)
    total = torch.bincount(group[known], values[known], minlength=number)
    return total / torch.bincount(group[known], minlength=number)
