"""The M-step for everything but the density: noise, priors, norm and scale corrections."""

from dataclasses import replace

import torch
from torch import Tensor

from napari_blush.likelihood.half_model import HalfModel
from napari_blush.likelihood.spectra import shell_counts
from napari_blush.likelihood.weighted_sums import WeightedSums
from napari_blush.numerics.packing import PackedCoordinates

MIN_SIGMA2_OFFSET = 2.0  # square angstrom: the prior never pins a particle (RELION)
DIRECTION_PSEUDOCOUNT = 1.0  # per pixel: no viewing direction is ruled out for good
SCALE_LIMIT = 5.0  # a micrograph's scale stays within this factor of the median (RELION)


def maximize_parameters(
    model: HalfModel,
    sums: WeightedSums,
    coordinates: PackedCoordinates,
    *,
    update_noise: bool,
    update_scale: bool,
) -> HalfModel:
    """Return the model with noise, offset, direction and scale parameters re-estimated.

    ``sigma2_noise = sum w |X - C P|^2 / (2 N count)`` per optics group and shell;
    ``sigma_offset`` from the weighted squared origins; ``pdf_direction`` from the weights with a
    uniform Dirichlet prior of one count per pixel; scales per micrograph with mean 1.
    """
    updated = replace(
        model,
        sigma_offset_angstrom=_sigma_offset(sums),
        pdf_direction=_pdf_direction(sums),
    )
    if update_noise:
        updated = replace(updated, sigma2_noise=_sigma2_noise(model, sums, coordinates))
    if update_scale:
        updated = replace(updated, group_scale=_group_scale(model, sums))
    return updated


def _sigma2_noise(model: HalfModel, sums: WeightedSums, coordinates: PackedCoordinates) -> Tensor:
    counts = shell_counts(coordinates).to(sums.residual.device)
    images = sums.n_images[:, None].clamp(min=1)
    fresh = sums.residual / (2 * images * counts)
    old = model.sigma2_noise.to(fresh)
    empty = (sums.n_images[:, None] == 0) | (fresh <= 0)
    return torch.where(empty, old, fresh).to(torch.float32).cpu()


def _sigma_offset(sums: WeightedSums) -> float:
    variance = sums.offset_squared / (2 * max(float(sums.n_images.sum()), 1.0))
    return float(max(variance, MIN_SIGMA2_OFFSET) ** 0.5)


def _pdf_direction(sums: WeightedSums) -> Tensor:
    counts = sums.direction + DIRECTION_PSEUDOCOUNT
    return (counts / counts.sum()).to(torch.float32).cpu()


def _group_scale(model: HalfModel, sums: WeightedSums) -> Tensor:
    measured = sums.scale_power > 0
    if not bool(measured.any()):
        return model.group_scale
    scale = sums.scale_cross / sums.scale_power.clamp(min=1e-30)
    median = scale[measured].median()
    if float(median) <= 0:
        return model.group_scale
    scale = torch.where(measured, scale, median)
    scale = scale.clamp(min=median / SCALE_LIMIT, max=median * SCALE_LIMIT)
    return (scale / scale.mean()).to(torch.float32).cpu()


def updated_norm(
    norm: Tensor, residual_power: Tensor, average_norm: float, box_size: int
) -> tuple[Tensor, float]:
    """Return new norm corrections and their mean.

    The norm of an image is the root mean square, per pixel, of what the reference does not
    explain: ``norm' = norm / average * sqrt(2 * residual_power) / n``.

    Parameters
    ----------
    norm : (m,) float64
    residual_power : (m,) float64
        Sum over the half spectrum of ``w |X - C P|^2``.
    average_norm : float
    box_size : int
    """
    fresh = norm / average_norm * torch.sqrt(2 * residual_power.clamp(min=1e-12)) / box_size
    return fresh, float(fresh.mean())
