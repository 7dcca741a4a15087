"""Power spectra of signal and noise, and what they say about each other."""

import torch
from torch import Tensor

from napari_blush.conventions import Spectrum, Volume
from napari_blush.data_model.particles import Particles
from napari_blush.numerics.fft import rfft2_centered, rfftn_centered
from napari_blush.numerics.masks import background_statistics, soft_disc
from napari_blush.numerics.packing import PackedCoordinates, pack, packed_shell_sum
from napari_blush.numerics.shells import shell_mean

FSC_FLOOR, FSC_CEILING = 0.001, 0.999  # keeps signal-to-noise finite and positive
NEGLIGIBLE_LOG_LIKELIHOOD = 1e-3  # expected contribution of all shells that are left out


def signal_to_noise(fsc: Spectrum, *, joined: bool) -> Spectrum:
    """Return the signal-to-noise ratio of a map from the FSC between halves.

    ``F / (1 - F)`` for a half-map; for the joined map ``F`` is first replaced by
    ``sqrt(2 F / (1 + F))``, the expected correlation of the joined map with the truth.
    """
    f = fsc.clamp(min=FSC_FLOOR)
    if joined:
        f = torch.sqrt(2 * f / (1 + f))
    f = f.clamp(max=FSC_CEILING)
    return f / (1 - f)


def initial_sigma2_noise(
    particles: Particles,
    index: Tensor,
    coordinates: PackedCoordinates,
    mask_radius_px: float,
    mask_edge_px: float,
    *,
    normalize_background: bool,
    per_group: int = 1000,
) -> Tensor:
    """Return the first estimate of the noise: mean power of images less power of their mean.

    Parameters
    ----------
    particles : Particles
    index : (m,) int64
        Images to use; at most ``per_group`` of each optics group are read.
    coordinates : PackedCoordinates
        Up to Nyquist.
    mask_radius_px, mask_edge_px : float
        Circular mask.
    normalize_background : bool
        See ``ImagePreparation``.
    per_group : int

    Returns
    -------
    (optics groups, shells) float32
        Variance of the real part; a group of one image or none takes the mean of the others.
    """
    n = coordinates.box_size
    shells = n // 2 + 1
    count = shell_counts(coordinates)
    mask = soft_disc(n, mask_radius_px, mask_edge_px)
    spectra = torch.zeros(len(particles.optics_groups), shells, dtype=torch.float64)
    seen = torch.zeros(len(particles.optics_groups), dtype=torch.bool)
    for group in range(len(particles.optics_groups)):
        chosen = index[particles.optics_group_index[index] == group][:per_group]
        if len(chosen) == 0:
            continue
        power = torch.zeros(shells, dtype=torch.float64)
        total = torch.zeros(n, n, dtype=torch.float64)
        for start in range(0, len(chosen), 128):
            images = particles.images.read(chosen[start : start + 128])
            mean, std = background_statistics(images, mask_radius_px)
            if normalize_background:
                images = (images - mean[:, None, None]) / std[:, None, None]
                mean = torch.zeros_like(mean)
            images = images * mask + mean[:, None, None] * (1 - mask)
            power += _shell_power(images, coordinates).sum(0)
            total += images.double().sum(0)
        m = len(chosen)
        spectra[group] = power / m / (2 * count)
        if m > 1:
            average = _shell_power((total / m).float()[None], coordinates)[0] / (2 * count)
            # The mean of few images still holds some of their noise.
            spectra[group] = (spectra[group] - average) * m / (m - 1)
            seen[group] = True
    spectra = _without_gaps(spectra)
    if bool(seen.any()):
        spectra[~seen] = spectra[seen].mean(0)
    return spectra.to(torch.float32)


def shell_counts(coordinates: PackedCoordinates) -> Tensor:
    """Return the number of packed coefficients of each shell, at least 1, float64."""
    shells = coordinates.box_size // 2 + 1
    ones = torch.ones(len(coordinates.shell), dtype=torch.float64)
    return packed_shell_sum(ones, coordinates.shell.cpu(), shells).clamp(min=1)


def signal_r_max(
    reference: Volume, sigma2_noise: Tensor, coordinates: PackedCoordinates, limit: int
) -> int:
    """Return the Fourier radius beyond which a reference has nothing to compare images with.

    Shells are left out from the top while their expected contribution to the log-likelihood,
    ``sum |P|^2 / (4 sigma2_noise)`` with a mean squared CTF of one half, stays below
    ``NEGLIGIBLE_LOG_LIKELIHOOD``: a low-pass filtered reference is compared where it exists.

    Parameters
    ----------
    reference : (n, n, n)
    sigma2_noise : (optics groups, shells)
    coordinates : PackedCoordinates
    limit : int
        Upper bound of the result.
    """
    n = coordinates.box_size
    power = shell_mean(rfftn_centered(reference).abs() ** 2, n, 3) / n**2
    noise = sigma2_noise.to(power).amin(0).clamp(min=1e-30)
    gain = power / (4 * noise) * shell_counts(coordinates).to(power)
    beyond = gain[: limit + 1].flip(0).cumsum(0).flip(0)
    needed = torch.nonzero(beyond > NEGLIGIBLE_LOG_LIKELIHOOD)
    if len(needed) == 0:
        return 1
    # A shell ends half a Fourier voxel beyond its radius, and counting goes by radius.
    return min(int(needed.max()) + 1, limit)


def _shell_power(images: Tensor, coordinates: PackedCoordinates) -> Tensor:
    """Return ``sum |X|^2`` by shell, ``(b, shells)`` float64."""
    n = coordinates.box_size
    packed = pack(rfft2_centered(images) / n, coordinates)
    return packed_shell_sum((packed.abs() ** 2).double(), coordinates.shell, n // 2 + 1)


def _without_gaps(spectra: Tensor) -> Tensor:
    """Return spectra with each non-positive shell replaced by the nearest positive one below it."""
    filled = spectra.clone()
    for row in filled:
        positive = torch.nonzero(row > 0)
        if len(positive) == 0:
            continue
        row[: int(positive[0])] = row[int(positive[0])]
        for shell in range(1, len(row)):
            if row[shell] <= 0:
                row[shell] = row[shell - 1]
    return filled
