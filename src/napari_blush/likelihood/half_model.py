"""The statistical model of one half of the data: all that an image's likelihood depends on."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class HalfModel:
    """Parameters that one half of the particles is compared with.

    Images enter as ``X = FT(image) / n`` and central slices as ``P = FT(volume) / n`` (``n`` the
    box size), so white noise of unit variance per pixel has unit power, and
    ``log p(X | pose) = -sum |X - scale CTF P|^2 / (2 sigma2_noise)`` over the independent half of
    the Fourier coefficients. RELION's spectra are these divided by ``n^2``.

    Parameters
    ----------
    reference : (n, n, n) float32
        Map that images are aligned to.
    sigma2_noise : (optics groups, n // 2 + 1) float32
        Noise variance of the real and of the imaginary part of ``X``, by shell.
    sigma_offset_angstrom : float
        Standard deviation of the Gaussian prior on each coordinate of the origin.
    pdf_direction : (pixels,) float32
        Prior of viewing directions on the HEALPix pixels of ``pdf_order``; sums to 1.
    pdf_order : int
        HEALPix order of ``pdf_direction``.
    group_scale : (scale groups,) float32
        Signal scale of each micrograph.
    average_norm : float
        Mean norm correction; image ``i`` is multiplied by ``average_norm / norm_i``.
    data_vs_prior : (n // 2 + 1,) float32
        Signal-to-noise ratio of the map, by shell.
    tau2 : (n // 2 + 1,) float32
        Signal power that regularised the map, by shell, in the units of ``P``.
    """

    reference: Tensor
    sigma2_noise: Tensor
    sigma_offset_angstrom: float
    pdf_direction: Tensor
    pdf_order: int
    group_scale: Tensor
    average_norm: float
    data_vs_prior: Tensor
    tau2: Tensor
