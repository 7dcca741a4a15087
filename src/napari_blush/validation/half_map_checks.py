"""What the half-maps alone can tell: lights for a ``ResolutionReport``.

Three things that an FSC inside a mask passes over: density that the mask cuts off, halves that
share something where there is nothing (*solvent FSC*), and a curve that never falls. A map that is
wrong in both halves alike is beyond them all; ``model_report`` sees that.
"""

from collections.abc import Generator
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from napari_blush.conventions import FSC_GOLD_STANDARD, Spectrum
from napari_blush.numerics.correlation import fourier_shell_correlation, resolution_shell
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.masks import automatic_threshold, soft_mask_steps
from napari_blush.stepwise import result_of, within
from napari_blush.validation.lights import Check, Light, light_of
from napari_blush.validation.overfitting import (
    OverfittingVerdict,
    overfitting_verdict,
    standard_errors,
)
from napari_blush.validation.resolution import ResolutionReport

_CUT = (0.01, 0.05)
"""Fraction of the particle's density outside the mask."""

_SOLVENT_EDGE = 12.0
"""Angstrom beyond the mask before what lies there counts as solvent."""

_LOW_PASS = 15.0
_LEAST_SOLVENT = 0.02
_NEVER_FALLS = 0.3


@dataclass(frozen=True, slots=True)
class HalfMapReport:
    """A ``ResolutionReport`` judged.

    Parameters
    ----------
    resolution : ResolutionReport
    fsc_solvent : Spectrum or None
        Between the halves outside the mask; None where hardly any box is left there.
    randomized : OverfittingVerdict or None
        The one-shot phase randomization; None where no shell could be randomized.
    checks : tuple of Check
    """

    resolution: ResolutionReport
    fsc_solvent: Spectrum | None
    randomized: OverfittingVerdict | None
    checks: tuple[Check, ...]


def half_map_report(half1: Tensor, half2: Tensor, report: ResolutionReport) -> HalfMapReport:
    """Judge half-maps and the mask that they were compared in.

    Parameters
    ----------
    half1, half2 : (n, n, n)
        Unfiltered; those of the report.
    report : ResolutionReport

    Returns
    -------
    HalfMapReport
    """
    return result_of(half_map_report_steps(half1, half2, report))


def half_map_report_steps(
    half1: Tensor, half2: Tensor, report: ResolutionReport
) -> Generator[float, None, HalfMapReport]:
    """Do what ``half_map_report`` does, with the fraction done along the way."""
    yield 0.0
    checks = [_quoted(report)]
    randomized = None
    first = report.fsc.randomized_from_shell
    if first is not None and first + 5 <= len(report.fsc.masked):
        randomized = overfitting_verdict(
            report.fsc.masked,
            report.fsc.phase_randomized,
            first,
            report.voxel_size,
            mask=report.mask,
            name="made by the mask",
        )
        checks.append(_tightness(randomized))
    checks.append(_falls(report))
    yield 0.1
    checks.append((yield from within(_cut_density(report), 0.1, 0.4)))
    fsc_solvent, check = yield from within(_solvent(half1, half2, report), 0.4, 1.0)
    if check is not None:
        checks.append(check)
    return HalfMapReport(report, fsc_solvent, randomized, tuple(checks))


def _quoted(report: ResolutionReport) -> Check:
    if not isfinite(report.resolution):
        text = "The halves agree in no shell: there is no common structure."
        return Check("resolution", "none", Light.RED, text)
    text = (
        f"FSC 0.143, corrected; {_angstrom(report.resolution_half)} at 0.5, "
        f"{_angstrom(report.resolution_unmasked)} without a mask."
    )
    return Check("resolution", _angstrom(report.resolution), Light.GREEN, text)


def _tightness(verdict: OverfittingVerdict) -> Check:
    text = {
        Light.GREEN: "The mask makes nothing correlate.",
        Light.YELLOW: "The mask is tight: quote the corrected curve, or soften its edge.",
        Light.RED: "The mask alone makes noise correlate: widen it and soften its edge.",
    }[verdict.check.light]
    return Check(verdict.check.name, verdict.check.value, verdict.check.light, text)


