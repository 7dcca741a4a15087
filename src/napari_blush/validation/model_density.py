"""The density that an atomic model predicts for a map, and the mask that it draws.

Electron scattering factors and the B-factors of the file through ``simulation.atomic_density``;
what lies where is decided by the map's own frame, never by a fit.
"""

from dataclasses import dataclass

import gemmi
import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.errors import AtomicModelError
from napari_blush.io.atoms import AtomicModel
from napari_blush.io.mrc import MapFile
from napari_blush.simulation.atomic_density import density_of_atoms

MASK_RADIUS = 3.0
"""Angstrom around each atom that a model's mask is 1 in; what model-map programs commonly take."""

MASK_EDGE = 6.0
"""Angstrom of the raised-cosine edge beyond."""

_AT_MOST = 1 + 1e-6  # a voxel at exactly the radius is inside
_MOST_OUTSIDE = 0.02
"""Fraction of atoms that may lie outside the box before a model does not belong to a map."""


@dataclass(frozen=True, slots=True)
class PlacedModel:
    """A model in the frame in which the first voxel of a map lies at the origin.

    Parameters
    ----------
    atoms : AtomicModel
        As read.
    positions : (m, 3) float64
        (x, y, z) in angstrom of the atoms inside the box.
    inside : (n,) bool
        Which atoms of the file those are.
    """

    atoms: AtomicModel
    positions: Float[Tensor, "m 3"]
    inside: Bool[Tensor, " n"]

    @property
    def n_outside(self) -> int:
        """Atoms of the file that lie outside the box."""
        return int((~self.inside).sum())


def placed_model(atoms: AtomicModel, given: MapFile) -> PlacedModel:
    """Bring a model into the frame of a map.

    Parameters
    ----------
    atoms : AtomicModel
    given : MapFile
        Its origin is subtracted from the positions.

    Raises
    ------
    AtomicModelError
        When more than 2 % of the atoms lie outside the box: the model is not in the frame of this
        map.
    """
    size = given.voxel_size
    positions = atoms.positions - torch.tensor(given.origin_angstrom, dtype=torch.float64)
    edge = (given.volume.shape[-1] - 0.5) * size
    inside = ((positions >= -0.5 * size) & (positions < edge)).all(dim=1)
    outside = 1 - float(inside.double().mean())
    if outside > _MOST_OUTSIDE:
        raise AtomicModelError(
            f"{100 * outside:.0f} % of the atoms lie outside the map's box of {edge:.0f} A that "
            f"begins at {given.origin_angstrom}; wanted a model fitted in this map; fit it, or "
            "correct the map's origin."
        )
    return PlacedModel(atoms, positions[inside], inside)


def model_density(
    placed: PlacedModel,
    box_size: int,
    voxel_size: float,
    *,
    positions: Float[Tensor, "m 3"] | None = None,
) -> Volume:
    """Return the density that a model predicts, ``(box_size,) * 3`` float32 in angstrom^-2.

    Parameters
    ----------
    placed : PlacedModel
    box_size : int
    voxel_size : float
        Angstrom.
    positions : (m, 3), optional
        Other positions for the same atoms; those outside the box are left out.
    """
    atoms, inside = placed.atoms, placed.inside
    where = placed.positions if positions is None else positions
    kept = ((where >= -0.5 * voxel_size) & (where < (box_size - 0.5) * voxel_size)).all(dim=1)
    return density_of_atoms(
        where[kept],
        atoms.atomic_number[inside][kept],
        atoms.b_iso[inside][kept].clamp(min=0),
        box_size=box_size,
        voxel_size=voxel_size,
        occupancies=atoms.occupancy[inside][kept],
    )


def model_mask(
    positions: Float[Tensor, "m 3"],
    box_size: int,
    voxel_size: float,
    *,
    radius: float = MASK_RADIUS,
    edge: float = MASK_EDGE,
) -> Volume:
    """Return 1 within ``radius`` of an atom, falling to 0 over ``edge`` as a raised cosine.

    Parameters
    ----------
    positions : (m, 3)
        (x, y, z) in angstrom, the first voxel at the origin.
    box_size : int
    voxel_size, radius, edge : float
        Angstrom.
    """
    grid = gemmi.FloatGrid(box_size, box_size, box_size)
    length = box_size * voxel_size
    grid.set_unit_cell(gemmi.UnitCell(length, length, length, 90, 90, 90))
    grid.spacegroup = gemmi.SpaceGroup(1)
    # A voxel may lie farther from every atom than the radius where voxels are coarse.
    reach = max(radius, 0.5 * 3**0.5 * voxel_size) * _AT_MOST
    for x, y, z in positions.tolist():
        grid.set_points_around(gemmi.Position(x, y, z), reach, 1.0)
    core = np.array(grid.array.T, order="C") > 0
    distance = ndimage.distance_transform_edt(~core) * voxel_size
    if edge <= 0:
        return torch.from_numpy(core).float()
    return torch.from_numpy(0.5 + 0.5 * np.cos(np.pi * np.clip(distance / edge, 0, 1))).float()
