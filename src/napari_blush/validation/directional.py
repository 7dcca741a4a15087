r"""Half-map FSC direction by direction: conical curves, their spread, and a figure for it.

Around each direction of a HEALPix grid lies a double cone of half-angle 20 degrees; the FSC over
the coefficients inside it is what the half-maps agree on along that direction [1]_. Cones hold few
coefficients, so curves are averaged over three shells before they are asked where they end.

* ``area_ratio``: area under the weakest conical curve by that under the strongest, each up to where
  it first falls below 0.143: 1 when all directions are alike, 0 when one is empty. The idea is that
  of CryoSPARC's cFAR.
* ``sphericity``: of the surface that the cut-off frequency draws over the directions: the area of
  a sphere of the same volume by its own, :math:`\pi^{1/3} (6V)^{2/3} / A` [1]_.

References
----------
.. [1] Tan et al. (2017), Nat. Methods 14, 793.
"""

from collections.abc import Generator
from dataclasses import dataclass
from math import degrees, pi, radians

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import ConvexHull
from torch import Tensor

from napari_blush.conventions import FSC_GOLD_STANDARD, Volume
from napari_blush.numerics.fft import half_spectrum_multiplicity, rfftn_centered
from napari_blush.numerics.healpix import pixel_directions
from napari_blush.numerics.shells import shell_index_grid, shell_to_resolution
from napari_blush.stepwise import result_of
from napari_blush.validation.lights import Check, Light, light_of

CONE_HALF_ANGLE = 20.0
"""Degrees."""

_AREA_RATIO = (0.7, 0.5)
"""Below 0.5 CryoSPARC's guide calls a map anisotropic; uniform views of a globule reach 0.9."""

_SPHERICITY = (0.93, 0.85)
"""That of ellipsoids twice (0.929) and three times (0.846) as long as they are wide."""


@dataclass(frozen=True, slots=True)
class DirectionalReport:
    """Conical FSC of two half-maps.

    Parameters
    ----------
    directions : (d, 3) float64
        Unit vectors (x, y, z), one of each opposite pair.
    curves : (d, n // 2 + 1) float32
        NaN where a cone holds no coefficient of a shell.
    cutoff_shell : (d,) float64
        Where each averaged curve first falls to 0.143, interpolated between shells.
    resolution : (d,) float64
        The same in angstrom.
    area_ratio, sphericity : float
        See the module; NaN where no direction has any resolution.
    voxel_size : float
        Angstrom.
    checks : tuple of Check
    """

    directions: Float[Tensor, "d 3"]
    curves: Float[Tensor, "d shells"]
    cutoff_shell: Float[Tensor, " d"]
    resolution: Float[Tensor, " d"]
    area_ratio: float
    sphericity: float
    voxel_size: float
    checks: tuple[Check, ...]

    @property
    def weakest(self) -> tuple[float, float, float]:
        """The direction (x, y, z) of the lowest cut-off."""
        x, y, z = self.directions[int(self.cutoff_shell.argmin())].tolist()
        return x, y, z


def directional_report(
    half1: Volume,
    half2: Volume,
    voxel_size: float,
    *,
    mask: Volume | None = None,
    healpix_order: int = 1,
) -> DirectionalReport:
    """Compare two half-maps along directions.

    Parameters
    ----------
    half1, half2 : (n, n, n)
        Unfiltered.
    voxel_size : float
        Angstrom.
    mask : (n, n, n), optional
        A mask that is longer one way makes coefficients correlate across it: a sphere or a mask
        without a long axis is best, and none is safe.
    healpix_order : int
        48, 192, 768 directions (half of them are compared) for 1, 2, 3.

    Returns
    -------
    DirectionalReport
    """
    return result_of(
        directional_report_steps(half1, half2, voxel_size, mask=mask, healpix_order=healpix_order)
    )