def _falls(report: ResolutionReport) -> Check:
    last = float(report.fsc.unmasked[-3:].mean())
    light = Light.GREEN if last < _NEVER_FALLS else Light.YELLOW
    text = (
        "The unmasked curve falls before Nyquist."
        if light is Light.GREEN
        else "The unmasked curve does not fall: finer pixels are wanted, or the halves are not "
        "independent or were filtered."
    )
    return Check("FSC at Nyquist", f"{last:.2f}", light, text)


def _cut_density(report: ResolutionReport) -> Generator[float, None, Check]:
    """Compare the mask with the particle's outline in the low-passed mean."""
    smooth = low_pass(report.average, report.voxel_size, max(_LOW_PASS, 3 * report.voxel_size))
    yield 0.1
    outlined = soft_mask_steps(
        report.average,
        report.voxel_size,
        low_pass=max(_LOW_PASS, 3 * report.voxel_size),
        threshold=automatic_threshold(smooth.cpu()),
        extend_angstrom=0.0,
        edge_angstrom=0.0,
    )
    outline = yield from within(outlined, 0.1, 0.9)
    density = (smooth * outline).clamp(min=0).double()
    outside = float((density * (1 - report.mask.double())).sum() / density.sum().clamp(min=1e-30))
    light = light_of(outside, yellow=_CUT[0], red=_CUT[1])
    text = (
        "The mask holds the whole particle."
        if light is Light.GREEN
        else "The mask cuts into the particle: draw it wider."
    )
    return Check("density outside the mask", f"{100 * outside:.1f} %", light, text)


def _solvent(
    half1: Tensor, half2: Tensor, report: ResolutionReport
) -> Generator[float, None, tuple[Spectrum | None, Check | None]]:
    """Correlate the halves where there should be nothing, at the resolution they claim."""
    far = _far_from(report.mask, _SOLVENT_EDGE / report.voxel_size)
    outside = yield from within(far, 0.0, 0.7)
    if float(outside.mean()) < _LEAST_SOLVENT:
        return None, None
    yield 0.7
    fsc = fourier_shell_correlation(half1 * outside, half2 * outside)
    yield 0.9
    n_shells = len(fsc)
    # Coarse shells hold what is common by right: joined low resolution, micelle, rings.
    last = resolution_shell(report.fsc.corrected, FSC_GOLD_STANDARD)
    first = min(max(last // 2, 3), n_shells - 6)
    error = standard_errors(2 * (n_shells - 1), outside)[first:]
    runs = (fsc[first:] - 2 * error / 3**0.5).unfold(0, 3, 1).mean(dim=1)
    excess = max(float(runs.max()), 0.0)
    light = light_of(excess, yellow=FSC_GOLD_STANDARD, red=0.5)
    text = {
        Light.GREEN: "Where there is solvent the halves do not agree, as it should be.",
        Light.YELLOW: "The halves agree outside the mask: it may leave density out, or they were "
        "aligned to one reference.",
        Light.RED: "The halves agree in empty solvent: they share noise, and no figure of theirs "
        "can be believed.",
    }[light]
    return fsc, Check("FSC of the solvent", f"{excess:.2f}", light, text)


def _far_from(mask: Tensor, distance_px: float) -> Generator[float, None, Tensor]:
    """Return a soft 0 to 1 that is 0 within a distance of the mask."""
    reach = max(1, round(distance_px))
    near = (mask > 1e-3).float()[None, None]
    for done in range(reach):
        yield done / (reach + 1)
        near = torch.nn.functional.max_pool3d(near, 3, 1, 1)
    yield reach / (reach + 1)
    soft = torch.nn.functional.avg_pool3d(near, 5, 1, 2, count_include_pad=False)
    return (1 - torch.maximum(soft, near))[0, 0]


def _angstrom(value: float) -> str:
    return f"{value:.2f} A" if isfinite(value) else "none"
