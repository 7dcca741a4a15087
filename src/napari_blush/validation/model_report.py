"""All that an atomic model says about a map, with lights.

Thresholds. A perfect model reaches ``sqrt(2F / (1 + F))`` where half-maps correlate by ``F``, which
is 0.5 where ``F`` is 0.143: the two resolutions are the same for a right map and model, and their
ratio is judged. The magnification is judged by what it moves at the particle's rim, in units of the
resolution. The hand is a comparison of two numbers and has no threshold but a margin.
"""

from collections.abc import Generator
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from napari_blush.conventions import FSC_AGAINST_TRUTH, FSC_GOLD_STANDARD, Volume
from napari_blush.io.atoms import AtomicModel
from napari_blush.io.mrc import MapFile
from napari_blush.numerics.correlation import fourier_shell_correlation, resolution_at
from napari_blush.numerics.filters import b_factor, low_pass
from napari_blush.stepwise import result_of, within
from napari_blush.validation.lights import Check, Light, light_of
from napari_blush.validation.map_model_fsc import MapModelFsc, map_model_fsc_steps
from napari_blush.validation.model_density import (
    PlacedModel,
    model_density,
    model_mask,
    placed_model,
)
from napari_blush.validation.model_placement import Placement, placement_steps
from napari_blush.validation.q_score import QScores, q_scores_steps
from napari_blush.validation.residue_correlation import ResidueCorrelation, residue_correlation

_RATIO = (1.25, 1.6)
_GAP = (0.02, 0.05)
_RIM = (1 / 15, 1 / 8)
"""Of the resolution: how far a wrong magnification may move the rim of the particle."""
_HAND_MARGIN = 0.05
_POOR_RESIDUE = 0.3
_POOR_FRACTION = (0.15, 0.4)


@dataclass(frozen=True, slots=True)
class ModelReport:
    """A map against a model.

    Parameters
    ----------
    fsc : MapModelFsc
    density : (n, n, n)
        Of the model, brought to the map's scale and B-factor where they could be fitted.
    mask : (n, n, n)
    placement : Placement
    residues : ResidueCorrelation
    half_resolution : float or None
        Angstrom: 0.143 between the half-maps inside the same mask.
    n_outside : int
        Atoms outside the box.
    checks : tuple of Check
    q, q_of_model : QScores or None
        Of the map as given; and of the model's own density at the resolution that was looked at,
        which no map of this resolution can surpass by right.
    """

    fsc: MapModelFsc
    density: Volume
    mask: Volume
    placement: Placement
    residues: ResidueCorrelation
    half_resolution: float | None
    n_outside: int
    checks: tuple[Check, ...]
    q: QScores | None = None
    q_of_model: QScores | None = None


def model_report(
    given: MapFile,
    atoms: AtomicModel,
    *,
    halves: tuple[Volume, Volume] | None = None,
    mask: Volume | None = None,
) -> ModelReport:
    """Judge a map by an atomic model.

    Parameters
    ----------
    given : MapFile
        The map, in the frame that the model was fitted in.
    atoms : AtomicModel
    halves : pair of (n, n, n), optional
        Half-maps on the same grid; half 1 is the one that the model was refined against.
    mask : (n, n, n), optional
        Default: drawn around the model.

    Returns
    -------
    ModelReport

    Raises
    ------
    AtomicModelError
        When the model is not in the frame of the map.
    SettingsError
        When boxes differ.
    """
    return result_of(model_report_steps(given, atoms, halves=halves, mask=mask))


def model_report_steps(
    given: MapFile,
    atoms: AtomicModel,
    *,
    halves: tuple[Volume, Volume] | None = None,
    mask: Volume | None = None,
) -> Generator[float, None, ModelReport]:
    """Do what ``model_report`` does, with the fraction done along the way."""
    yield 0.0
    n, size = int(given.volume.shape[-1]), given.voxel_size
    placed = placed_model(atoms, given)
    density = model_density(placed, n, size)
    yield 0.1
    used = model_mask(placed.positions, n, size) if mask is None else mask.clamp(0, 1)
    yield 0.15
    shells = map_model_fsc_steps(given.volume, density, used, size, halves)
    curves = yield from within(shells, 0.15, 0.25)
    yield 0.25
    half_resolution = None
    if halves is not None:
        between = fourier_shell_correlation(halves[0] * used, halves[1] * used)
        half_resolution = resolution_at(between, FSC_GOLD_STANDARD, n, size)
    finest = _looked_at(curves, half_resolution, n, size)
    fitted = density
    if curves.fit is not None:
        fitted = curves.fit.scale * b_factor(density, size, curves.fit.b_factor)
    yield 0.3
    seen, model = (low_pass(each, size, finest) for each in (given.volume, fitted))
    yield 0.35
    residues = residue_correlation(
        seen, model, placed, size, radius=max(3.0, finest / 2, 1.5 * size)
    )
    yield 0.4
    sought = placement_steps(given.volume, placed, size, finest, mask=used)
    found = yield from within(sought, 0.4, 0.7)
    q = yield from within(q_scores_steps(given.volume, placed, size), 0.7, 0.85)
    q_of_model = yield from within(q_scores_steps(model, placed, size), 0.85, 1.0)
    return ModelReport(
        fsc=curves,
        density=fitted,
        mask=used,
        placement=found,
        residues=residues,
        half_resolution=half_resolution,
        n_outside=placed.n_outside,
        checks=(
            *_resolution_checks(curves, half_resolution),
            _magnification_check(found, placed, finest),
            _hand_check(found),
            _residue_check(residues),
        ),
        q=q,
        q_of_model=q_of_model,
    )


