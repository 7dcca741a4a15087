"""How good a map is by its half-maps: FSC curves, resolution, B-factor, and the sharpened map.

The half-maps must be unfiltered and refined apart. Half-map FSC alone cannot tell a right map
from a consistently wrong one; ``map_model_fsc`` can.
"""

from collections.abc import Generator
from dataclasses import dataclass
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import FSC_AGAINST_TRUTH, FSC_GOLD_STANDARD, Spectrum
from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.results import FscCurves
from napari_blush.errors import SettingsError
from napari_blush.numerics.correlation import resolution_at
from napari_blush.numerics.masks import soft_mask_steps
from napari_blush.numerics.sharpening import (
    GUINIER_FROM_ANGSTROM,
    GuinierFit,
    fsc_weight,
    guinier_b_factor,
    sharpen,
)
from napari_blush.numerics.solvent_correction import (
    SolventCorrectedFsc,
    solvent_corrected_fsc_steps,
    without_noise,
)
from napari_blush.stepwise import result_of, within

PHASE_DRAWS = 8
"""Randomizations averaged; RELION draws one, which scatters where shells have few voxels."""

_BALL_IN_CUBE = pi / 6


@dataclass(frozen=True, slots=True)
class RandomPhaseSpread:
    """What single draws of random phases make of the corrected curve.

    Parameters
    ----------
    draws : (d, n // 2 + 1)
        Masked FSC after each randomization; ``fsc.phase_randomized`` is their mean.
    corrected_draws : (d, n // 2 + 1)
        The corrected curve that each alone would give.
    finest, coarsest : float
        Angstrom: the resolutions at 0.143 of those.
    """

    draws: Float[Tensor, "d shells"]
    corrected_draws: Float[Tensor, "d shells"]
    finest: float
    coarsest: float

    @property
    def deviation(self) -> Spectrum:
        """Standard deviation of a draw, shell by shell."""
        return self.draws.std(dim=0)


@dataclass(frozen=True, slots=True)
class ResolutionReport:
    """What two half-maps say about their mean.

    Parameters
    ----------
    voxel_size : float
        Angstrom.
    mask : (n, n, n) float32
        The one given, or found.
    mask_is_automatic : bool
    fsc : FscCurves
    fsc_mask_fraction : (n // 2 + 1,) float32
        The unmasked FSC as it would be if the solvent outside the mask held no noise.
    box_over_mask : float
        Volume of the ball in the box by that of the mask (where it is above 0.5).
    resolution : float
        Angstrom, at 0.143 of the corrected curve; infinite when shell 1 is below.
    resolution_half : float
        At 0.5 of the corrected curve.
    resolution_unmasked, resolution_masked : float
        At 0.143 of those curves.
    guinier : GuinierFit or None
        None when the map does not reach far enough beyond 10 A for a fit.
    b_factor : float
        Applied to the sharpened map, square angstrom; negative sharpens; 0 without a fit.
    average : (n, n, n) float32
        Mean of the half-maps.
    sharpened : (n, n, n) float32
        That, weighted by the corrected FSC and sharpened; not masked.
    spread : RandomPhaseSpread or None
        None where no shell could be randomized.
    """

    voxel_size: float
    mask: Tensor
    mask_is_automatic: bool
    fsc: FscCurves
    fsc_mask_fraction: Tensor
    box_over_mask: float
    resolution: float
    resolution_half: float
    resolution_unmasked: float
    resolution_masked: float
    guinier: GuinierFit | None
    b_factor: float
    average: Tensor
    sharpened: Tensor
    spread: RandomPhaseSpread | None = None


def resolution_report(
    half1: Tensor,
    half2: Tensor,
    voxel_size: float,
    *,
    mask: Tensor | None = None,
    b_factor: float | None = None,
    fit_from: float = GUINIER_FROM_ANGSTROM,
    fit_to: float | None = None,
    seed: int = 0,
) -> ResolutionReport:
    """Judge two half-maps and sharpen their mean.

    Parameters
    ----------
    half1, half2 : (n, n, n) float32
        Unfiltered, refined apart.
    voxel_size : float
        Angstrom.
    mask : (n, n, n) float32, optional
        Soft, in [0, 1]; default: ``masks.soft_mask_from_volume`` of the mean.
    b_factor : float, optional
        Square angstrom, negative to sharpen; default: fitted (``guinier_b_factor``).
    fit_from, fit_to : float
        Range of the fit in angstrom; ``fit_to`` defaults to the resolution found.
    seed : int
        Of the random phases, of which ``PHASE_DRAWS`` are drawn.

    Returns
    -------
    ResolutionReport

    Raises
    ------
    SettingsError
        When boxes differ, or the mask is empty or leaves [0, 1].

    References
    ----------
    Rosenthal & Henderson (2003), J. Mol. Biol. 333, 721 (weight, B-factor, 0.143);
    Chen et al. (2013), Ultramicroscopy 135, 24 (phase randomization);
    Sindelar & Grigorieff (2012), J. Struct. Biol. 180, 26 (volume fraction of the mask).
    """
    return result_of(
        resolution_report_steps(
            half1,
            half2,
            voxel_size,
            mask=mask,
            b_factor=b_factor,
            fit_from=fit_from,
            fit_to=fit_to,
            seed=seed,
        )
    )


