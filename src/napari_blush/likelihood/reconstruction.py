"""From accumulated slices to a map: the M-step for the density.

The accumulated ``data`` and ``weight`` live on a grid that is ``padding`` times finer than the
map's transform, cropped to the resolution limit. The map that maximises the posterior is, voxel
by voxel in Fourier space, ``data / (weight + 1 / (padding^3 tau2))`` (Scheres 2012, equation 8).
"""

from functools import lru_cache

import torch
from torch import Tensor

from napari_blush.conventions import Spectrum, Volume
from napari_blush.numerics.gridding import gridding_correction
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.padded_transform import padded_inverse
from napari_blush.numerics.slice_insertion import SliceAccumulator

MIN_REGULARIZED_SHELL = 5  # shells below are left alone (RELION's minres_map)
WEIGHT_FLOOR = 1e-3  # of the shell's mean weight: no division by next to nothing
CORNER_EDGE_PX = 3.0  # cosine edge beyond the sphere inscribed in the box (RELION)
RIM_PX = 4.0  # thickness of the shell of solvent whose mean density is called zero


def reconstruct(sums: SliceAccumulator, tau2: Spectrum | None) -> Volume:
    """Return the map of accumulated slices.

    Parameters
    ----------
    sums : SliceAccumulator
        Hermitian and symmetrised already, in the units of ``HalfModel``.
    tau2 : (shells,) or None
        Signal power; None for a map without regularisation.

    Returns
    -------
    (n, n, n) float32
        Density on the images' grey scale. Memory: ``16 (padding n)^3 / 2`` bytes beside the sums.
    """
    n_shells = sums.box_size // 2 + 1
    shell, _ = shells_and_counts(sums.shape, sums.padding, n_shells)
    shell = shell.to(sums.weight.device)
    floor = torch.nn.functional.pad(shell_mean_weight(sums) * WEIGHT_FLOOR, (0, 1))
    inverse = torch.zeros_like(floor)
    if tau2 is not None:
        inverse[:n_shells] = 1.0 / (sums.padding**3 * tau2.to(inverse).clamp(min=1e-30))
        inverse[:MIN_REGULARIZED_SHELL] = 0.0
    inverse[sums.r_max + 1 :] = torch.inf
    # One pass over the grid each: gather, add, clamp, invert, multiply.
    denominator = sums.weight + _by_shell(inverse, shell)
    denominator = torch.maximum(denominator, _by_shell(floor, shell))
    weight = torch.where(denominator > 0, denominator.reciprocal(), 0.0)
    solved = sums.data * weight
    volume = padded_inverse(solved, box_size=sums.box_size, padding=sums.padding) * sums.box_size
    volume = volume / gridding_correction(sums.box_size, sums.padding).to(volume)
    return _inside_sphere(volume).to(torch.float32)


def _inside_sphere(volume: Volume) -> Volume:
    """Return the map inside the inscribed sphere, its rim at density zero.

    The mean of a map is not measured (images have no meaningful mean), and a constant left in it
    would print the shape of every mask on the lowest shells.
    """
    n = volume.shape[-1]
    corner = soft_sphere(n, n / 2, CORNER_EDGE_PX).to(volume)
    rim = corner - soft_sphere(n, n / 2 - RIM_PX, CORNER_EDGE_PX).to(volume)
    return (volume - (volume * rim).sum() / rim.sum()) * corner


def shell_mean_weight(sums: SliceAccumulator) -> Spectrum:
    """Return the mean accumulated weight of the padded voxels of each shell, ``(shells,)``."""
    n_shells = sums.box_size // 2 + 1
    weight = sums.weight.flatten()
    weight = weight.cpu() if weight.device.type == "mps" else weight
    shell, count = shells_and_counts(sums.shape, sums.padding, n_shells)
    flat = shell.to(weight.device).flatten()
    total = torch.bincount(flat, weight.double(), minlength=n_shells + 1)
    count = count.to(total)
    return (total / count.clamp(min=1))[:n_shells].to(torch.float32).to(sums.weight.device)


def _by_shell(spectrum: Tensor, shell: Tensor) -> Tensor:
    """Return the value of each voxel's shell."""
    return spectrum.index_select(0, shell.reshape(-1)).reshape(shell.shape)


def map_variance(sums: SliceAccumulator) -> Spectrum:
    """Return the noise variance of the unregularised map, by shell, in the units of ``tau2``.

    One over the mean weight, a padded voxel having ``1 / padding^3`` of a voxel's weight; zero
    where nothing was inserted.
    """
    mean = shell_mean_weight(sums) * sums.padding**3
    variance = torch.where(mean > 0, 1 / mean.clamp(min=1e-30), 0.0)
    variance[sums.r_max + 1 :] = 0.0
    return variance


def join_at_low_resolution(first: SliceAccumulator, second: SliceAccumulator, shell: int) -> None:
    """Replace what both halves have up to ``shell`` by their average, in place.

    The orientation of each half would otherwise drift apart; resolution is claimed beyond this
    shell only.
    """
    shells, _ = shells_and_counts(first.shape, first.padding, first.box_size // 2 + 1)
    shared = shells.to(first.weight.device) <= shell
    for name in ("data", "weight"):
        a, b = getattr(first, name), getattr(second, name)
        average = (a + b) / 2
        a.copy_(torch.where(shared, average, a))
        b.copy_(torch.where(shared, average, b))


def shell_of_voxels(shape: tuple[int, int, int], padding: int) -> Tensor:
    """Return ``round(|k| / padding)`` of the voxels of an accumulator, int64."""
    center = shape[0] // 2
    full = torch.arange(shape[0], dtype=torch.float32) - center
    half = torch.arange(shape[2], dtype=torch.float32)
    squared = full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None, :] ** 2
    return torch.round(torch.sqrt(squared) / padding).long()


@lru_cache(maxsize=4)
def shells_and_counts(
    shape: tuple[int, int, int], padding: int, n_shells: int
) -> tuple[Tensor, Tensor]:
    """Return the shell of each voxel, int32, ``n_shells`` for all beyond, and their numbers."""
    shell = shell_of_voxels(shape, padding).clamp(max=n_shells)
    return shell.int(), torch.bincount(shell.flatten(), minlength=n_shells + 1)
