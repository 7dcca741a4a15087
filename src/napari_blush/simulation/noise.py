"""Noise of a chosen color: white, or falling with frequency as that of micrographs does.

A spectrum is a function of spatial frequency. It is normalized so that the noise has variance 1
per pixel in the images at hand, whatever their pixel size, and its power is exact at every
Fourier coefficient, corners included: shells are for estimating noise, not for making it.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import ImageStack
from napari_blush.errors import SettingsError
from napari_blush.numerics.fft import half_spectrum_multiplicity

NoiseSpectrum = Callable[[Tensor], Tensor]
"""Power, up to a factor, at spatial frequencies in 1/angstrom; elementwise."""


def white_spectrum(frequency: Tensor) -> Tensor:
    """Return 1 at every frequency."""
    return torch.ones_like(frequency)


def coloured_spectrum(frequency: Tensor) -> Tensor:
    r"""Return a power that falls with frequency, as background of vitreous ice does.

    :math:`P(k) = 0.3 + 3 / (1 + (40 k)^2) + 0.7 \exp(-(6 k)^2 / 2)`, ``k`` in 1/angstrom: a white
    floor, thick low-frequency structure of 40 A and more, and a shoulder that ends at about 6 A.
    """
    return 0.3 + 3 / (1 + (40 * frequency) ** 2) + 0.7 * torch.exp(-((6 * frequency) ** 2) / 2)


def noise_power(
    spectrum: NoiseSpectrum, box_size: int, pixel_size: float
) -> Float[Tensor, "n half"]:
    """Evaluate a spectrum on the half transform of an image.

    Parameters
    ----------
    spectrum : callable
        Frequencies in 1/angstrom to power, up to a factor.
    box_size : int
        Pixels along an edge.
    pixel_size : float
        Angstrom per pixel.

    Returns
    -------
    (n, n // 2 + 1) float64
        Mean 1 over the full transform: the expected ``|F|^2`` of noise of variance 1 is
        ``n^2`` times this.

    Raises
    ------
    SettingsError
        When the spectrum is negative or not finite somewhere, or zero everywhere.
    """
    ky = torch.fft.fftfreq(box_size, pixel_size, dtype=torch.float64)
    kx = torch.fft.rfftfreq(box_size, pixel_size, dtype=torch.float64)
    power = spectrum((ky[:, None] ** 2 + kx**2).sqrt())
    multiplicity = half_spectrum_multiplicity(box_size).double()
    mean = (power * multiplicity).sum() / box_size**2
    if not bool(torch.isfinite(power).all()) or bool((power < 0).any()) or mean <= 0:
        raise SettingsError(
            "The noise spectrum is negative, not finite, or zero everywhere; wanted a power at "
            "every frequency of the image; correct the spectrum."
        )
    return power / mean


def draw_noise(seed: int, indices: Sequence[int], power: Float[Tensor, "n half"]) -> ImageStack:
    """Draw the noise of some images.

    Parameters
    ----------
    seed : int
        Of the whole data set, not negative.
    indices : sequence of int
        Which images. The noise of an image depends on the seed and its index alone, so images
        may be made in any order and in batches of any size.
    power : (n, n // 2 + 1) float
        From ``noise_power``.

    Returns
    -------
    (b, n, n) float32
        Gaussian, mean 0, variance 1 in expectation over all frequencies.
    """
    box_size = int(power.shape[0])
    white = np.empty((len(indices), box_size, box_size), dtype=np.float32)
    for row, index in enumerate(indices):
        # A counter-based generator keyed by (seed, image): streams never overlap.
        stream = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
        stream.standard_normal(dtype=np.float32, out=white[row])
    noise = torch.from_numpy(white)
    if bool((power == 1).all()):
        return noise
    transform = torch.fft.rfft2(noise) * power.sqrt().float()
    colored: Tensor = torch.fft.irfft2(transform, s=(box_size, box_size))
    return colored
