"""Atomic structures as tensors, and what makes one structure many: turns, losses, flexibility.

B-factors carry all disorder: thermal motion, domains that move, and alignment errors, whose blur
grows with the distance from the center of the box.
"""

from dataclasses import dataclass, replace
from math import pi, radians

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import Indices, RotationMatrices
from napari_blush.errors import AtomicModelError

_DALTON_PER_ATOMIC_NUMBER = 2.15
"""Protein and nucleic acid, hydrogens included, by the atomic numbers of the other atoms."""

_WIDEST_EDGE = 8.0  # angstrom over which a disordered domain passes into an ordered one


@dataclass(frozen=True, slots=True)
class Structure:
    """Atoms without hydrogens.

    Parameters
    ----------
    positions : (n, 3)
        (x, y, z) in angstrom.
    atomic_numbers : (n,) int64
    b_factors : (n,)
        Angstrom squared, isotropic.
    """

    positions: Float[Tensor, "n 3"]
    atomic_numbers: Indices
    b_factors: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def mass_kda(self) -> float:
        """Mass in kilodalton, hydrogens included, to a few percent."""
        return float(self.atomic_numbers.sum()) * _DALTON_PER_ATOMIC_NUMBER / 1e3

    @property
    def diameter(self) -> float:
        """Diameter in angstrom of the sphere about the middle of the extent that holds all."""
        return 2 * float(self.centered().positions.norm(dim=1).max())

    def centered(self) -> "Structure":
        """Return the structure with the middle of its extent at the origin."""
        if len(self) == 0:
            raise AtomicModelError("Given 0 atoms to center; wanted at least one.")
        middle = 0.5 * (self.positions.amin(dim=0) + self.positions.amax(dim=0))
        return replace(self, positions=self.positions - middle)

    def rotated(self, rotation: RotationMatrices) -> "Structure":
        """Return the structure turned about the origin by one matrix ``(3, 3)``."""
        return replace(self, positions=self.positions @ rotation.to(self.positions).T)

    def selected(self, keep: Tensor) -> "Structure":
        """Return the atoms where ``keep`` (n,) is true."""
        return Structure(self.positions[keep], self.atomic_numbers[keep], self.b_factors[keep])

    def blurred(self, b_factors: Float[Tensor, " n"] | float) -> "Structure":
        """Return the structure with these B-factors added."""
        return replace(self, b_factors=self.b_factors + b_factors)


def with_thermal_b_factors(
    structure: Structure, best: float, spread: float, *, least_quantile: float = 0.01
) -> Structure:
    """Bring the B-factors of the file to a scale: the best-ordered atoms to ``best``.

    Parameters
    ----------
    structure : Structure
    best : float
        Angstrom squared.
    spread : float
        Factor of the differences to the best-ordered atoms, which no file agrees on.
    least_quantile : float
        Which atoms are called best ordered.
    """
    least = structure.b_factors.quantile(least_quantile)
    return replace(structure, b_factors=best + spread * (structure.b_factors - least).clamp(min=0))


def domain_profile(
    structure: Structure, radius: float, generator: torch.Generator
) -> Float[Tensor, " n"]:
    """Draw a domain about one of the outer atoms: 1 inside, 0 outside, a soft edge.

    Parameters
    ----------
    structure : Structure
        Centered.
    radius : float
        Angstrom.
    generator : torch.Generator

    Returns
    -------
    (n,) float
        Share of each atom in the domain. Its center is drawn among the atoms of the outer half,
        because it is the ends of molecules that move.
    """
    distance = structure.positions.norm(dim=1)
    outer = torch.nonzero(distance >= distance.median()).flatten()
    chosen = outer[int(torch.randint(len(outer), (1,), generator=generator))]
    from_center = (structure.positions - structure.positions[chosen]).norm(dim=1)
    profile: Tensor = ((radius + _WIDEST_EDGE - from_center) / _WIDEST_EDGE).clamp(0, 1)
    return profile


def alignment_b_factors(
    structure: Structure, angle_error_deg: float, shift_error: float
) -> Float[Tensor, " n"]:
    r"""Return the blur that errors of the poses make of each atom.

    An angular error of standard deviation :math:`\sigma` about each of three axes moves an atom at
    distance ``r`` by :math:`\sigma r` along two directions; averaged over directions,
    :math:`B = 8 \pi^2 (\tfrac{2}{3} \sigma^2 r^2 + \sigma_t^2)`.

    Parameters
    ----------
    structure : Structure
        The center of rotation at the origin.
    angle_error_deg : float
        Standard deviation about each axis.
    shift_error : float
        Standard deviation along each axis, angstrom.
    """
    tangential = radians(angle_error_deg) ** 2 * structure.positions.square().sum(dim=1)
    return 8 * pi**2 * (2 / 3 * tangential + shift_error**2)
