"""How much of a reference model another program has built into a map."""

from dataclasses import dataclass

import torch
from scipy.spatial import cKDTree

from napari_blush.errors import AtomicModelError
from napari_blush.io.atoms import AtomicModel

MATCH_DISTANCE = 3.0
"""Angstrom between C-alpha atoms (Kimanius et al. 2024)."""


@dataclass(frozen=True, slots=True)
class Completeness:
    """Residues of a reference that have a built C-alpha nearby.

    Parameters
    ----------
    n_reference, n_built, n_matched : int
        C-alpha atoms of the reference, of the built model, and of the reference that are matched.
    rmsd : float
        Angstrom, root mean square distance of the matched ones; NaN when there are none.
    by_chain : dict of str to float
        Fraction matched in each chain of the reference.
    """

    n_reference: int
    n_built: int
    n_matched: int
    rmsd: float
    by_chain: dict[str, float]

    @property
    def fraction(self) -> float:
        """Completeness as the paper defines it, 0 to 1."""
        return self.n_matched / self.n_reference


def completeness(
    built: AtomicModel, reference: AtomicModel, *, distance: float = MATCH_DISTANCE
) -> Completeness:
    """Count the residues of a reference whose C-alpha has a built one within a distance.

    Parameters
    ----------
    built, reference : AtomicModel
        In the same frame; chain names and sequences are not compared.
    distance : float
        Angstrom.

    Raises
    ------
    AtomicModelError
        When the reference has no C-alpha.

    References
    ----------
    Kimanius et al. (2024), Nat. Methods (completeness of models built by ModelAngelo).
    """
    wanted = reference.positions[reference.is_calpha]
    if not len(wanted):
        raise AtomicModelError(
            "The reference model has no C-alpha atoms; wanted a protein; give the deposited model."
        )
    there = built.positions[built.is_calpha]
    nearest = torch.full((len(wanted),), torch.inf, dtype=torch.float64)
    if len(there):
        nearest = torch.from_numpy(cKDTree(there.numpy()).query(wanted.numpy())[0])
    matched = nearest <= distance
    indices = reference.is_calpha.nonzero().flatten().tolist()
    chains = [reference.chain[i] for i in indices]
    by_chain = {
        chain: float(matched[torch.tensor([c == chain for c in chains])].double().mean())
        for chain in dict.fromkeys(chains)
    }
    n = int(matched.sum())
    rmsd = float((nearest[matched] ** 2).mean().sqrt()) if n else float("nan")
    return Completeness(len(wanted), len(there), n, rmsd, by_chain)
