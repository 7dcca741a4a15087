"""Undo the fall-off of amplitudes: Guinier fit, FSC weight, B-factor.

Rosenthal & Henderson (2003): beyond 10 A the logarithm of a structure's shell amplitude falls on
a line in ``1 / d^2`` whose slope is a quarter of the map's B-factor, so the map is multiplied by
the inverse of that fall-off, weighted by how far each shell can be trusted. Which curve is the
trusted one, and whether a mask made it, is decided above this file.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from napari_blush.conventions import Spectrum, Volume
from napari_blush.errors import SettingsError
from napari_blush.numerics.fft import irfftn_centered, rfftn_centered
from napari_blush.numerics.shells import radius_grid, shell_sum, spectrum_to_grid

GUINIER_FROM_ANGSTROM = 10.0
"""Coarsest resolution of a Guinier fit; the shape of the molecule rules below it (same paper)."""

_FEWEST_SHELLS = 3


class GuinierFit(NamedTuple):
    """A line through ``ln`` amplitude against ``1 / d^2`` (per square angstrom).

    ``b_factor`` is four times the slope, in square angstrom: negative for a map that falls off,
    and the value to pass to ``sharpen`` to undo it. Shells ``first_shell`` to ``last_shell``
    (both included) were fitted; ``r_squared`` is the squared correlation of the fit.
    """

    b_factor: float
    intercept: float
    r_squared: float
    first_shell: int
    last_shell: int


def shell_amplitude(volume: Volume) -> Spectrum:
    """Return the mean modulus of the Fourier coefficients of each shell, ``(n // 2 + 1,)``.

    Coefficients are divided by the number of voxels, so that the mean density is shell 0. Each
    *stored* coefficient counts once, as in the FSC of this package and in RELION.
    """
    box_size = int(volume.shape[-1])
    modulus = rfftn_centered(volume).abs()
    total = shell_sum(modulus, box_size, 3, as_stored=True)
    count = shell_sum(torch.ones_like(modulus), box_size, 3, as_stored=True)
    return total / count / volume.numel()


def squared_frequency(n_shells: int, box_size: int, voxel_size: float) -> Tensor:
    """Return ``1 / d^2`` of each shell in square reciprocal angstrom, ``(n_shells,)`` float64."""
    return (torch.arange(n_shells, dtype=torch.float64) / (box_size * voxel_size)) ** 2


def fsc_weight(fsc: Spectrum) -> Spectrum:
    """Weight each shell by the expected correlation of the full map with the truth.

    ``sqrt(2 F / (1 + F))``, and nothing from the first shell on where ``F`` is not positive.

    Parameters
    ----------
    fsc : (shells,) float
        Correlation between the half-maps, best the solvent-corrected one.

    Returns
    -------
    (shells,) float
        In [0, 1].

    References
    ----------
    Rosenthal & Henderson (2003), J. Mol. Biol. 333, 721, equation 17.
    """
    trusted = torch.cumprod((fsc > 0).to(fsc.dtype), 0)
    positive = fsc.clamp(min=0, max=1)
    return (2 * positive / (1 + positive)).sqrt() * trusted


def guinier_b_factor(
    volume: Volume,
    voxel_size: float,
    *,
    to_resolution: float,
    from_resolution: float = GUINIER_FROM_ANGSTROM,
    weight: Spectrum | None = None,
) -> GuinierFit | None:
    """Fit the fall-off of a map's amplitudes between two resolutions.

    Parameters
    ----------
    volume : (n, n, n) float
        The unsharpened full map.
    voxel_size : float
        Angstrom per voxel.
    to_resolution : float
        Finest resolution fitted, in angstrom: that of the map.
    from_resolution : float
        Coarsest resolution fitted, in angstrom.
    weight : (n // 2 + 1,) float, optional
        Multiplies the amplitudes first (``fsc_weight``); shells of weight zero are left out.

    Returns
    -------
    GuinierFit or None
        None where fewer than three shells lie in the range: such a map has no B-factor to fit.

    Notes
    -----
    All shells count alike, as in RELION's post-processing.
    """
    box_size = int(volume.shape[-1])
    amplitude = shell_amplitude(volume).double().cpu()
    if weight is not None:
        amplitude = amplitude * weight.double().cpu()
    squared = squared_frequency(len(amplitude), box_size, voxel_size)
    # A shell at exactly the limit belongs to the range, whatever the rounding of its frequency.
    inside = (squared >= from_resolution**-2 * (1 - 1e-6)) & (
        squared <= to_resolution**-2 * (1 + 1e-6)
    )
    shells = torch.nonzero(inside & (amplitude > 0)).flatten()
    if len(shells) < _FEWEST_SHELLS:
        return None
    x, y = squared[shells], amplitude[shells].log()
    dx, dy = x - x.mean(), y - y.mean()
    slope = float((dx * dy).sum() / (dx * dx).sum())
    variance = float((dy * dy).sum())
    r_squared = slope**2 * float((dx * dx).sum()) / variance if variance > 0 else 1.0
    intercept = float(y.mean()) - slope * float(x.mean())
    return GuinierFit(4 * slope, intercept, r_squared, int(shells[0]), int(shells[-1]))


def sharpen(
    volume: Volume, voxel_size: float, *, b_factor: float, weight: Spectrum | None = None
) -> Volume:
    """Multiply a map's transform by ``exp(-B / (4 d^2))`` and a weight per shell.

    Parameters
    ----------
    volume : (n, n, n) float
    voxel_size : float
        Angstrom per voxel.
    b_factor : float
        Square angstrom; negative sharpens, positive blurs (RELION's sign).
    weight : (n // 2 + 1,) float, optional
        Usually ``fsc_weight``. With a weight, frequencies with ``|k| > n / 2`` (the corners)
        become zero; without one they are sharpened like the rest.

    Returns
    -------
    (n, n, n) float

    Raises
    ------
    SettingsError
        When the weight is not one value per shell.
    """
    box_size = int(volume.shape[-1])
    transform = rfftn_centered(volume) * _fall_off(box_size, voxel_size, b_factor).to(volume)
    if weight is not None:
        if len(weight) != box_size // 2 + 1:
            raise SettingsError(
                f"The weight has {len(weight)} values; wanted {box_size // 2 + 1}, one for each "
                f"shell of a box of {box_size}; pass a curve of this map."
            )
        transform = transform * spectrum_to_grid(weight.to(volume), box_size, 3)
        transform = transform * (radius_grid(box_size, 3, volume.device) <= box_size // 2)
    return irfftn_centered(transform, box_size)


def _fall_off(box_size: int, voxel_size: float, b_factor: float) -> Tensor:
    """Return ``exp(-B / 4 s^2)`` on the half grid, float64, exact frequencies (not shells)."""
    full = torch.fft.fftfreq(box_size, voxel_size, dtype=torch.float64) ** 2
    half = torch.fft.rfftfreq(box_size, voxel_size, dtype=torch.float64) ** 2
    squared = full[:, None, None] + full[None, :, None] + half[None, None, :]
    return torch.exp(-b_factor / 4 * squared)
