"""A map against an atomic model: FSC, fitted scale and B-factor, and the check for overfitting.

A model that was refined against half-map 1 and has fitted its noise agrees better with it than
with half-map 2, which it has never seen: ``fsc_half1`` (work), ``fsc_half2`` (free), ``fsc_sum``.
"""

from collections.abc import Generator
from dataclasses import dataclass
from math import exp

import torch
from torch import Tensor

from napari_blush.conventions import FSC_AGAINST_TRUTH, Spectrum, Volume
from napari_blush.errors import SettingsError
from napari_blush.numerics.correlation import fourier_shell_correlation, resolution_at
from napari_blush.numerics.fft import rfftn_centered
from napari_blush.numerics.sharpening import squared_frequency
from napari_blush.numerics.shells import shell_sum
from napari_blush.stepwise import result_of

_FEWEST_SHELLS = 3


@dataclass(frozen=True, slots=True)
class ScaleFit:
    """``map = scale exp(-B s^2 / 4) model``, fitted over shells.

    Parameters
    ----------
    scale : float
        Map units per angstrom^-2.
    b_factor : float
        Square angstrom; positive where the map falls off faster than the model.
    first_shell, last_shell : int
        What was fitted.
    """

    scale: float
    b_factor: float
    first_shell: int
    last_shell: int


@dataclass(frozen=True, slots=True)
class MapModelFsc:
    """Curves of a map and a model, each ``(n // 2 + 1,)``.

    Parameters
    ----------
    voxel_size : float
        Angstrom.
    fsc_sum : Spectrum
        The map (or the mean of the halves) against the model, both inside the mask.
    fsc_unmasked : Spectrum
        The same without a mask.
    fsc_half1, fsc_half2 : Spectrum or None
        Each half-map against the model, inside the mask.
    resolution : float
        Angstrom at 0.5 of ``fsc_sum``; infinite where shell 1 is below.
    fit : ScaleFit or None
        None where fewer than three shells agree.
    """

    voxel_size: float
    fsc_sum: Spectrum
    fsc_unmasked: Spectrum
    fsc_half1: Spectrum | None
    fsc_half2: Spectrum | None
    resolution: float
    fit: ScaleFit | None

    def gap(self) -> float | None:
        """Return the mean of ``fsc_half1 - fsc_half2`` up to the resolution; None without halves.

        Positive where the model agrees better with half 1.
        """
        if self.fsc_half1 is None or self.fsc_half2 is None:
            return None
        below = (~(self.fsc_sum[1:] >= FSC_AGAINST_TRUTH)).nonzero()
        last = 1 + int(below[0]) if len(below) else len(self.fsc_sum)
        inside = slice(1, max(last, 2))
        return float((self.fsc_half1[inside] - self.fsc_half2[inside]).mean())


def map_model_fsc(
    volume: Tensor,
    density: Tensor,
    mask: Tensor,
    voxel_size: float,
    halves: tuple[Tensor, Tensor] | None = None,
) -> MapModelFsc:
    """Correlate a map with the density of a model, shell by shell.

    Parameters
    ----------
    volume : (n, n, n)
        The map; any grey scale and sharpening, to which shells are blind.
    density : (n, n, n)
        Of the model, in the same frame (``model_density``).
    mask : (n, n, n)
        Multiplies both: the mask convolves the map, so it must convolve the model too.
    voxel_size : float
        Angstrom.
    halves : pair of (n, n, n), optional

    Returns
    -------
    MapModelFsc

    Raises
    ------
    SettingsError
        When the boxes differ.

    References
    ----------
    Rosenthal & Henderson (2003), J. Mol. Biol. 333, 721 (0.5 against a known density);
    Amunts et al. (2014), Science 343, 1485 (FSC work and free).
    """
    return result_of(map_model_fsc_steps(volume, density, mask, voxel_size, halves))


def map_model_fsc_steps(
    volume: Tensor,
    density: Tensor,
    mask: Tensor,
    voxel_size: float,
    halves: tuple[Tensor, Tensor] | None = None,
) -> Generator[float, None, MapModelFsc]:
    """Do what ``map_model_fsc`` does, with the fraction done before each curve."""
    if not volume.shape == density.shape == mask.shape:
        raise SettingsError(
            f"Given a map of {tuple(volume.shape)}, a model density of {tuple(density.shape)} and "
            f"a mask of {tuple(mask.shape)} voxels; wanted one box; resample them first."
        )
    yield 0.0
    masked = density * mask
    fsc_sum = fourier_shell_correlation(volume * mask, masked)
    of_halves: list[Spectrum | None] = [None, None]
    for i, half in enumerate(halves or ()):
        yield 0.2 * (i + 1)
        of_halves[i] = fourier_shell_correlation(half * mask, masked)
    yield 0.6
    fsc_unmasked = fourier_shell_correlation(volume, density)
    yield 0.8
    return MapModelFsc(
        voxel_size=voxel_size,
        fsc_sum=fsc_sum,
        fsc_unmasked=fsc_unmasked,
        fsc_half1=of_halves[0],
        fsc_half2=of_halves[1],
        resolution=resolution_at(fsc_sum, FSC_AGAINST_TRUTH, int(volume.shape[-1]), voxel_size),
        fit=fit_scale(volume * mask, masked, voxel_size),
    )


def fit_scale(volume: Volume, density: Volume, voxel_size: float) -> ScaleFit | None:
    r"""Fit the scale and B-factor that bring a density to a map.

    The regression of the map on the density in each shell,
    :math:`k(s) = \Re \sum F \bar D / \sum |D|^2`, is free of the map's noise; a line is put through
    its logarithm, each shell with weight of its number of coefficients.

    Parameters
    ----------
    volume, density : (n, n, n)
    voxel_size : float
        Angstrom.

    Returns
    -------
    ScaleFit or None
        None where fewer than three shells from the first on correlate above 0.143.
    """
    box_size = int(volume.shape[-1])
    f, d = rfftn_centered(volume), rfftn_centered(density)
    cross = shell_sum(f.real * d.real + f.imag * d.imag, box_size, 3).double()
    power = shell_sum(d.abs() ** 2, box_size, 3).double()
    count = shell_sum(torch.ones_like(f.real), box_size, 3).double()
    below = (~(fourier_shell_correlation(volume, density)[1:] > 0.143)).nonzero()
    last = int(below[0]) if len(below) else box_size // 2
    if last < _FEWEST_SHELLS:
        return None
    shells = torch.arange(1, last + 1)
    x = squared_frequency(box_size // 2 + 1, box_size, voxel_size)[shells]
    y, weight = (cross[shells] / power[shells]).log().cpu(), count[shells].cpu()
    slope, intercept = _line(x, y, weight)
    return ScaleFit(exp(intercept), -4 * slope, 1, last)


def half_map_prediction(fsc: Spectrum) -> Spectrum:
    """Return what half-maps that correlate by ``fsc`` promise for their mean against the truth.

    ``sqrt(2 F / (1 + F))``: the curve that a perfect model would reach [1]_.

    References
    ----------
    .. [1] Rosenthal & Henderson (2003), J. Mol. Biol. 333, 721, equation 17.
    """
    positive = fsc.clamp(min=0)
    return (2 * positive / (1 + positive)).sqrt()


def _line(x: Tensor, y: Tensor, weight: Tensor) -> tuple[float, float]:
    total = weight.sum()
    mean_x, mean_y = (weight * x).sum() / total, (weight * y).sum() / total
    dx = x - mean_x
    slope = float((weight * dx * (y - mean_y)).sum() / (weight * dx**2).sum())
    return slope, float(mean_y) - slope * float(mean_x)
