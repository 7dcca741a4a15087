"""How certain each particle's pose was, iteration by iteration, and whether it has come to rest."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.errors import SettingsError
from napari_blush.validation.lights import Check, Light, light_of
from napari_blush.validation.report_page import Curve, Plot, drawn, histogram

QUANTILES = (0.05, 0.5, 0.95)
JUMP = 15.0
"""Degrees: what turns farther has another pose, not a finer one."""

_JUMPING = (0.1, 0.3)
_AT_A_TIME = 5_000


@dataclass(frozen=True, slots=True)
class ParticleCourse:
    """Particles over the iterations of a run.

    Parameters
    ----------
    iterations : tuple of int
    p_max : (k, 3) float64
        5 %, 50 % and 95 % of the particles lie below.
    log_likelihood : (k, 3) float64 or None
        Likewise; comparable where iterations compare as many coefficients.
    outlier_log_likelihood : (k,) float64 or None
        Median of the particles that disagree in the end.
    n_significant : (k, 3) float64 or None
        Poses that hold nearly all of a particle's posterior.
    turned_deg : (n,) float64 or None
        How far each particle turned in the last iteration, by the nearest symmetry mate.
    checks : tuple of Check
    """

    iterations: tuple[int, ...]
    p_max: Float[Tensor, "k 3"]
    log_likelihood: Float[Tensor, "k 3"] | None
    outlier_log_likelihood: Float[Tensor, " k"] | None
    n_significant: Float[Tensor, "k 3"] | None
    turned_deg: Float[Tensor, " n"] | None
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class ParticleState:
    """Particles after one iteration, rows alike in all iterations.

    Parameters
    ----------
    iteration : int
    p_max : (n,)
    log_likelihood, n_significant : (n,) or None
    rotations : (n, 3, 3)
    """

    iteration: int
    p_max: Tensor
    log_likelihood: Tensor | None
    n_significant: Tensor | None
    rotations: Tensor


def particle_course(
    states: Sequence[ParticleState], operators: Tensor, outliers: Tensor | None = None
) -> ParticleCourse:
    """Follow particles over iterations.

    Parameters
    ----------
    states : sequence of ParticleState
        In order, one at least.
    operators : (g, 3, 3)
        Of the point group.
    outliers : (n,) bool, optional
        Particles that are followed apart.

    Raises
    ------
    SettingsError
        When there is none, or the number of particles changes.
    """
    counts = {len(state.p_max) for state in states}
    if len(counts) != 1:
        raise SettingsError(
            f"Given iterations of {sorted(counts)} particles; wanted the same in each, and one "
            "iteration at least; give the folder of one run."
        )
    likelihoods = [state.log_likelihood for state in states if state.log_likelihood is not None]
    significant = [state.n_significant for state in states if state.n_significant is not None]
    has_likelihood = len(likelihoods) == len(states)
    apart = None
    if has_likelihood and outliers is not None and bool(outliers.any()):
        apart = torch.stack([each.double()[outliers].median() for each in likelihoods])
    turned = None
    if len(states) > 1:
        turned = turned_by(states[-2].rotations, states[-1].rotations, operators)
    return ParticleCourse(
        iterations=tuple(state.iteration for state in states),
        p_max=_quantiles([state.p_max for state in states]),
        log_likelihood=_quantiles(likelihoods) if has_likelihood else None,
        outlier_log_likelihood=apart,
        n_significant=_quantiles(significant) if len(significant) == len(states) else None,
        turned_deg=turned,
        checks=() if turned is None else (_rest_check(turned),),
    )


def turned_by(before: Tensor, after: Tensor, operators: Tensor) -> Float[Tensor, " n"]:
    """Return the angle in degrees between poses, the nearest of the symmetry mates taken.

    Parameters
    ----------
    before, after : (n, 3, 3)
        Image frame to volume frame.
    operators : (g, 3, 3)
    """
    found = []
    for start in range(0, len(before), _AT_A_TIME):
        part = slice(start, start + _AT_A_TIME)
        mates = torch.einsum("gij,njk->gnik", operators.double(), after[part].double())
        trace = torch.einsum("nik,gnik->gn", before[part].double(), mates)
        found.append(((trace.amax(dim=0) - 1) / 2).clamp(-1, 1).arccos().rad2deg())
    return torch.cat(found) if found else before.new_zeros(0).double()


def _rest_check(turned: Tensor) -> Check:
    share = float((turned > JUMP).double().mean())
    light = light_of(share, yellow=_JUMPING[0], red=_JUMPING[1])
    text = {
        Light.GREEN: "Poses have come to rest.",
        Light.YELLOW: "Some particles still change their pose: more iterations, or leave them out.",
        Light.RED: "Many particles still change their pose: the run has not ended, or their poses "
        "are chance.",
    }[light]
    text = f"{text} Half turned by less than {float(turned.median()):.2g} degrees at the end."
    return Check(f"turned by more than {JUMP:g} degrees", f"{100 * share:.1f} %", light, text)


def _quantiles(values: Sequence[Tensor]) -> Float[Tensor, "k 3"]:
    levels = torch.tensor(QUANTILES, dtype=torch.float64)
    # torch.quantile takes 16 million values at most; sorting takes any number.
    rows = []
    for each in values:
        ordered = each.double().sort().values
        rows.append(ordered[(levels * (len(ordered) - 1)).round().long()])
    return torch.stack(rows)


def course_drawings(course: ParticleCourse) -> list[str]:
    """Return the course of p_max, likelihood and sharpness, and the last turns, as SVG."""
    if len(course.iterations) < 2:
        return []
    drawings = [_drawn("p_max", course.iterations, course.p_max, (0.0, 1.0))]
    if course.log_likelihood is not None:
        apart = course.outlier_log_likelihood
        known = [course.log_likelihood] if apart is None else [course.log_likelihood, apart]
        low = min(float(each.min()) for each in known)
        high = max(float(each.max()) for each in known)
        room = 0.05 * (high - low) or 1.0
        more = [] if apart is None else [("those that disagree", apart)]
        drawings.append(
            _drawn(
                "log-likelihood",
                course.iterations,
                course.log_likelihood,
                (low - room, high + room),
                more,
            )
        )
    if course.n_significant is not None:
        sharp = course.n_significant.clamp(min=1).log10()
        top = max(1.0, float(sharp.max()))
        drawings.append(_drawn("log10 of significant poses", course.iterations, sharp, (0.0, top)))
    if course.turned_deg is not None:
        drawings.append(histogram(course.turned_deg.tolist(), "degrees turned at the end"))
    return drawings


def _drawn(
    label: str,
    iterations: Sequence[int],
    rows: Tensor,
    y_range: tuple[float, float],
    more: Sequence[tuple[str, Tensor]] = (),
) -> str:
    low, middle, high = rows.T.tolist()
    curves = [Curve("median, and 90 % of particles", iterations, middle, low=low, high=high)]
    curves += [Curve(name, iterations, values.tolist(), dashed=True) for name, values in more]
    return drawn(Plot(curves, "iteration", label, y_range=y_range))