def directional_report_steps(
    half1: Volume,
    half2: Volume,
    voxel_size: float,
    *,
    mask: Volume | None = None,
    healpix_order: int = 1,
) -> Generator[float, None, DirectionalReport]:
    """Do what ``directional_report`` does, with the fraction done before each direction."""
    if mask is not None:
        half1, half2 = half1 * mask, half2 * mask
    n = int(half1.shape[-1])
    directions = _hemisphere(healpix_order)
    curves = yield from conical_fsc_steps(half1, half2, directions)
    smooth = _averaged(curves)
    cutoff = cutoff_shells(smooth)
    area_ratio, roundness = _area_ratio(smooth), sphericity(directions, cutoff)
    resolution = torch.tensor(
        [shell_to_resolution(shell, n, voxel_size) for shell in cutoff.tolist()]
    ).double()
    return DirectionalReport(
        directions=directions,
        curves=curves,
        cutoff_shell=cutoff,
        resolution=resolution,
        area_ratio=area_ratio,
        sphericity=roundness,
        voxel_size=voxel_size,
        checks=_checks(directions, resolution, area_ratio, roundness),
    )


def conical_fsc(
    half1: Volume,
    half2: Volume,
    directions: Float[Tensor, "d 3"],
    *,
    half_angle: float = CONE_HALF_ANGLE,
) -> Float[Tensor, "d shells"]:
    """Correlate two maps shell by shell inside double cones.

    Parameters
    ----------
    half1, half2 : (n, n, n)
    directions : (d, 3)
        Axes of the cones, unit vectors (x, y, z).
    half_angle : float
        Degrees, up to 90.

    Returns
    -------
    (d, n // 2 + 1) float32
        Shell 0 is 1; NaN where a cone holds no coefficient, 0 where they have no power.

    Notes
    -----
    Every coefficient of the full transform counts once. Coarse shells have few coefficients in a
    cone: at 20 degrees 6 % of them.
    """
    return result_of(conical_fsc_steps(half1, half2, directions, half_angle=half_angle))


