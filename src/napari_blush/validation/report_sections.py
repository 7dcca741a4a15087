"""Each report as a section of the page: its checks, its curves, and what to know of them."""

from collections.abc import Sequence
from math import isfinite

import torch

from napari_blush.conventions import FSC_AGAINST_TRUTH, FSC_GOLD_STANDARD, Spectrum
from napari_blush.validation.angular_distribution import AngularDistribution, PoseCertainty
from napari_blush.validation.directional import DirectionalReport
from napari_blush.validation.half_map_checks import HalfMapReport
from napari_blush.validation.lights import Check
from napari_blush.validation.local_resolution import LocalResolution
from napari_blush.validation.model_completeness import Completeness
from napari_blush.validation.model_report import ModelReport
from napari_blush.validation.overfitting import OverfittingVerdict
from napari_blush.validation.q_score import QScores
from napari_blush.validation.report_page import (
    Curve,
    Plot,
    Section,
    drawn,
    histogram,
    sphere_plot,
)
from napari_blush.validation.resolution import ResolutionReport

_AXIS = "resolution in Å"
_GOLD = {"0.143": FSC_GOLD_STANDARD}


def fsc_plot(
    curves: dict[str, Spectrum | None],
    voxel_size: float,
    *,
    levels: dict[str, float] | None = None,
    from_shell: int | None = None,
    dashed: Sequence[str] = (),
    shades: dict[str, tuple[Spectrum, Spectrum]] | None = None,
    marks: dict[str, int] | None = None,
) -> str:
    """Return FSC curves over spatial frequency as SVG; curves that are None are left out.

    ``shades`` holds what lies below and above a curve of that name, ``marks`` shells by name.
    """
    lines, box = [], 2
    for name, fsc in curves.items():
        if fsc is not None:
            box = 2 * (len(fsc) - 1)
            x = [shell / (box * voxel_size) for shell in range(len(fsc))]
            low, high = (each.tolist() for each in (shades or {}).get(name, (fsc[:0], fsc[:0])))
            lines.append(Curve(name, x, fsc.double().tolist(), name in dashed, low, high))
    shells = {} if from_shell is None else {"random beyond": from_shell}
    at = {name: shell / (box * voxel_size) for name, shell in {**shells, **(marks or {})}.items()}
    given = _GOLD if levels is None else levels
    return drawn(Plot(lines, _AXIS, "FSC", levels=given, marks=at, angstrom=True))


def half_map_section(found: HalfMapReport, marks: dict[str, int] | None = None) -> Section:
    """Return resolution, mask and solvent, with the curves and the Guinier fit's figure.

    ``marks`` names shells, such as where spectral trailing ends references.
    """
    report = found.resolution
    curves = {
        "corrected": report.fsc.corrected,
        "masked": report.fsc.masked,
        "unmasked": report.fsc.unmasked,
        "phases random": report.fsc.phase_randomized,
        "solvent": found.fsc_solvent,
    }
    shades = {}
    spread = report.spread
    if spread is not None:
        shades["phases random"] = (spread.draws.amin(dim=0), spread.draws.amax(dim=0))
        shades["corrected"] = (
            spread.corrected_draws.amin(dim=0),
            spread.corrected_draws.amax(dim=0),
        )
    drawing = fsc_plot(
        curves,
        report.voxel_size,
        from_shell=report.fsc.randomized_from_shell,
        dashed=("phases random", "solvent"),
        shades=shades,
        marks=marks,
    )
    fitted = (
        f"B-factor of the Guinier fit {report.guinier.b_factor:.0f} Å² (R² "
        f"{report.guinier.r_squared:.2f})."
        if report.guinier is not None
        else "Too coarse to fit a B-factor."
    )
    return Section("Half-maps", found.checks, [drawing], [*_spread_lines(report), fitted])


def _spread_lines(report: ResolutionReport) -> list[str]:
    spread = report.spread
    if spread is None:
        return ["The unmasked FSC never falls below 0.8: no phases were randomized."]
    first = report.fsc.randomized_from_shell or 0
    return [
        f"Phases were randomized {len(spread.draws)} times and the curves averaged; shaded: all "
        f"draws. One draw alone would give {spread.finest:.2f} to {spread.coarsest:.2f} Å; its "
        f"curve scatters by {float(spread.deviation[first:].mean()):.3f}."
    ]


def directional_section(report: DirectionalReport) -> Section:
    """Return the family of conical curves and the cut-off over the sphere."""
    low, high = (report.curves.nan_to_num(nan=1.0).quantile(q, dim=0) for q in (0.0, 1.0))
    mean = report.curves.nanmean(dim=0)
    weakest = report.curves[int(report.cutoff_shell.argmin())]
    curves: dict[str, Spectrum | None] = {
        "mean of directions": mean,
        "weakest direction": weakest,
        "lowest": low,
        "highest": high,
    }
    both = torch.cat([report.directions, -report.directions]).tolist()
    shells = torch.cat([report.cutoff_shell, report.cutoff_shell]).tolist()
    return Section(
        "Directions",
        report.checks,
        [
            fsc_plot(curves, report.voxel_size, dashed=("lowest", "highest")),
            sphere_plot(both, shells, "cut-off frequency by direction; dark is finer"),
        ],
        ["Conical FSC of 20° half-angle."],
    )


