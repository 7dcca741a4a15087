"""What a denoiser changes, and whether it changes the same when asked in another way.

Three questions that need no truth: what happens when a denoised map is denoised again and again,
when the map lies otherwise on the network's grid of blocks, and when other weights are taken. Any
function from a map and its mask to a map can be asked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import Spectrum, Volume
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.fft import rfftn_centered
from napari_blush.numerics.sharpening import shell_amplitude
from napari_blush.numerics.shells import shell_sum

Denoise = Callable[[Volume, Volume], Volume]
"""From a map and the mask around its particle to the denoised map, on the same grid."""


@dataclass(frozen=True, slots=True)
class Move:
    """A movement of the grid onto itself that leaves voxel ``n // 2`` where it is.

    Parameters
    ----------
    name : str
    axes : (3,)
        Which axis of the map goes where (``torch.permute``).
    flipped : tuple of int
        Axes that are turned over afterwards.
    """

    name: str
    axes: tuple[int, int, int] = (0, 1, 2)
    flipped: tuple[int, ...] = ()

    def __call__(self, volume: Volume) -> Volume:
        """Return the moved map."""
        return _turned_over(volume.permute(self.axes), self.flipped)

    def undone(self, volume: Volume) -> Volume:
        """Return the map that was moved."""
        back = [self.axes.index(axis) for axis in range(3)]
        return _turned_over(volume, self.flipped).permute(back)


MOVES = (
    Move("90° about z", (0, 2, 1), (2,)),
    Move("90° about y", (2, 1, 0), (2,)),
    Move("90° about x", (1, 0, 2), (1,)),
    Move("120° about the diagonal", (1, 2, 0)),
    Move("mirrored z", flipped=(0,)),
    Move("mirrored y", flipped=(1,)),
    Move("mirrored x", flipped=(2,)),
    Move("inverted", flipped=(0, 1, 2)),
)
"""Eight movements; every axis of the block grid is exchanged and turned over at least once."""


def _turned_over(volume: Tensor, axes: tuple[int, ...]) -> Tensor:
    # The plane -n/2 of an even box has no mate; it stays, as it does in a transform.
    shift = 1 - volume.shape[-1] % 2
    return volume.flip(axes).roll([shift] * len(axes), axes) if axes else volume


@dataclass(frozen=True, slots=True)
class ShellChange:
    """What denoising changed of a map, each ``(n // 2 + 1,)``.

    Parameters
    ----------
    amplitude : Spectrum
        Root mean square amplitude, denoised by given.
    fsc : Spectrum
        Denoised with given.
    phase_deg : Spectrum
        Mean change of phase, weighted by both amplitudes; 90 where phases are chance.
    """

    amplitude: Spectrum
    fsc: Spectrum
    phase_deg: Spectrum


def shell_change(given: Volume, denoised: Volume) -> ShellChange:
    """Compare a map with its denoised copy shell by shell."""
    before = shell_amplitude(given)
    ratio = shell_amplitude(denoised) / before.clamp(min=torch.finfo(before.dtype).tiny)
    product = rfftn_centered(denoised) * rfftn_centered(given).conj()
    weight, n = product.abs(), given.shape[-1]
    total = shell_sum(weight, n, 3)
    turned = shell_sum(weight * product.angle().abs(), n, 3)
    # Where nothing is left there is no phase; it says as little as chance.
    phase = torch.where(total > 0, turned / total.clamp(min=1e-30), torch.pi / 2)
    return ShellChange(ratio, fourier_shell_correlation(given, denoised), phase.rad2deg())


@dataclass(frozen=True, slots=True)
class Recycling:
    """A map denoised again and again.

    Parameters
    ----------
    power, solvent_power : (times,)
        Inside and outside the mask after each pass, by that of the given map there.
    fsc : (times, n // 2 + 1)
        With the given map, inside the mask.
    growth : float
        By what the last pass multiplied the power inside the mask.
    """

    power: Float[Tensor, " times"]
    solvent_power: Float[Tensor, " times"]
    fsc: Float[Tensor, "times shells"]
    growth: float


def recycling(given: Volume, denoised: Sequence[Volume], mask: Volume) -> Recycling:
    """Judge a map after one, two, ... passes of a denoiser.

    Parameters
    ----------
    given : (n, n, n)
    denoised : sequence of (n, n, n)
        Two at least: what each pass made of the one before (``passes``).
    mask : (n, n, n)
    """

    def power(volume: Volume, where: Volume) -> float:
        return float((volume * where).double().square().sum())

    outside = 1 - mask
    inside = torch.tensor([power(each, mask) for each in denoised], dtype=torch.float64)
    around = torch.tensor([power(each, outside) for each in denoised], dtype=torch.float64)
    return Recycling(
        power=inside / max(power(given, mask), 1e-30),
        solvent_power=around / max(power(given, outside), 1e-30),
        fsc=torch.stack([fourier_shell_correlation(given * mask, x * mask) for x in denoised]),
        growth=float(inside[-1] / inside[-2].clamp(min=1e-30)),
    )


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far a denoised map is from the same one made in another way.

    Parameters
    ----------
    name : str
        What was different.
    share : float
        Root mean square of the difference inside the mask, by that of the denoised map there.
    by_halves : float
        That difference by the difference of the two denoised half-maps, of which none counts as
        smaller than ``LEAST_DIFFERENCE`` of the map.
    fsc : Spectrum
        Between the two, inside the mask.
    """

    name: str
    share: float
    by_halves: float
    fsc: Spectrum


LEAST_DIFFERENCE = 0.05
"""Of the map: halves that correlate by 0.999 differ by as much."""


def deviation(
    name: str, other: Volume, denoised: Volume, denoised_half2: Volume, mask: Volume
) -> Deviation:
    """Compare a denoised map with another making of it, both ``(n, n, n)``."""

    def size(volume: Volume) -> float:
        return float((volume * mask).double().square().sum().sqrt())

    whole = max(size(denoised), 1e-30)
    share = size(other - denoised) / whole
    halves = size(denoised - denoised_half2) / whole
    fsc = fourier_shell_correlation(denoised * mask, other * mask)
    return Deviation(name, share, share / max(halves, LEAST_DIFFERENCE), fsc)


def moved(move: Move, given: Volume, mask: Volume, denoise: Denoise) -> Volume:
    """Return a map that was denoised after a movement, moved back."""
    return move.undone(denoise(move(given).contiguous(), move(mask).contiguous()))