def _looked_at(curves: MapModelFsc, half_resolution: float | None, n: int, size: float) -> float:
    """Return the resolution that residues and placement are judged at."""
    claimed = curves.resolution if half_resolution is None else half_resolution
    coarsest = n * size / 5
    return min(max(claimed, 2.05 * size), coarsest) if isfinite(claimed) else coarsest


def _resolution_checks(curves: MapModelFsc, half_resolution: float | None) -> list[Check]:
    value = f"{curves.resolution:.2f} A" if isfinite(curves.resolution) else "none"
    if half_resolution is None:
        light = Light.GREEN if isfinite(curves.resolution) else Light.RED
        text = f"The map agrees with the model to {value} (FSC {FSC_AGAINST_TRUTH})."
        return [Check("map against model", value, light, text)]
    ratio = curves.resolution / half_resolution if half_resolution else float("inf")
    light = light_of(ratio, yellow=_RATIO[0], red=_RATIO[1])
    sentences = {
        Light.GREEN: "The model confirms what the half-maps claim.",
        Light.YELLOW: "The model confirms less than the half-maps claim: the model is incomplete, "
        "or the claim is too high.",
        Light.RED: "The model does not confirm the half-maps: the map, its hand, its voxel size or "
        "the model is wrong, or the halves share noise.",
    }
    text = f"Half-maps claim {half_resolution:.2f} A in the same mask. {sentences[light]}"
    checks = [Check("map against model", value, light, text)]
    gap = curves.gap()
    if gap is not None:
        light = light_of(abs(gap), yellow=_GAP[0], red=_GAP[1])
        text = (
            "The model agrees alike with both halves."
            if light is Light.GREEN
            else "The model agrees better with one half: it was fitted to that half's noise; "
            "restrain its refinement more."
        )
        checks.append(Check("half 1 less half 2", f"{gap:+.3f}", light, text))
    return checks


def _magnification_check(found: Placement, placed: PlacedModel, resolution: float) -> Check:
    middle = placed.positions.mean(dim=0)
    radius = float((placed.positions - middle).norm(dim=1).quantile(0.95))
    tolerance = [share * resolution / radius for share in _RIM]
    error = abs(found.magnification - 1)
    light = light_of(error, yellow=tolerance[0], red=tolerance[1])
    if light is Light.GREEN:
        text = f"The voxel size is right within {100 * tolerance[0]:.1f} %."
    else:
        text = (
            f"The particle is {100 * error:.1f} % "
            f"{'larger' if found.magnification > 1 else 'smaller'} than the model: the voxel size "
            f"should be divided by {found.magnification:.3f}."
        )
    return Check("magnification", f"{found.magnification:.4f}", light, text)


def _hand_check(found: Placement) -> Check:
    difference = found.correlation - found.mirrored_correlation
    if difference > _HAND_MARGIN:
        light, text = Light.GREEN, "The map has the hand of the model."
    elif difference < -_HAND_MARGIN:
        light, text = Light.RED, "The mirror image agrees better: the hand is swapped."
    else:
        light = Light.YELLOW
        text = "The map and its mirror image agree alike: the hand cannot be told at this fit."
    value = f"{found.correlation:.2f} / {found.mirrored_correlation:.2f}"
    return Check("as it is / mirrored", value, light, text)


def _residue_check(residues: ResidueCorrelation) -> Check:
    known: Tensor = residues.correlation[torch.isfinite(residues.correlation)]
    poor = float((known < _POOR_RESIDUE).double().mean()) if len(known) else 1.0
    median = float(known.median()) if len(known) else float("nan")
    weakest = min(residues.chain_correlation.items(), key=lambda item: item[1])
    light = light_of(poor, yellow=_POOR_FRACTION[0], red=_POOR_FRACTION[1])
    text = (
        f"{100 * poor:.0f} % of residues correlate below {_POOR_RESIDUE}; "
        f"weakest chain {weakest[0]} at {weakest[1]:.2f}."
    )
    return Check("residues, median", f"{median:.2f}", light, text)
