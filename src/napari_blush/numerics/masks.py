"""Soft masks: spheres, discs, the outline of a particle; statistics of what lies outside.

Edges are raised cosines that begin where the object ends. Centers are at voxel ``n // 2``.
"""

import math
from collections.abc import Generator

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.errors import SettingsError
from napari_blush.numerics.filters import low_pass as low_pass_filter
from napari_blush.stepwise import result_of

_OTSU_BINS = 512
_NOISE_SIGMAS = 4.0
_MAD_TO_SIGMA = 1.4826  # of a Gaussian
_SHARPEST_EDGE = 1e-6  # pixels; anything sharper is a step


def soft_sphere(
    box_size: int,
    radius_px: float,
    edge_px: float,
    device: torch.device | str | None = None,
) -> Float32[Tensor, "n n n"]:
    """Return a sphere of ones with a raised-cosine edge outside the radius, as RELION's.

    Parameters
    ----------
    box_size
        ``n``.
    radius_px
        Voxels; the mask is 1 up to and including it.
    edge_px
        Voxels; the mask is 0 from ``radius_px + edge_px``. 0 makes a hard edge.
    device
        Where the result lives.

    Returns
    -------
    Tensor
        ``(n, n, n)`` float32 in [0, 1].
    """
    return _edge(_distance_from_center(box_size, 3, device) - radius_px, edge_px)


def soft_disc(
    box_size: int,
    radius_px: float,
    edge_px: float,
    device: torch.device | str | None = None,
) -> Float32[Tensor, "n n"]:
    """Return a disc of ones ``(n, n)`` with a raised-cosine edge; see ``soft_sphere``."""
    return _edge(_distance_from_center(box_size, 2, device) - radius_px, edge_px)


