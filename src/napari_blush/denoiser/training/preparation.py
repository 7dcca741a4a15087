"""Makes half-maps fit to be trained on: checks, one voxel size, a mask where there is none."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_blush.conventions import FSC_GOLD_STANDARD, Volume
from napari_blush.denoiser.training.pairs import check_pair
from napari_blush.errors import SettingsError, TrainingError
from napari_blush.numerics.correlation import fourier_shell_correlation, resolution_at
from napari_blush.numerics.masks import soft_mask_from_volume, soft_sphere
from napari_blush.numerics.resample import match_box

_COARSER_VOXELS = 1.05
"""Times the voxel size of the training: beyond, the finest shells would be empty."""

_SAME_MAP = 0.9999
_LEAST_SOLVENT_NOISE = 0.1
"""Of the noise in the middle of the box: below it the solvent was masked away."""

_WIDEST_MASK = 0.6
"""Of the sphere that fits the box: a larger mask has found no particle."""


@dataclass(frozen=True, slots=True)
class FittedPair:
    """Half-maps and their mask on the grid of a training; deviation 1 on the particle.

    ``resolution`` is where their correlation falls below 0.143, in angstrom, without a mask.
    """

    half1: Volume
    half2: Volume
    mask: Volume
    resolution: float


def fit_pair(
    name: str, halves: tuple[Tensor, Tensor], mask: Tensor | None, voxel_size: float, wanted: float
) -> FittedPair:
    """Bring a pair to the voxel size of a training.

    Parameters
    ----------
    name : str
        For messages.
    halves : pair of (n, n, n)
    mask : (n, n, n), optional
        Soft, in [0, 1]; None finds the particle in the mean of the two.
    voxel_size, wanted : float
        Angstrom; of the maps, and of the training.

    Raises
    ------
    TrainingError
        When the pair is unfit, naming why.
    """
    if voxel_size > _COARSER_VOXELS * wanted:
        raise TrainingError(
            f"Entry {name} has voxels of {voxel_size:.3g} A; wanted {wanted:g} A or finer."
        )
    # Before anything is computed of them; the mask of ones is always wide enough.
    check_pair(name, *halves, torch.ones_like(halves[0]) if mask is None else mask)
    _check_independence(name, halves[0].float(), halves[1].float())
    box_size = 2 * max(1, round(halves[0].shape[-1] * voxel_size / wanted / 2))
    half1, half2 = (match_box(half.float(), voxel_size, wanted, box_size) for half in halves)
    if mask is None:
        fitted_mask = _found_mask(name, (half1 + half2) / 2, wanted)
    else:
        fitted_mask = match_box(mask.float(), voxel_size, wanted, box_size).clamp(0, 1)
    check_pair(name, half1, half2, fitted_mask)
    scale = ((half1 + half2) / 2)[fitted_mask > 0.5].std()
    fsc = fourier_shell_correlation(half1, half2)
    resolution = resolution_at(fsc, FSC_GOLD_STANDARD, box_size, wanted)
    return FittedPair(half1 / scale, half2 / scale, fitted_mask, resolution)


def split_of(cluster: str, validation_share: float, test_share: float, seed: int) -> str:
    """Return the split of a cluster: the same whatever other clusters there are."""
    digest = hashlib.sha256(f"{seed} {cluster}".encode()).digest()
    chance = int.from_bytes(digest[:8], "big") / 2**64
    if chance < test_share:
        return "test"
    return "validation" if chance < test_share + validation_share else "train"


def _found_mask(name: str, mean: Volume, voxel_size: float) -> Volume:
    try:
        mask = soft_mask_from_volume(mean, voxel_size)
    except SettingsError as problem:
        raise TrainingError(
            f"Entry {name} has no mask and shows no particle to draw one around; give a mask."
        ) from problem
    sphere = soft_sphere(mean.shape[-1], mean.shape[-1] / 2, 0.0)
    if float(mask.sum()) > _WIDEST_MASK * float(sphere.sum()):
        raise TrainingError(
            f"Entry {name} has no mask and the one drawn fills the box; give a mask."
        )
    return mask


def _check_independence(name: str, half1: Volume, half2: Volume) -> None:
    correlation = float(torch.corrcoef(torch.stack([half1.flatten(), half2.flatten()]))[0, 1])
    if correlation > _SAME_MAP:
        raise TrainingError(
            f"Entry {name} has two half-maps that are the same but for their scale; wanted "
            "independent ones."
        )
    noise, box_size = half1 - half2, len(half1)
    ball, inner, core = (
        soft_sphere(box_size, fraction * box_size / 2, 0.0, noise.device) > 0
        for fraction in (1.0, 0.8, 0.3)
    )
    if float(noise[ball & ~inner].std()) < _LEAST_SOLVENT_NOISE * float(noise[core].std()):
        raise TrainingError(
            f"Entry {name} has no noise in its solvent, so that it was masked; wanted unfiltered, "
            "unmasked half-maps."
        )