def resolution_report_steps(
    half1: Tensor,
    half2: Tensor,
    voxel_size: float,
    *,
    mask: Tensor | None = None,
    b_factor: float | None = None,
    fit_from: float = GUINIER_FROM_ANGSTROM,
    fit_to: float | None = None,
    seed: int = 0,
) -> Generator[float, None, ResolutionReport]:
    """Do what ``resolution_report`` does, with the fraction done along the way."""
    average = HalfMaps(half1, half2, voxel_size).mean()
    box_size = int(average.shape[-1])
    yield 0.0
    used = mask
    if used is None:
        used = yield from within(soft_mask_steps(average, voxel_size), 0.0, 0.2)
    _check_mask(used, average)
    used = used.clamp(0, 1)
    generator = torch.Generator(device=half1.device).manual_seed(seed)
    draws = solvent_corrected_fsc_steps(half1, half2, used, generator, n_draws=PHASE_DRAWS)
    curves = yield from within(draws, 0.2, 0.85)
    box_over_mask = _BALL_IN_CUBE / float((used > 0.5).double().mean())

    def at(curve: Spectrum, threshold: float = FSC_GOLD_STANDARD) -> float:
        return resolution_at(curve, threshold, box_size, voxel_size)

    resolution = at(curves.corrected)
    weight = fsc_weight(curves.corrected)
    yield 0.85
    guinier = guinier_b_factor(
        average,
        voxel_size,
        to_resolution=resolution if fit_to is None else fit_to,
        from_resolution=fit_from,
        weight=weight,
    )
    fitted = guinier.b_factor if guinier else 0.0
    applied = fitted if b_factor is None else b_factor
    yield 0.95
    return ResolutionReport(
        voxel_size=voxel_size,
        mask=used,
        mask_is_automatic=mask is None,
        fsc=FscCurves(
            curves.unmasked,
            curves.masked,
            curves.phase_randomized,
            curves.corrected,
            curves.randomized_from_shell,
        ),
        fsc_mask_fraction=_without_solvent_noise(curves.unmasked, box_over_mask),
        box_over_mask=box_over_mask,
        resolution=resolution,
        resolution_half=at(curves.corrected, FSC_AGAINST_TRUTH),
        resolution_unmasked=at(curves.unmasked),
        resolution_masked=at(curves.masked),
        guinier=guinier,
        b_factor=applied,
        average=average,
        sharpened=sharpen(average, voxel_size, b_factor=applied, weight=weight),
        spread=_spread(curves, box_size, voxel_size),
    )


def _spread(
    curves: SolventCorrectedFsc, box_size: int, voxel_size: float
) -> RandomPhaseSpread | None:
    if curves.randomized_from_shell is None:
        return None
    corrected = without_noise(curves.masked, curves.draws, curves.randomized_from_shell)
    found = [resolution_at(each, FSC_GOLD_STANDARD, box_size, voxel_size) for each in corrected]
    return RandomPhaseSpread(curves.draws, corrected, min(found), max(found))


def _without_solvent_noise(fsc: Spectrum, box_over_mask: float) -> Spectrum:
    """Divide the noise of each half-map by the ratio of volumes: ``f F / (1 + (f - 1) F)``."""
    return box_over_mask * fsc / (1 + (box_over_mask - 1) * fsc)


def _check_mask(mask: Tensor, average: Tensor) -> None:
    if mask.shape != average.shape:
        raise SettingsError(
            f"The mask has {tuple(mask.shape)} voxels and the half-maps {tuple(average.shape)}; "
            "wanted the same box; make the mask from these maps."
        )
    low, high = float(mask.min()), float(mask.max())
    if not (low >= -1e-4 and high <= 1 + 1e-4) or not bool((mask > 0.5).any()):
        raise SettingsError(
            f"The mask holds values from {low:g} to {high:g}; wanted 0 outside and 1 inside the "
            "particle; make a soft mask by thresholding a low-passed map."
        )
