r"""From where a particle was seen, what that leaves unseen, and how sure each pose is.

A view along ``v`` fills the plane of Fourier space perpendicular to ``v``. How densely a direction
``f`` is filled, relative to uniform views, is :math:`S(f)`; noise in the map goes with
:math:`1 / S`, and the *efficiency* :math:`1 / \langle 1/S \rangle` is the fraction of particles
that would have done, seen from everywhere [1]_: 1 for uniform views, :math:`8/\pi^2 = 0.81` for
side views alone, 0 where a direction is never filled.

References
----------
.. [1] Baldwin & Lyumkis (2020), Prog. Biophys. Mol. Biol. 150, 160 (sampling compensation factor).
"""

from dataclasses import dataclass
from math import sqrt

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from napari_blush.errors import SettingsError
from napari_blush.numerics.healpix import pixel_directions
from napari_blush.validation.lights import Check, Light, light_of

_EFFICIENCY = (0.5, 0.25)
"""Twice and four times the particles are needed below."""

_UNSEEN = (0.01, 0.05)
_SLAB = 0.06
"""Half thickness of the plane that a view fills, as the sine of an angle (3.4 degrees)."""

_AT_A_TIME = 5_000
_P_MAX = (0.1, 0.03)
_OUTLIER_SIGMAS = 4.0
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True)
class AngularDistribution:
    """Views of particles.

    Parameters
    ----------
    directions : (p, 3) float64
        Middles of the HEALPix pixels, (x, y, z).
    counts : (p,) int64
        Particles whose viewing direction lies nearest to each; symmetry mates count apart and the
        total is the number of particles times that of the operators.
    sampling : (d,) float64
        Relative density of Fourier directions ``directions[d]``, mean 1.
    efficiency : float
        0 to 1.
    unseen : float
        Fraction of directions that no view fills.
    n_particles : int
    checks : tuple of Check
    """

    directions: Float[Tensor, "p 3"]
    counts: Int64[Tensor, " p"]
    sampling: Float[Tensor, " p"]
    efficiency: float
    unseen: float
    n_particles: int
    checks: tuple[Check, ...]


def angular_distribution(
    rotations: Float[Tensor, "n 3 3"],
    operators: Float[Tensor, "g 3 3"] | None = None,
    *,
    healpix_order: int = 3,
) -> AngularDistribution:
    """Count views, and find out how evenly they fill Fourier space.

    Parameters
    ----------
    rotations : (n, 3, 3)
        Image frame to volume frame; the view is the third column.
    operators : (g, 3, 3), optional
        Of the point group; each particle is seen from all its mates.
    healpix_order : int
        768 pixels of 7.3 degrees for 3.

    Returns
    -------
    AngularDistribution

    Raises
    ------
    SettingsError
        When there is no particle.
    """
    n = len(rotations)
    if n == 0:
        raise SettingsError("Given no poses; wanted at least one; check the particles.")
    views = rotations[:, :, 2].double()
    if operators is not None:
        views = torch.einsum("gij,nj->gni", operators.double(), views).reshape(-1, 3)
    directions = pixel_directions(healpix_order).double()
    counts = torch.zeros(len(directions), dtype=torch.int64)
    filled = torch.zeros(len(directions), dtype=torch.float64)
    for part in torch.split(views, _AT_A_TIME):
        cosine = part.float() @ directions.T.float()
        counts += torch.bincount(cosine.argmax(dim=1), minlength=len(directions))
        filled += (cosine.abs() < _SLAB).double().sum(dim=0)
    unseen = float((filled == 0).double().mean())
    sampling = filled / (len(views) * _SLAB)  # a uniform view fills a direction with this chance
    sampling = sampling / sampling.mean().clamp(min=1e-12)
    efficiency = 0.0 if unseen > 0 else float(1 / (1 / sampling).mean())
    return AngularDistribution(
        directions, counts, sampling, efficiency, unseen, n, _view_checks(efficiency, unseen)
    )


