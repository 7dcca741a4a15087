"""Maps of slices that RELION accumulated: as they are, and Wiener-filtered.

Two recipes. ``relion`` is RELION's own reconstruction without gridding iterations, to the digit.
``release`` has the constants that the published Blush release uses on the same arrays: the floor
of the weight is added, the prior acts on every shell, and corners are left alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from napari_blush.conventions import Spectrum, Volume
from napari_blush.likelihood.reconstruction import MIN_REGULARIZED_SHELL, WEIGHT_FLOOR
from napari_blush.numerics.gridding import gridding_correction
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.padded_transform import padded_inverse

Recipe = Literal["relion", "release"]

LEAST_PRIOR = 1e-20  # release; RELION sets shells without signal power to zero as well
LEAST_WEIGHT = 1e-30
CORNER_EDGE_PX = 3.0  # of the sphere that fits the box (RELION)


@dataclass(frozen=True, slots=True)
class ExternalMaps:
    """Maps of one set of accumulated slices, ``(n, n, n)`` float32."""

    unfiltered: Volume
    wiener: Volume


def maps_of_sums(
    data: Complex[Tensor, "d d half_d"],
    weight: Float[Tensor, "d d half_d"],
    tau2: Spectrum,
    *,
    box_size: int,
    padding: int,
    recipe: Recipe = "relion",
) -> ExternalMaps:
    r"""Return both maps.

    :math:`n^2 F / \max(W, 10^{-3} \langle W \rangle)` and
    :math:`n^2 F / \max(W + 1 / (p^3 \tau^2), 10^{-3} \langle W \rangle)`, or with the floor added
    (``release``).

    Parameters
    ----------
    data, weight
        ``(2 c + 1, 2 c + 1, c + 1)``, origin at ``(c, c, 0)``; of images whose transforms were
        divided by their number of pixels (RELION). Coefficients with ``|k| >= c + 1`` are left out.
    tau2
        ``(n // 2 + 1,)`` signal power, times RELION's fudge factor. Zero throughout stands for an
        unknown prior, which leaves both maps equal.
    box_size, padding
        ``n`` and ``p`` of the arrays.
    recipe
        ``relion``: shells are rounded, those below 5 have no prior, and the corners are set to
        their mean. ``release``: shells are cut to integers in the padded grid, and the prior runs
        along straight lines between shells.

    Notes
    -----
    Memory beside the arrays: one more complex array, and ``16 n^2 (c + 1)`` bytes.
    """
    radius = _Radius(data.shape[0] // 2)
    prior = 1 / (tau2.double().clamp(min=0) * padding**3 + LEAST_PRIOR)
    made: _Denominators
    if recipe == "relion":
        made = _Relion(weight, radius, prior, padding)
    else:
        made = _Release(weight, radius, prior, padding)

    def solved(denominator: Callable[[Tensor, Tensor], Tensor]) -> Volume:
        quotient = torch.empty_like(data)
        for z in range(data.shape[0]):
            distance = radius.of_plane(z)
            plane = data[z] / denominator(weight[z], distance).clamp(min=LEAST_WEIGHT)
            quotient[z] = torch.where(distance < radius.center + 1, plane, 0)
        volume = padded_inverse(quotient, box_size=box_size, padding=padding)
        if recipe == "relion":
            volume = _without_corners(volume)
        return volume * float(box_size) ** 2 / gridding_correction(box_size, padding)

    unfiltered = solved(made.unfiltered)
    if not bool((tau2 > 0).any()):
        return ExternalMaps(unfiltered, unfiltered.clone())
    return ExternalMaps(unfiltered, solved(made.wiener))


class _Radius:
    """Distances from the origin in padded voxels, plane by plane."""

    def __init__(self, center: int) -> None:
        self.center = center
        full = torch.arange(-center, center + 1, dtype=torch.float32).square()
        half = torch.arange(center + 1, dtype=torch.float32).square()
        self._plane = full[:, None] + half

    def of_plane(self, z: int) -> Tensor:
        return (self._plane + (z - self.center) ** 2).sqrt()


class _Denominators(Protocol):
    """What the data of a plane are divided by, given its weights and distances."""

    def unfiltered(self, weight: Tensor, distance: Tensor) -> Tensor: ...

    def wiener(self, weight: Tensor, distance: Tensor) -> Tensor: ...


class _Relion:
    """RELION's: a floor of a thousandth of the shell's mean, and the prior from shell 5 on."""

    def __init__(self, weight: Tensor, radius: _Radius, prior: Tensor, padding: int) -> None:
        self._padding = padding
        self._floor = WEIGHT_FLOOR * _mean_by(self._shell, weight, radius)
        self._prior = prior.clone()
        self._prior[:MIN_REGULARIZED_SHELL] = 0
        self._prior = self._prior.to(weight)

    def unfiltered(self, weight: Tensor, distance: Tensor) -> Tensor:
        return torch.maximum(weight, self._floor[self._shell(distance)])

    def wiener(self, weight: Tensor, distance: Tensor) -> Tensor:
        shell = self._shell(distance)
        prior = self._prior[shell.clamp(max=len(self._prior) - 1)]
        return torch.maximum(weight + prior, self._floor[shell])

    def _shell(self, distance: Tensor) -> Tensor:
        return (distance / self._padding + 0.5).long()


class _Release:
    """The release's: the floor added, the prior along straight lines."""

    def __init__(self, weight: Tensor, radius: _Radius, prior: Tensor, padding: int) -> None:
        self._floor = WEIGHT_FLOOR * _mean_by(Tensor.long, weight, radius)
        at = torch.arange(len(self._floor) + 1, dtype=torch.float64) / padding
        low = at.long().clamp(max=len(prior) - 1)
        high = (low + 1).clamp(max=len(prior) - 1)
        self._knots = torch.lerp(prior[low], prior[high], at - low).to(weight)

    def unfiltered(self, weight: Tensor, distance: Tensor) -> Tensor:
        return weight + self._floor[distance.long()]

    def wiener(self, weight: Tensor, distance: Tensor) -> Tensor:
        low = distance.long()
        return weight + torch.lerp(self._knots[low], self._knots[low + 1], distance - low)


def _mean_by(shell_of: Callable[[Tensor], Tensor], weight: Tensor, radius: _Radius) -> Tensor:
    """Return the mean weight of each shell, of what lies within ``c`` and could be filled."""
    # The corners of the cube have shells as well; theirs is the weight zero.
    total = torch.zeros(2 * radius.center + 2, dtype=torch.float64)
    count = torch.zeros_like(total)
    for z in range(weight.shape[0]):
        distance = radius.of_plane(z)
        inside = distance < radius.center + 1
        shell = shell_of(distance[inside])
        total.index_add_(0, shell, weight[z][inside].double())
        count += torch.bincount(shell, minlength=len(count))
    return (total / count.clamp(min=1)).to(weight)


def _without_corners(volume: Volume) -> Volume:
    """Set what is outside the sphere that fits the box to its mean, with a soft edge."""
    n = volume.shape[-1]
    inside = soft_sphere(n, n / 2, CORNER_EDGE_PX).to(volume)
    outside = 1 - inside
    return volume * inside + outside * (volume * outside).sum() / outside.sum()