def local_section(found: LocalResolution, checks: Sequence[Check] = ()) -> Section:
    """Return the histogram of the local resolution inside the mask."""
    values = found.resolution[found.inside].double().tolist()
    low, median, high = found.quantiles()
    note = (
        f"Inside the mask {median:.1f} Å in the median, 90 % of voxels from {low:.1f} to "
        f"{high:.1f} Å; windows of {found.window_voxels} voxels."
    )
    return Section("Local resolution", checks, [histogram(values, "local resolution in Å")], [note])


def model_section(report: ModelReport, built: Completeness | None = None) -> Section:
    """Return curves against the model, and the correlation along its residues."""
    curves: dict[str, Spectrum | None] = {
        "map": report.fsc.fsc_sum,
        "half 1": report.fsc.fsc_half1,
        "half 2": report.fsc.fsc_half2,
        "map, no mask": report.fsc.fsc_unmasked,
    }
    drawing = fsc_plot(
        curves,
        report.fsc.voxel_size,
        levels={"0.5": FSC_AGAINST_TRUTH},
        dashed=("map, no mask",),
    )
    correlation = report.residues.correlation.tolist()
    along = drawn(
        Plot(
            [Curve("residue", list(range(len(correlation))), correlation)],
            "residue, in the order of the file",
            "correlation",
            y_range=(-0.2, 1.0),
        )
    )
    chains = ", ".join(
        f"{name or '?'} {value:.2f}" for name, value in report.residues.chain_correlation.items()
    )
    notes = [f"Correlation by chain: {chains}."]
    drawings = [drawing, along]
    if report.q is not None and report.q_of_model is not None:
        drawings.append(_q_plot(report.q, report.q_of_model))
        notes.append(_q_line(report.q, report.q_of_model))
    if report.fsc.fit is not None:
        notes.append(
            f"The map is the model times {report.fsc.fit.scale:.3g} with a B-factor of "
            f"{report.fsc.fit.b_factor:+.0f} Å²."
        )
    if report.n_outside:
        notes.append(f"{report.n_outside} atoms lie outside the box and were left out.")
    if built is not None:
        notes.append(completeness_line(built))
    return Section("Atomic model", report.checks, drawings, notes)


def _q_plot(q: QScores, of_model: QScores) -> str:
    place = list(range(len(q.residue)))
    curves = [
        Curve("map", place, q.residue.tolist()),
        Curve("the model's own density", place, of_model.residue.tolist(), dashed=True),
    ]
    axis = "residue, in the order of the file"
    return drawn(Plot(curves, axis, "Q-score", y_range=(-0.2, 1.0)))


def _q_line(q: QScores, of_model: QScores) -> str:
    chains = ", ".join(f"{name or '?'} {value:.2f}" for name, value in q.chain.items())
    return (
        f"Q-score {q.mean:.2f} ({of_model.mean:.2f} for the model's own density at this "
        f"resolution); by chain: {chains}."
    )


def completeness_line(built: Completeness) -> str:
    """Return how much of the reference was built, in a sentence."""
    rmsd = f", {built.rmsd:.2f} Å apart" if isfinite(built.rmsd) else ""
    return (
        f"Model completeness {100 * built.fraction:.1f} %: {built.n_matched} of "
        f"{built.n_reference} residues have a built C-alpha within 3 Å{rmsd}."
    )


def verdict_section(
    title: str,
    verdict: OverfittingVerdict,
    voxel_size: float,
    *,
    more: dict[str, Spectrum | None] | None = None,
    checks: Sequence[Check] = (),
    notes: Sequence[str] = (),
    marks: dict[str, int] | None = None,
) -> Section:
    """Return both FSC families of a phase randomization, drawn together."""
    curves: dict[str, Spectrum | None] = {
        "FSC_t": verdict.fsc_t,
        "FSC_n": verdict.fsc_n,
        "FSC_true": verdict.fsc_true,
        **(more or {}),
    }
    drawing = fsc_plot(
        curves,
        voxel_size,
        from_shell=verdict.from_shell,
        dashed=("FSC_n", *(more or {})),
        marks=marks,
    )
    return Section(title, [verdict.check, *checks], [drawing], notes)


def angles_section(
    views: AngularDistribution,
    poses: PoseCertainty | None = None,
    trend: Check | None = None,
    history: Sequence[float] = (),
    likelihoods: Sequence[float] = (),
) -> Section:
    """Return views over the sphere, p_max of particles, and the course of the iterations."""
    checks = list(views.checks)
    drawings = [
        sphere_plot(
            views.directions.tolist(), views.counts.double().tolist(), "viewing directions"
        ),
        sphere_plot(
            views.directions.tolist(), views.sampling.tolist(), "how Fourier space is filled"
        ),
    ]
    if poses is not None:
        checks += poses.checks
        drawings.append(histogram(poses.p_max.double().tolist(), "p_max of a particle"))
    if trend is not None:
        checks.append(trend)
    if len(history) > 1:
        line = Curve("average p_max", list(range(1, len(history) + 1)), list(history))
        drawings.append(drawn(Plot([line], "iteration", "p_max", y_range=(0.0, 1.0))))
    if len(likelihoods) > 1:
        line = Curve("median", list(range(1, len(likelihoods) + 1)), list(likelihoods))
        span = min(likelihoods), max(likelihoods)
        room = 0.05 * (span[1] - span[0]) or 1.0
        y_range = (span[0] - room, span[1] + room)
        drawings.append(drawn(Plot([line], "iteration", "log-likelihood", y_range=y_range)))
    notes = [f"{views.n_particles} particles."]
    return Section("Views and poses", checks, drawings, notes)