def background_statistics(
    images: Float[Tensor, "*batch n n"], radius_px: float
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Return mean and standard deviation of the pixels farther than a radius from the center.

    Parameters
    ----------
    images
        ``(..., n, n)``.
    radius_px
        Pixels.

    Returns
    -------
    tuple of Tensor
        ``(...)`` means and ``(...)`` population standard deviations.

    Raises
    ------
    SettingsError
        If the circle leaves no pixel of the box outside.
    """
    outside = _distance_from_center(images.shape[-1], 2, images.device) > radius_px
    if not outside.any():
        raise SettingsError(
            f"Background circle of {radius_px} pixels covers the whole box of "
            f"{images.shape[-1]}; wanted a smaller one: reduce the particle diameter."
        )
    background = images[..., outside]
    return background.mean(dim=-1), background.std(dim=-1, correction=0)


def soft_mask_from_volume(
    volume: Volume,
    voxel_size: float,
    *,
    threshold: float | None = None,
    low_pass: float = 15.0,
    extend_angstrom: float = 6.0,
    edge_angstrom: float = 12.0,
) -> Float32[Tensor, "n n n"]:
    """Return a soft mask around the particle in a map.

    Low-passes, thresholds, keeps the largest connected piece (faces touching), extends it on all
    sides and adds a raised-cosine edge.

    Parameters
    ----------
    volume
        ``(n, n, n)``, particle white; the unfiltered average of two half-maps or a clean map.
    voxel_size
        Angstrom.
    threshold
        Density in the low-passed map; None finds one (``automatic_threshold``).
    low_pass
        Angstrom.
    extend_angstrom, edge_angstrom
        Angstrom added at full weight, and width of the edge beyond them.

    Returns
    -------
    Tensor
        ``(n, n, n)`` float32 in [0, 1], on the device of ``volume``.

    Raises
    ------
    SettingsError
        If no voxel lies above the threshold.
    """
    return result_of(
        soft_mask_steps(
            volume,
            voxel_size,
            threshold=threshold,
            low_pass=low_pass,
            extend_angstrom=extend_angstrom,
            edge_angstrom=edge_angstrom,
        )
    )


def soft_mask_steps(
    volume: Volume,
    voxel_size: float,
    *,
    threshold: float | None = None,
    low_pass: float = 15.0,
    extend_angstrom: float = 6.0,
    edge_angstrom: float = 12.0,
) -> Generator[float, None, Float32[Tensor, "n n n"]]:
    """Do what ``soft_mask_from_volume`` does, with the fraction done along the way."""
    yield 0.0
    smooth = low_pass_filter(volume.detach().float(), voxel_size, low_pass).cpu()
    if threshold is None:
        yield 0.1
        threshold = automatic_threshold(smooth)
    yield 0.3
    piece = _largest_piece(smooth.numpy() > threshold)
    if piece is None:
        raise SettingsError(
            f"No voxel of the map low-passed to {low_pass} A exceeds {threshold:.4g}; "
            "wanted a particle: lower the threshold or give a mask."
        )
    yield 0.4
    extended = _extended(piece, extend_angstrom / voxel_size, edge_angstrom / voxel_size)
    mask = yield from extended
    return mask.to(volume.device)


def automatic_threshold(smooth: Volume) -> float:
    """Find the density that separates a particle from solvent in a low-passed map.

    Parameters
    ----------
    smooth
        ``(n, n, n)``, already low-passed.

    Returns
    -------
    float
        In the units of the map.

    Notes
    -----
    Otsu's threshold [1]_ lies half-way between solvent and particle. Voxels below it and within
    the sphere that fits the box (beyond it a map may have been flattened) give the solvent's
    median and, by their median absolute deviation, its noise. The result is the larger of the
    median plus half the way to Otsu's threshold, which governs in clean maps and follows the
    particle closely, and of the median plus four sigma, which governs in noisy ones and keeps
    noise from bridging to the particle.

    References
    ----------
    .. [1] Otsu (1979). A threshold selection method from gray-level histograms. IEEE Trans.
       Syst. Man Cybern. 9, 62-66.
    """
    box_size = smooth.shape[-1]
    otsu = _otsu_threshold(smooth.detach().cpu().double().numpy().ravel())
    within = _distance_from_center(box_size, 3, smooth.device) < box_size // 2
    solvent = smooth[within & (smooth <= otsu)]
    median = float(solvent.median())
    sigma = _MAD_TO_SIGMA * float((solvent - median).abs().median())
    return max(median + (otsu - median) / 2, median + _NOISE_SIGMAS * sigma)


def _distance_from_center(
    box_size: int, ndim: int, device: torch.device | str | None
) -> Float32[Tensor, "*box"]:
    axis = torch.arange(box_size, device=device, dtype=torch.float32) - box_size // 2
    squared = axis**2
    for _ in range(ndim - 1):
        squared = (axis**2).reshape(-1, *[1] * squared.ndim) + squared
    return squared.sqrt()


def _edge(beyond: Float32[Tensor, "*box"], edge_px: float) -> Float32[Tensor, "*box"]:
    if edge_px < _SHARPEST_EDGE:
        return (beyond <= 0).to(beyond.dtype)
    return 0.5 + 0.5 * torch.cos(torch.pi * (beyond / edge_px).clamp(0, 1))


def _otsu_threshold(values: NDArray[np.float64]) -> float:
    counts, edges = np.histogram(values, _OTSU_BINS)
    centers = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1]
    total_below = np.cumsum(counts * centers)[:-1]
    above = len(values) - below
    mean_below = total_below / np.maximum(below, 1)
    mean_above = (np.sum(counts * centers) - total_below) / np.maximum(above, 1)
    return float(edges[1 + np.argmax(below * above * (mean_above - mean_below) ** 2)])


def _largest_piece(above: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    labels, n_pieces = ndimage.label(above)
    if n_pieces == 0:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def _extended(
    piece: NDArray[np.bool_], extend_px: float, edge_px: float
) -> Generator[float, None, Float32[Tensor, "n n n"]]:
    # Distances are wanted only as far as the edge reaches: the box around the piece will do.
    margin = math.ceil(extend_px) + math.ceil(edge_px) + 1
    around = tuple(
        slice(max(found.start - margin, 0), found.stop + margin)
        for found in ndimage.find_objects(piece.astype(np.uint8))[0]
    )
    # Strictly nearer, as RELION extends; the piece itself stays when it is not extended.
    core = piece[around] | (_distance_to(piece[around]) < extend_px)
    yield 0.7
    mask = torch.zeros(piece.shape)
    mask[around] = _edge(torch.from_numpy(_distance_to(core)).float(), edge_px)
    return mask


def _distance_to(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(ndimage.distance_transform_edt(~inside), dtype=np.float64)
