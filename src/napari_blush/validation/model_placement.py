"""Whether a map has the size and the hand of a model: wrong pixel sizes and mirror images.

The model is laid out anew at each magnification and slid over the map; only phases decide, shells
being brought to unit power first, so that neither B-factors nor sharpening matter.
"""

from collections.abc import Generator
from dataclasses import dataclass
from math import ceil

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.numerics.fft import fourier_resize_transform, irfftn_centered, rfftn_centered
from napari_blush.numerics.shells import resolution_to_shell, shell_mean, spectrum_to_grid
from napari_blush.stepwise import result_of
from napari_blush.validation.model_density import PlacedModel

_MAGNIFICATIONS = torch.linspace(0.95, 1.05, 11, dtype=torch.float64)
_MIRRORS = ((0,), (1,), (2,), (0, 1, 2))
"""Axes turned over; any other mirror image is one of these after a rotation."""


_ROOM = 1.15
"""Grids reach so much beyond the last shell that is looked at."""


@dataclass(frozen=True, slots=True)
class Placement:
    """How a model fits when it may be scaled, slid and mirrored.

    Parameters
    ----------
    correlation : float
        Of the phases as they are, in [-1, 1], at the best shift.
    magnification : float
        Size of the particle in the map by that of the model: 1.02 says that the voxel size is given
        2 % too large.
    magnification_is_inside : bool
        Whether the best one lies inside the 5 % that were searched.
    mirrored_correlation : float
        That of the best mirror image of the map.
    shift_angstrom : float
        Length of the best shift at magnification 1.
    """

    correlation: float
    magnification: float
    magnification_is_inside: bool
    mirrored_correlation: float
    shift_angstrom: float


def placement(
    volume: Volume,
    placed: PlacedModel,
    voxel_size: float,
    resolution: float,
    *,
    mask: Volume | None = None,
) -> Placement:
    """Look for a better magnification, and for the other hand.

    Parameters
    ----------
    volume : (n, n, n)
    placed : PlacedModel
    voxel_size : float
        Angstrom.
    resolution : float
        Angstrom; what is finer is not looked at.
    mask : (n, n, n), optional
        Multiplies the map; wide enough to hold the particle at any magnification.

    Returns
    -------
    Placement

    Notes
    -----
    The magnification is refined by a parabola through the best of 11 and its neighbors.
    """
    return result_of(placement_steps(volume, placed, voxel_size, resolution, mask=mask))


def placement_steps(
    volume: Volume,
    placed: PlacedModel,
    voxel_size: float,
    resolution: float,
    *,
    mask: Volume | None = None,
) -> Generator[float, None, Placement]:
    """Do what ``placement`` does, with the fraction done before each comparison."""
    parts = 2 + len(_MAGNIFICATIONS) + len(_MIRRORS)
    yield 0.0
    whole = int(volume.shape[-1])
    last = min(whole // 2, max(4, round(resolution_to_shell(resolution, whole, voxel_size))))
    # Nothing beyond `last` is looked at: what is computed at each magnification fits that.
    n = min(whole, 2 * ceil(_ROOM * last))
    fine = min(2 * whole, 4 * ceil(_ROOM * last))
    voxel_size *= whole / n

    def phases_of(given: Tensor) -> Tensor:
        return _phases(fourier_resize_transform(rfftn_centered(given), whole, n, 3), n, last)

    seen = phases_of(volume if mask is None else volume * mask)
    middle = placed.positions.mean(dim=0)

    def model(magnification: float) -> Tensor:
        scaled = middle + magnification * (placed.positions - middle)
        return _phases(_points(scaled, _weights(placed), n, fine, voxel_size), n, last)

    scores: list[float] = []
    for magnification in _MAGNIFICATIONS:
        yield (1 + len(scores)) / parts
        scores.append(_best(seen, model(float(magnification)), n)[0])
    best = int(torch.tensor(scores).argmax())
    inside = 0 < best < len(scores) - 1
    yield (1 + len(scores)) / parts
    upright = model(1.0)
    correlation, shift = _best(seen, upright, n)
    mirrored: list[float] = []
    for axes in _MIRRORS:
        yield (2 + len(scores) + len(mirrored)) / parts
        turned = phases_of(_mirror(volume, axes))
        mirrored.append(_best(turned, upright, n)[0])
    return Placement(
        correlation=correlation,
        magnification=_vertex(scores, best) if inside else float(_MAGNIFICATIONS[best]),
        magnification_is_inside=inside,
        mirrored_correlation=max(mirrored),
        shift_angstrom=shift * voxel_size,
    )


def _weights(placed: PlacedModel) -> Float[Tensor, " m"]:
    """Return occupancy times atomic number: form factors of atoms are alike but for these."""
    atoms, inside = placed.atoms, placed.inside
    return atoms.occupancy[inside] * atoms.atomic_number[inside].double()


def _points(
    positions: Tensor, weights: Tensor, n: int, fine: int, voxel_size: float
) -> Complex[Tensor, "..."]:
    """Return the transform of weighted points, shared among eight voxels of a ``fine`` grid.

    The sharing damps by ``sinc^2`` along each axis, alike enough within a shell to cancel.
    """
    at = positions * fine / (n * voxel_size)
    low = at.floor().long()
    rest = at - low
    grid = torch.zeros(fine**3, dtype=torch.float64)
    for corner in torch.cartesian_prod(*[torch.arange(2)] * 3):
        share = torch.where(corner.bool(), rest, 1 - rest).prod(dim=1)
        x, y, z = ((low + corner) % fine).unbind(dim=1)
        grid.index_add_(0, (z * fine + y) * fine + x, share * weights)
    transform = rfftn_centered(grid.reshape(fine, fine, fine).float())
    return fourier_resize_transform(transform, fine, n, 3)


def _phases(transform: Tensor, n: int, last: int) -> Tensor:
    """Return a transform with unit power in shells 1 to ``last`` and nothing else."""
    power = shell_mean(transform.abs() ** 2, n, 3)
    weight = torch.where(power > 0, power.clamp(min=torch.finfo(power.dtype).tiny) ** -0.5, 0.0)
    weight[0] = 0
    weight[last + 1 :] = 0
    return transform * spectrum_to_grid(weight, n, 3)


def _best(seen: Tensor, model: Tensor, n: int) -> tuple[float, float]:
    """Return the highest correlation over all shifts, and the length of that shift in voxels."""
    power = irfftn_centered(seen * seen.conj(), n)[n // 2, n // 2, n // 2]
    scores = irfftn_centered(seen * model.conj(), n) / power
    place = int(scores.argmax())
    shift = torch.tensor([place // n**2, place // n % n, place % n]) - n // 2
    return float(scores.flatten()[place]), float(shift.double().norm())


def _mirror(volume: Volume, axes: tuple[int, ...]) -> Volume:
    """Turn axes over about voxel ``n // 2``."""
    return volume.flip(axes).roll([1] * len(axes), axes)


def _vertex(scores: list[float], best: int) -> float:
    below, at, above = scores[best - 1 : best + 2]
    curvature = below - 2 * at + above
    offset = 0.5 * (below - above) / curvature if curvature else 0.0
    step = float(_MAGNIFICATIONS[1] - _MAGNIFICATIONS[0])
    return float(_MAGNIFICATIONS[best]) + offset * step
