"""What surrounds the ordered molecule in its images and is no part of it: micelles, loose blobs.

They are density that all particles share only at low resolution, so they are smooth here. They
belong to the signal of both halves and not to the mask of the molecule.
"""

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.errors import SettingsError
from napari_blush.numerics.filters import low_pass

_EDGE = 5.0  # angstrom, of the belt's own outline before it is low-passed
_UNEVENNESS = 0.35  # standard deviation of the density of disordered matter, by its mean
_HEAD_GROUPS = 0.6  # how much denser the outer layer of a micelle is than its inside


def distance_from_atoms(
    positions: Float[Tensor, "atoms 3"], box_size: int, voxel_size: float
) -> Volume:
    """Return how far each voxel is from the nearest voxel that holds an atom, in angstrom.

    Parameters
    ----------
    positions : (n, 3)
        (x, y, z) in angstrom, voxel ``[k, j, i]`` at ``voxel_size * (i, j, k)``.
    box_size : int
    voxel_size : float
        Angstrom.

    Raises
    ------
    SettingsError
        When no atom is inside the box.
    """
    index = (positions / voxel_size).round().long()
    index = index[((index >= 0) & (index < box_size)).all(dim=1)]
    if len(index) == 0:
        raise SettingsError(
            f"None of {len(positions)} atoms is inside a box of {box_size * voxel_size:g} A; "
            "wanted the structure in it; center it first."
        )
    empty = np.ones((box_size, box_size, box_size), dtype=bool)
    x, y, z = index.T.numpy()
    empty[z, y, x] = False
    distance = ndimage.distance_transform_edt(empty, sampling=voxel_size)
    return torch.from_numpy(distance).float()


def micelle_belt(
    distance: Volume,
    voxel_size: float,
    axis: Float[Tensor, " 3"],
    generator: torch.Generator,
    *,
    height: float,
    thickness: float,
    resolution: float,
) -> Volume:
    """Return a belt of detergent or lipid round the waist of a molecule.

    Parameters
    ----------
    distance : (n, n, n)
        Of the atoms, from ``distance_from_atoms``.
    voxel_size : float
        Angstrom.
    axis : (3,)
        (x, y, z), normal of the membrane; any length.
    generator : torch.Generator
        Decides the unevenness and where along the axis the belt sits.
    height : float
        Angstrom along the axis.
    thickness : float
        Angstrom outward from the molecule.
    resolution : float
        Angstrom; nothing finer is left.

    Returns
    -------
    (n, n, n) float32
        About 1 in the belt, more in its outer layer, 0 elsewhere and where the molecule is.
    """
    n = distance.shape[-1]
    coordinate = (torch.arange(n, dtype=torch.float32) - n // 2) * voxel_size
    x, y, z = torch.nn.functional.normalize(axis.float(), dim=0)
    along = coordinate[:, None, None] * z + coordinate[:, None] * y + coordinate * x
    molecule = along[distance < 2 * voxel_size]
    middle = molecule.median() + 0.25 * molecule.std() * torch.randn(1, generator=generator)
    from_plane = (along - middle).abs()
    inside = _edge(from_plane - height / 2) * _edge(distance - thickness)
    heads = (
        _HEAD_GROUPS * _edge((height / 2 - from_plane - 6).abs() - 4) * _edge(distance - thickness)
    )
    free = 1 - _edge(distance - 1.5)
    belt = (inside + heads) * free * _uneven(n, voxel_size, resolution, generator)
    return low_pass(belt, voxel_size, resolution)


def loose_blobs(
    distance: Volume,
    voxel_size: float,
    generator: torch.Generator,
    *,
    count: int,
    radius: float,
    resolution: float,
) -> Volume:
    """Return disordered matter near the surface: loose domains, glycans, neighbors.

    Parameters
    ----------
    distance : (n, n, n)
        Of the atoms, from ``distance_from_atoms``.
    voxel_size : float
        Angstrom.
    generator : torch.Generator
    count : int
        Blobs.
    radius : float
        Angstrom, mean; each blob's is drawn from half to one and a half of it.
    resolution : float
        Angstrom; nothing finer is left.

    Returns
    -------
    (n, n, n) float32
        About 1 in the blobs, 0 elsewhere and where the molecule is.
    """
    n = distance.shape[-1]
    coordinate = (torch.arange(n, dtype=torch.float32) - n // 2) * voxel_size
    near = torch.nonzero((distance > 0.5 * radius) & (distance < 1.3 * radius))
    blobs = torch.zeros(n, n, n)
    for _ in range(count if len(near) else 0):
        center = (near[int(torch.randint(len(near), (1,), generator=generator))] - n // 2).float()
        z, y, x = center * voxel_size
        own = radius * (0.5 + float(torch.rand(1, generator=generator)))
        stretch = 0.7 + 0.6 * torch.rand(3, generator=generator)
        squared = (
            ((coordinate - z) / stretch[0]).square()[:, None, None]
            + ((coordinate - y) / stretch[1]).square()[:, None]
            + ((coordinate - x) / stretch[2]).square()
        )
        blobs = torch.maximum(blobs, _edge(squared.sqrt() - own))
    blobs = blobs * (1 - _edge(distance - 1.5)) * _uneven(n, voxel_size, resolution, generator)
    return low_pass(blobs, voxel_size, resolution)


def _edge(beyond: Tensor) -> Tensor:
    """Return 1 below 0, 0 from the edge's width on, a raised cosine between."""
    return 0.5 + 0.5 * torch.cos(torch.pi * (beyond / _EDGE).clamp(0, 1))


def _uneven(
    box_size: int, voxel_size: float, resolution: float, generator: torch.Generator
) -> Tensor:
    field = torch.randn(box_size, box_size, box_size, generator=generator)
    field = low_pass(field, voxel_size, resolution)
    return (1 + _UNEVENNESS * field / field.std()).clamp(min=0)
