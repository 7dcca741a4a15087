"""Where a map is denoised: soft masks on the denoiser's grid that leave the particle whole."""

import math

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.numerics.masks import soft_sphere

MARGIN_ANGSTROM = 5.0
"""Around what is to stay: poses and shapes are never exact."""

EDGE_ANGSTROM = 15.0
"""Width of the cosine edge outside of it: half a block's overlap, no sharp step for the network."""

_INSIDE = 0.05  # of a given mask: its own soft edge is inside


def particle_sphere(
    box_size: int, voxel_size: float, particle_diameter: float | None, device: torch.device
) -> Float[Tensor, "n n n"]:
    """Return a sphere that is 1 throughout the particle, its edge outside.

    Parameters
    ----------
    box_size, voxel_size
        Of the denoiser's grid; angstrom.
    particle_diameter
        Angstrom; None, and anything larger than the box, is the sphere that fits the box.
    """
    largest = box_size / 2
    radius = largest
    if particle_diameter is not None:
        radius = min((particle_diameter / 2 + MARGIN_ANGSTROM) / voxel_size, largest)
    return soft_sphere(box_size, radius, EDGE_ANGSTROM / voxel_size, device)


def dilated(mask: Volume, voxel_size: float) -> Float[Tensor, "n n n"]:
    """Return a mask that is 1 wherever the given one is not 0, with a soft edge outside.

    Parameters
    ----------
    mask
        ``(n, n, n)`` on the denoiser's grid; may over- and undershoot from resampling.
    voxel_size
        Angstrom.
    """
    inside = (mask > _INSIDE).cpu().numpy()
    result = torch.zeros(mask.shape)
    found = ndimage.find_objects(inside.astype(np.uint8))
    if found:
        reach = math.ceil((MARGIN_ANGSTROM + EDGE_ANGSTROM) / voxel_size) + 1
        around = tuple(slice(max(s.start - reach, 0), s.stop + reach) for s in found[0])
        distance = ndimage.distance_transform_edt(~inside[around]) * voxel_size
        beyond = torch.from_numpy((distance - MARGIN_ANGSTROM) / EDGE_ANGSTROM).float()
        result[around] = 0.5 + 0.5 * torch.cos(torch.pi * beyond.clamp(0, 1))
    return result.to(mask.device)