def conical_fsc_steps(
    half1: Volume,
    half2: Volume,
    directions: Float[Tensor, "d 3"],
    *,
    half_angle: float = CONE_HALF_ANGLE,
) -> Generator[float, None, Float[Tensor, "d shells"]]:
    """Do what ``conical_fsc`` does, with the fraction done before each direction."""
    yield 0.0
    n = int(half1.shape[-1])
    a, b = rfftn_centered(half1), rfftn_centered(half2)
    shells = shell_index_grid(n, 3, half1.device).flatten()
    kept = ((shells >= 1) & (shells <= n // 2)).nonzero().flatten()
    shells = shells[kept]
    multiplicity = half_spectrum_multiplicity(n, half1.device).expand(n, n, -1).flatten()[kept]
    terms = torch.stack(
        [a.real * b.real + a.imag * b.imag, a.abs() ** 2, b.abs() ** 2, torch.ones_like(a.real)]
    )
    terms = terms.reshape(4, -1)[:, kept] * multiplicity
    unit = _unit_frequencies(n, half1.device)[kept]
    limit = float(np.cos(radians(half_angle))) - 1e-6
    curves = torch.ones(len(directions), n // 2 + 1)
    for i, direction in enumerate(directions.to(unit)):
        yield i / len(directions)
        inside = ((unit @ direction).abs() >= limit).nonzero().flatten()
        sums = terms.new_zeros(4, n // 2 + 1).index_add_(1, shells[inside], terms[:, inside])
        norm = sums[1].sqrt() * sums[2].sqrt()
        curve = torch.where(norm > 0, sums[0] / norm.clamp(min=1e-30), 0.0)
        curves[i, 1:] = torch.where(sums[3] > 0, curve, torch.nan)[1:].cpu()
    return curves


def cutoff_shells(
    curves: Float[Tensor, "d shells"], threshold: float = FSC_GOLD_STANDARD
) -> Float[Tensor, " d"]:
    """Return where each curve first falls to a threshold, interpolated between shells.

    The last shell where it never does, 0 where shell 1 is below; NaN counts as not yet below.
    """
    last = curves.shape[-1] - 1
    filled = curves.double().nan_to_num(nan=1.0)
    below = filled < threshold
    below[:, 0] = False
    first = torch.where(below.any(dim=1), below.double().argmax(dim=1), last)
    at = filled.gather(1, first[:, None])[:, 0]
    before = filled.gather(1, (first - 1).clamp(min=0)[:, None])[:, 0]
    fraction = ((before - threshold) / (before - at).clamp(min=1e-12)).clamp(0, 1)
    cutoff = torch.where(below.any(dim=1), first - 1 + fraction, torch.full_like(at, last))
    return torch.where(below[:, 1], torch.zeros_like(cutoff), cutoff)


def sphericity(directions: Float[Tensor, "d 3"], radii: Float[Tensor, " d"]) -> float:
    """Return the sphericity of a surface that is given by its distance along directions.

    Parameters
    ----------
    directions : (d, 3)
        Unit vectors, one of each opposite pair; the surface is the same along both.
    radii : (d,)
        Distance from the origin, any unit.

    Returns
    -------
    float
        In (0, 1]: exactly 1 when all radii are the same, because the figure is divided by that of
        the polyhedron of the directions themselves; NaN when all are 0.
    """
    both = torch.cat([directions, -directions]).double().cpu().numpy()
    radius = torch.cat([radii, radii]).double().cpu().numpy()
    triangles = ConvexHull(both).simplices
    round_one = _isoperimetric(both[triangles])
    return _isoperimetric((both * radius[:, None])[triangles]) / round_one


def _isoperimetric(corners: np.ndarray) -> float:
    first, second, third = corners.transpose(1, 0, 2)
    volume = np.abs(np.einsum("ij,ij->i", first, np.cross(second, third))).sum() / 6
    area = np.linalg.norm(np.cross(second - first, third - first), axis=1).sum() / 2
    return float(pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area) if area > 0 else float("nan")


def _averaged(curves: Tensor) -> Tensor:
    """Return the running mean over three shells; shell 0 says nothing and is left out."""
    filled = curves.double().nan_to_num(nan=1.0)
    padded = torch.cat([filled[:, 1:2], filled[:, 1:], filled[:, -1:]], dim=1)
    mean = (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / 3
    return torch.cat([torch.ones_like(mean[:, :1]), mean], dim=1).float()


def _area_ratio(curves: Tensor) -> float:
    """Return the least area under a curve, as far as it counts, by the greatest."""
    trusted = torch.cumprod((curves >= FSC_GOLD_STANDARD).double(), dim=1)
    area = (curves * trusted)[:, 1:].sum(dim=1)
    return float(area.min() / area.max()) if float(area.max()) > 0 else float("nan")


def _hemisphere(healpix_order: int) -> Tensor:
    """Return one of each pair of opposite directions of a HEALPix grid."""
    directions = pixel_directions(healpix_order).double()
    x, y, z = directions.unbind(dim=1)
    tiny = 1e-9
    upper = (z > tiny) | ((z.abs() <= tiny) & ((y > tiny) | ((y.abs() <= tiny) & (x > 0))))
    return directions[upper]


def _unit_frequencies(n: int, device: torch.device) -> Tensor:
    full = torch.fft.fftfreq(n, 1 / n, device=device)
    half = torch.arange(n // 2 + 1, device=device, dtype=full.dtype)
    z, y, x = torch.meshgrid(full, full, half, indexing="ij")
    frequency = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
    unit: Tensor = frequency / frequency.norm(dim=1, keepdim=True).clamp(min=1)
    return unit


def _checks(
    directions: Tensor, resolution: Tensor, area_ratio: float, roundness: float
) -> tuple[Check, ...]:
    x, y, z = directions[int(resolution.argmax())].tolist()
    tilt, turn = degrees(np.arccos(abs(z))), degrees(np.arctan2(y, x))
    best, worst = float(resolution.min()), float(resolution.max())
    where = f"from {best:.2f} A to {worst:.2f} A, worst along tilt {tilt:.0f}, rot {turn:.0f} deg"
    checks = []
    for name, value, (yellow, red) in (
        ("conical area ratio", area_ratio, _AREA_RATIO),
        ("sphericity", roundness, _SPHERICITY),
    ):
        light = light_of(value, yellow=yellow, red=red)
        sentence = {
            Light.GREEN: f"Alike along all directions: {where}.",
            Light.YELLOW: f"Somewhat uneven: {where}.",
            Light.RED: f"Uneven: {where}; views are missing, look at the angular distribution.",
        }[light]
        checks.append(Check(name, f"{value:.2f}", light, sentence))
    return tuple(checks)
