"""What the microscope sees of a structure: turned, incomplete, flexible, in its surroundings."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.numerics.fft import irfftn_centered, rfftn_centered
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import random_rotations
from napari_blush.numerics.shells import radius_grid
from napari_blush.simulation.assemblies import grid_symmetrized
from napari_blush.simulation.atomic_density import density_of_atoms
from napari_blush.simulation.experiment_plan import ExperimentPlan
from napari_blush.simulation.structures import (
    Structure,
    alignment_b_factors,
    domain_profile,
    with_thermal_b_factors,
)
from napari_blush.simulation.surroundings import distance_from_atoms, loose_blobs, micelle_belt

_ORDERED = 250.0  # angstrom squared of B-factor in excess, up to which atoms belong to the mask
_LEAST_PIECE = 0.25  # of the largest, for a piece of the mask to be kept
_PROTEIN_REACH = 3.0  # angstrom from the voxel of an atom to the surface of the molecule
_SOLVENT_SHARE = 0.45  # of the density of matter that is that of the solvent it displaces
_SOLVENT_B_FACTOR = 170.0  # angstrom squared, how soft the displaced volume of an atom is
_WIDEST_ATOM = 2000.0  # angstrom squared; wider ones only cost time
_MARGIN_PX = 10  # voxels between atoms and the walls of the box their density is made in


@dataclass(frozen=True, slots=True)
class Specimen:
    """What the microscope sees, on the grid of the half-maps.

    Parameters
    ----------
    density : (n, n, n) float32
        Everything that images share, as blurred as the poses' errors make it.
    mask : (n, n, n) float32
        Soft, in [0, 1]: the ordered molecule.
    """

    density: Volume
    mask: Volume


def make_specimen(
    structure: Structure, plan: ExperimentPlan, generator: torch.Generator
) -> Specimen:
    """Put a structure into the box as the experiment found it.

    Parameters
    ----------
    structure : Structure
        Where the plan has a symmetry, from ``assemblies.assembled``: its copies one after
        another, the axes through the origin.
    plan : ExperimentPlan
    generator : torch.Generator

    Returns
    -------
    Specimen
        Density in angstrom^-2 less that of the solvent.
    """
    if plan.symmetry == "C1":
        structure = structure.centered().rotated(random_rotations(1, generator)[0])
    copies = len(symmetry_operators(plan.symmetry))
    if plan.missing_radius > 0:
        lost = _domain(structure, copies, plan.missing_radius, generator) > 0.5
        structure = structure if int(lost.sum()) > 2 * len(lost) // 3 else structure.selected(~lost)
    structure = with_thermal_b_factors(structure, plan.b_factor, plan.b_spread)
    flexible = torch.zeros_like(structure.b_factors)
    if plan.flexible_radius > 0:
        profile = _domain(structure, copies, plan.flexible_radius, generator)
        flexible = plan.flexible_b_factor * profile.to(flexible)
    blur = alignment_b_factors(structure, plan.angle_error_deg, plan.shift_error)
    structure = structure.blurred(flexible + blur)
    offset = plan.off_center * torch.randn(3, generator=generator)
    structure = replace(structure, positions=structure.positions + offset.to(structure.positions))
    placed = structure.positions + plan.box_size // 2 * plan.voxel_size
    density = _density(structure, plan)
    distance = distance_from_atoms(placed, plan.box_size, plan.voxel_size)
    around = _surroundings(density, distance, plan, generator)
    mask = _soft_mask(
        placed[flexible < _ORDERED] if bool((flexible < _ORDERED).any()) else placed, plan
    )
    # Atoms are laid out to a few parts in a thousand; symmetry is to be exact.
    return Specimen(
        grid_symmetrized(density + around, plan.symmetry), grid_symmetrized(mask, plan.symmetry)
    )


def _soft_mask(ordered: Tensor, plan: ExperimentPlan) -> Volume:
    """Return a soft mask of atoms, without the crumbs that a lost domain leaves."""
    distance = distance_from_atoms(ordered, plan.box_size, plan.voxel_size)
    reach = _PROTEIN_REACH + plan.mask_extension
    labels, n_pieces = ndimage.label((distance < reach + plan.mask_edge).numpy())
    sizes = np.bincount(labels.ravel(), minlength=n_pieces + 1)[1:]
    crumbs = np.flatnonzero(sizes < _LEAST_PIECE * sizes.max()) + 1
    mask = 0.5 + 0.5 * torch.cos(torch.pi * ((distance - reach) / plan.mask_edge).clamp(0, 1))
    return mask * torch.from_numpy(~np.isin(labels, crumbs)).float()


def _domain(structure: Structure, copies: int, radius: float, generator: torch.Generator) -> Tensor:
    """Draw a domain of the first copy and take the same of all."""
    unit = torch.arange(len(structure)) < len(structure) // copies
    first = structure.selected(unit)
    return domain_profile(first, radius, generator).repeat(copies)


def _density(structure: Structure, plan: ExperimentPlan) -> Volume:
    """Make the density in a box that just holds the structure, less the solvent it displaces.

    Solvent is taken away as a filter, ``1 - c exp(-B k^2 / 4)``: where matter is packed as protein
    is, that is what a flat solvent in the structure's envelope does to the transform (correlation
    0.97 and more in every shell to 6 A), it costs nothing, and parts that are blurred displace
    blurred solvent.
    """
    reach = float(structure.positions.abs().max()) / plan.voxel_size
    box_size = min(plan.box_size, 2 * (int(reach) + _MARGIN_PX))
    vacuum = density_of_atoms(
        structure.positions + box_size // 2 * plan.voxel_size,
        structure.atomic_numbers,
        structure.b_factors.clamp(max=_WIDEST_ATOM),
        box_size=box_size,
        voxel_size=plan.voxel_size,
    )
    squared = (radius_grid(box_size, 3) / (box_size * plan.voxel_size)).square()
    solvent = _SOLVENT_SHARE * torch.exp(-0.25 * _SOLVENT_B_FACTOR * squared)
    density = irfftn_centered(rfftn_centered(vacuum) * (1 - solvent), box_size)
    before = plan.box_size // 2 - box_size // 2
    return torch.nn.functional.pad(density, (before, plan.box_size - box_size - before) * 3)


def _surroundings(
    density: Volume, distance: Volume, plan: ExperimentPlan, generator: torch.Generator
) -> Volume:
    if plan.surroundings == "none":
        return torch.zeros_like(density)
    if plan.surroundings == "micelle":
        height, thickness, axis = (
            25 + 15 * float(torch.rand(1, generator=generator)),
            10 + 20 * float(torch.rand(1, generator=generator)),
            torch.randn(3, generator=generator),
        )
        shape = micelle_belt(
            distance,
            plan.voxel_size,
            axis,
            generator,
            height=height,
            thickness=thickness,
            resolution=plan.surroundings_resolution,
        )
    else:
        shape = loose_blobs(
            distance,
            plan.voxel_size,
            generator,
            count=int(torch.randint(1, 6, (1,), generator=generator)),
            radius=12 + 10 * float(torch.rand(1, generator=generator)),
            resolution=plan.surroundings_resolution,
        )
    molecule = density[distance < 2 * plan.voxel_size].mean().clamp(min=0)
    return plan.surroundings_contrast * molecule * shape
