"""Where the two halves meet: the low-resolution join, the FSC, and the signal power from it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.results import FscCurves
from napari_blush.likelihood.reconstruction import map_variance
from napari_blush.likelihood.spectra import signal_to_noise
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.slice_insertion import SliceAccumulator
from napari_blush.numerics.solvent_correction import solvent_corrected_fsc
from napari_blush.refine.context import RefinementContext
from napari_blush.refine.schedule import Geometry
from napari_blush.refine.solvent import fsc_mask, is_fsc_corrected

MASK_EDGE_PX = 5.0  # cosine edge of the spherical solvent mask, RELION's default


@dataclass(frozen=True, slots=True)
class SignalEstimate:
    """``tau2`` of a half (or of the joined map) and its signal-to-noise ratio, by shell."""

    tau2: Tensor
    data_vs_prior: Tensor


def join_shell(context: RefinementContext, resolution_angstrom: float) -> int:
    """Return the last shell that the halves share, -1 when a join beyond the box is asked for."""
    length = context.geometry.box_size * context.geometry.pixel_size
    limit = max(context.settings.low_resolution_join, resolution_angstrom)
    return -1 if limit > length else math.ceil(length / limit)


def compare_halves(
    context: RefinementContext, maps: HalfMaps, generator: torch.Generator, *, n_draws: int = 1
) -> FscCurves:
    """Return all FSC curves of two unfiltered half-maps.

    See ``solvent`` for the mask; ``n_draws`` phase randomisations are averaged.
    """
    mask = fsc_mask(context, maps).to(maps.half1)
    curves = solvent_corrected_fsc(maps.half1, maps.half2, mask, generator, n_draws=n_draws)
    return FscCurves(
        unmasked=curves.unmasked.float().cpu(),
        masked=curves.masked.float().cpu(),
        phase_randomized=curves.phase_randomized.float().cpu(),
        corrected=curves.corrected.float().cpu(),
        randomized_from_shell=curves.randomized_from_shell,
    )


def driving_fsc(context: RefinementContext, curves: FscCurves, current_size: int) -> Tensor:
    """Return the curve that regularises and counts: zero beyond the limit of the iteration."""
    fsc = (curves.corrected if is_fsc_corrected(context) else curves.unmasked).clone()
    fsc[current_size // 2 + 1 :] = 0.0
    return fsc


def estimate_signal(
    context: RefinementContext, sums: SliceAccumulator, fsc: Tensor, *, joined: bool
) -> SignalEstimate:
    """Return signal power and signal-to-noise ratio from the FSC (Scheres 2012, equation 10)."""
    ratio = signal_to_noise(fsc, joined=joined) * context.settings.tau2_fudge
    variance = map_variance(sums).to(ratio)
    return SignalEstimate(ratio * variance, ratio)


def spherical_solvent(geometry: Geometry) -> Tensor:
    """Return the soft sphere that references are multiplied by when there is no mask."""
    radius_px = geometry.particle_diameter / geometry.pixel_size / 2
    return soft_sphere(geometry.box_size, radius_px, MASK_EDGE_PX).to(torch.float32)