def _view_checks(efficiency: float, unseen: float) -> tuple[Check, ...]:
    light = light_of(efficiency, yellow=_EFFICIENCY[0], red=_EFFICIENCY[1])
    text = {
        Light.GREEN: "Views fill Fourier space evenly enough.",
        Light.YELLOW: "Preferred views: twice the particles are needed that even views would.",
        Light.RED: "Strongly preferred views: the map is stretched; tilt the stage or change the "
        "grids, or use the map with care along the unseen directions.",
    }
    gap = light_of(unseen, yellow=_UNSEEN[0], red=_UNSEEN[1])
    gap_text = {
        Light.GREEN: "No direction of Fourier space is empty.",
        Light.YELLOW: "A few directions of Fourier space are empty.",
        Light.RED: "A part of Fourier space is empty: views are missing.",
    }
    return (
        Check("efficiency of views", f"{efficiency:.2f}", light, text[light]),
        Check("empty directions", f"{100 * unseen:.1f} %", gap, gap_text[gap]),
    )


@dataclass(frozen=True, slots=True)
class PoseCertainty:
    """How sure poses are, and which particles do not agree with the map.

    Parameters
    ----------
    p_max : (n,) float64
        Highest posterior probability of a pose.
    log_likelihood : (n,) float64 or None
    outliers : (n,) bool
        Log-likelihood more than four robust deviations below the median of the particle's group.
    checks : tuple of Check
    """

    p_max: Float[Tensor, " n"]
    log_likelihood: Float[Tensor, " n"] | None
    outliers: Bool[Tensor, " n"]
    checks: tuple[Check, ...]


def pose_certainty(
    p_max: Float[Tensor, " n"],
    log_likelihood: Float[Tensor, " n"] | None = None,
    group: Int64[Tensor, " n"] | None = None,
) -> PoseCertainty:
    """Judge how sharp posteriors are, and find particles that fit badly.

    Parameters
    ----------
    p_max : (n,)
    log_likelihood : (n,), optional
    group : (n,), optional
        Particles whose likelihoods can be compared: a micrograph, or an optics group.

    Notes
    -----
    The deviation is 1.4826 times the median absolute deviation. Of a Gaussian, 3 in 100,000 are
    called outliers.
    """
    outliers = torch.zeros(len(p_max), dtype=torch.bool)
    if log_likelihood is not None:
        where = torch.zeros(len(p_max), dtype=torch.int64) if group is None else group
        for one in torch.unique(where).tolist():
            members = where == one
            values = log_likelihood[members]
            middle = values.median()
            sigma = _MAD_TO_SIGMA * (values - middle).abs().median()
            outliers[members] = values < middle - _OUTLIER_SIGMAS * sigma
    median = float(p_max.double().median())
    light = light_of(median, yellow=_P_MAX[0], red=_P_MAX[1])
    text = {
        Light.GREEN: "Most poses are told apart from their neighbors.",
        Light.YELLOW: "Poses are spread over many orientations: few features to align to.",
        Light.RED: "Poses are hardly determined: the map may follow its start.",
    }
    checks = [Check("p_max, median", f"{median:.2f}", light, text[light])]
    if log_likelihood is not None:
        share = float(outliers.double().mean())
        light = light_of(share, yellow=0.05, red=0.2)
        sentence = (
            f"{int(outliers.sum())} of {len(p_max)} particles fit far worse than their group"
            + ("." if light is Light.GREEN else ": look at them, and leave them out.")
        )
        checks.append(Check("particles that disagree", f"{100 * share:.1f} %", light, sentence))
    return PoseCertainty(p_max, log_likelihood, outliers, tuple(checks))


def trend_check(average_p_max: list[float]) -> Check | None:
    """Judge p_max over iterations of the same sampling; None for fewer than three.

    A finer sampling shares the posterior among more poses, so that only iterations that searched
    alike can be compared; a last value far below the highest of their second half says that the
    run lost what it had.
    """
    if len(average_p_max) < 3:
        return None
    best, last = max(average_p_max[len(average_p_max) // 2 :]), average_p_max[-1]
    light = light_of(last / best if best > 0 else 0.0, yellow=0.6, red=0.3)
    text = {
        Light.GREEN: "Poses grew sharper, or stayed as sharp as they were.",
        Light.YELLOW: "Poses grew less sharp towards the end.",
        Light.RED: "Poses lost their sharpness towards the end: the run may have drifted.",
    }
    value = f"{average_p_max[0]:.2f} to {last:.2f}"
    return Check("p_max over the run", value, light, text[light])


def uniform_expectation(n_views: int, n_pixels: int) -> tuple[float, float]:
    """Return mean and standard deviation of the count of a pixel for uniform views."""
    chance = 1 / n_pixels
    return n_views * chance, sqrt(n_views * chance * (1 - chance))
