"""Equations 1 and 2 of the paper: augmented blocks of half-maps, and what they are compared to.

Each half of a pair gives one input, ``H_{C,A}[x + e]``, and one target,
``H_{C~,A}[x M + h(x) (1 - M)]``; they meet across the halves in ``loss.py`` and nowhere else.
Filters act on a window around the block, wide enough for every rotation, and not on whole maps.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from napari_blush.denoiser.training.augmentation import Augmentation
from napari_blush.denoiser.training.compute import on_device
from napari_blush.denoiser.training.local_std_blocks import margin_of, mean_local_std
from napari_blush.denoiser.training.pairs import TrainingPair
from napari_blush.numerics.filters import crossover
from napari_blush.numerics.shells import radius_grid, shell_mean, spectrum_to_grid

_CUTOFF_EDGE_SHELLS = 2.0
_SPHERE_EDGE_ANGSTROM = 15.0
_LEAST_TARGET_STD = 0.1
"""Of maps that are standardized within the mask: keeps solvent from being blown up."""

_SOLVENT_WEIGHT = 1e-3
"""In the statistics of a window; they are the particle's wherever there is any."""

_COARSE_STEP_ANGSTROM = 9.0


@dataclass(frozen=True, slots=True)
class Views:
    """Augmented blocks of ``b`` pairs; the targets have deviation 1 on the particle.

    Parameters
    ----------
    context : (2, b, c, c, c)
        Inputs of half 1 and half 2, with the margin that their local standard deviation needs.
    targets : (2, b, d, d, d)
        Targets of half 1 and half 2.
    mask : (b, d, d, d)
        Of the particle.
    weight : (b, d, d, d)
        1 within the sphere that the map's box holds; the loss is taken there.
    support : (b, d, d, d)
        Spherical mask of the inputs.
    mean_std : (2, b)
        Mean local standard deviation of the whole input.
    recycled_mean_std : (2, b)
        The same, where the solvent is smooth: of the target of the same half.
    """

    context: Float[Tensor, "2 b c c c"]
    targets: Float[Tensor, "2 b d d d"]
    mask: Float[Tensor, "b d d d"]
    weight: Float[Tensor, "b d d d"]
    support: Float[Tensor, "b d d d"]
    mean_std: Float[Tensor, "2 b"]
    recycled_mean_std: Float[Tensor, "2 b"]


class ViewMaker:
    """Makes views of one block size; keeps the grids that do not change.

    Parameters
    ----------
    block_size : int
        Voxels.
    voxel_size : float
        Angstrom.
    device : torch.device
    """

    def __init__(self, block_size: int, voxel_size: float, device: torch.device) -> None:
        self.block_size, self.voxel_size, self.device = block_size, voxel_size, device
        self.margin = margin_of(voxel_size)
        self.window_size = window_size_for(block_size, self.margin)
        self._products = _frequency_products(self.window_size, voxel_size).to(device)
        self._radius = radius_grid(self.window_size, 3, device)
        self._sharpen = _interpolation_compensation(self.window_size).to(device)

    def make(
        self, pairs: list[TrainingPair], drawn: Augmentation, generator: torch.Generator
    ) -> Views:
        """Return the views of ``pairs``; ``generator`` is the source of the added noise."""
        halves = self._windows([pair.halves for pair in pairs], drawn.center)
        targets = self._windows([pair.targets for pair in pairs], drawn.center)
        mask = self._windows([pair.mask[None] for pair in pairs], drawn.center)[0]
        spectra = torch.fft.rfftn(halves, dim=(-3, -2, -1))
        spectra = self._with_noise(spectra, drawn, generator)
        inputs = self._filtered(spectra, drawn, drawn.input_covariance)
        spectra = torch.fft.rfftn(targets, dim=(-3, -2, -1))
        targets = self._filtered(spectra, drawn, drawn.target_covariance)
        scale = _particle_deviation(targets, mask)[:, None, None, None]
        inputs, targets = inputs / scale, targets / scale
        within = self._windows([torch.ones_like(pair.mask)[None] for pair in pairs], drawn.center)[
            0
        ]
        step = max(1, round(_COARSE_STEP_ANGSTROM / self.voxel_size))
        mean_std = mean_local_std(inputs, within, self.voxel_size, step)
        recycled = mean_local_std(targets, within, self.voxel_size, step)
        outer = self._places(drawn, self.block_size + 2 * self.margin)
        inner = self._places(drawn, self.block_size)
        context = self._sampled(inputs.transpose(0, 1), outer)
        sampled = self._sampled(torch.cat([targets, mask[None]]).transpose(0, 1), inner)
        weight, support = self._spheres(pairs, drawn, inner)
        return Views(
            context.transpose(0, 1),
            sampled[:, :2].transpose(0, 1),
            sampled[:, 2].clamp(0, 1),
            weight,
            support,
            mean_std,
            recycled,
        )

    def _windows(self, volumes: list[Tensor], centers: Tensor) -> Tensor:
        """Cut windows out of maps ``(c, n, n, n)``: ``(c, b, w, w, w)`` float32, zero outside."""
        size = self.window_size
        windows = volumes[0].new_zeros(len(volumes[0]), len(volumes), size, size, size)
        for i, (volume, center) in enumerate(zip(volumes, centers.tolist(), strict=True)):
            starts = [c - size // 2 for c in center]
            n = volume.shape[-1]
            ranges = [(max(s, 0), min(s + size, n)) for s in starts]
            source = tuple(slice(first, last) for first, last in ranges)
            place = tuple(
                slice(first - s, last - s) for s, (first, last) in zip(starts, ranges, strict=True)
            )
            windows[:, i][(slice(None), *place)] = volume[(slice(None), *source)]
        return windows.to(self.device).float()

    def _with_noise(
        self, spectra: Tensor, drawn: Augmentation, generator: torch.Generator
    ) -> Tensor:
        """Add colored noise, independent in the halves, to the pairs that are to have it."""
        noisy = torch.nonzero(drawn.noise.sum(dim=1) > 0)[:, 0]
        if not len(noisy):
            return spectra
        w = self.window_size
        # The windows of all pairs are looked at, those of the noisy alone changed.
        some = spectra[:, noisy]
        power = shell_mean((some.sum(dim=0) / 2).abs().square(), w, 3)
        ramp = torch.linspace(0, 1, power.shape[-1], device=self.device)
        low, high = drawn.noise[noisy].to(self.device)[:, :, None].unbind(1)
        amplitude = spectrum_to_grid(power.sqrt() * (low + (high - low) * ramp), w, 3)
        noise = amplitude * torch.randn(
            some.shape,
            dtype=torch.complex64,
            device=self.device,
            generator=on_device(generator, self.device),
        )
        # Of the first and the last plane the way back keeps the Hermitian half.
        noise[..., [0, -1]] *= math.sqrt(2)
        return spectra.index_add(1, noisy.to(self.device), noise)

    def _filtered(self, spectra: Tensor, drawn: Augmentation, covariance: Tensor) -> Tensor:
        """Multiply with the Gaussian and the cutoff, and transform back."""
        factor = gaussian_filter(self._products, covariance.to(self.device))
        for i, resolution in enumerate(drawn.cutoff.tolist()):
            if resolution > 0:
                shell = self.window_size * self.voxel_size / resolution
                factor[i] *= crossover(self._radius, shell, _CUTOFF_EDGE_SHELLS)
        factor[drawn.interpolated.to(self.device)] *= self._sharpen
        size = (self.window_size,) * 3
        filtered: Tensor = torch.fft.irfftn(spectra * factor, s=size, dim=(-3, -2, -1))
        return filtered

    def _places(self, drawn: Augmentation, size: int) -> Tensor:
        """Return where the voxels of blocks lie in their windows, (x, y, z) from its middle."""
        axis = torch.arange(size, dtype=torch.float32) - size // 2
        z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
        voxels = torch.stack([x, y, z], dim=-1).to(self.device)
        rotation = drawn.rotation.to(self.device)
        rotated = voxels.reshape(1, -1, 3) @ rotation.transpose(1, 2)
        moved = rotated + drawn.shift.to(self.device)[:, None]
        return moved.reshape(-1, size, size, size, 3)

    def _sampled(self, windows: Tensor, places: Tensor) -> Tensor:
        """Interpolate trilinearly in windows ``(b, c, w, w, w)``."""
        w = self.window_size
        grid = 2 * (places + w // 2) / (w - 1) - 1
        return functional.grid_sample(windows, grid, align_corners=True)

    def _spheres(
        self, pairs: list[TrainingPair], drawn: Augmentation, places: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the sphere of each map's box, and the spherical mask of the inputs."""
        half = torch.tensor([pair.box_size / 2 for pair in pairs], device=self.device)
        reach = torch.tensor([pair.reach for pair in pairs], device=self.device).minimum(half)
        middle = drawn.center.flip(1).to(self.device) - half[:, None]
        radius = (places + middle[:, None, None, None]).norm(dim=-1)
        half, reach = half[:, None, None, None], reach[:, None, None, None]
        fraction = drawn.sphere.to(self.device)[:, None, None, None]
        edge = _SPHERE_EDGE_ANGSTROM / self.voxel_size
        beyond = (radius - reach - fraction * (half - reach)) / edge
        soft = 0.5 + 0.5 * torch.cos(torch.pi * beyond.clamp(0, 1))
        return (radius < half).float(), torch.where(fraction > 0, soft, torch.ones_like(soft))


def gaussian_filter(products: Tensor, covariance: Float[Tensor, "b 3 3"]) -> Tensor:
    """Return ``exp(-k C k / 2)`` on a grid of the products of ``_frequency_products``."""
    c = covariance
    six = torch.stack(
        [c[:, 0, 0], c[:, 1, 1], c[:, 2, 2], 2 * c[:, 0, 1], 2 * c[:, 0, 2], 2 * c[:, 1, 2]], dim=1
    )
    return torch.exp(-0.5 * torch.einsum("bp,pzyx->bzyx", six, products))


def window_size_for(block_size: int, margin: int) -> int:
    """Return an even size of small factors that holds a block in every rotation, and its margin.

    Of the margin only the tips at the corners may fall outside, where the window of the local
    standard deviation has no weight to speak of.
    """
    size = math.ceil(math.sqrt(3) * block_size) + 2 * margin + 2
    while size % 2 or not _is_smooth(size):
        size += 1
    return size


def _is_smooth(size: int) -> bool:
    for factor in (2, 3, 5):
        while size % factor == 0:
            size //= factor
    return size == 1


def _frequency_products(size: int, voxel_size: float) -> Tensor:
    """Return kx kx, ky ky, kz kz, kx ky, kx kz, ky kz in 1/angstrom squared, half grid."""
    full = torch.fft.fftfreq(size, voxel_size)
    half = torch.fft.rfftfreq(size, voxel_size)
    z, y, x = torch.meshgrid(full, full, half, indexing="ij")
    return torch.stack([x * x, y * y, z * z, x * y, x * z, y * z])


def _interpolation_compensation(size: int) -> Tensor:
    """Return what keeps the power spectrum of noise that is interpolated trilinearly.

    Between two voxels a wave of phase ``w`` per voxel has, averaged over all places, the power
    ``(2 + cos w) / 3``, along each axis.
    """
    full = 2 * torch.pi * torch.fft.fftfreq(size)
    half = 2 * torch.pi * torch.fft.rfftfreq(size)
    z, y, x = (torch.sqrt(3 / (2 + torch.cos(w))) for w in (full, full, half))
    return z[:, None, None] * y[:, None] * x


def _particle_deviation(targets: Tensor, mask: Tensor) -> Tensor:
    """Return the standard deviation of the pair of targets on the particle of each window."""
    weight = mask + _SOLVENT_WEIGHT
    total = 2 * weight.sum(dim=(-3, -2, -1))
    mean = (targets * weight).sum(dim=(0, -3, -2, -1)) / total
    centered = targets - mean[:, None, None, None]
    variance = (centered.square() * weight).sum(dim=(0, -3, -2, -1)) / total
    return variance.sqrt().clamp_min(_LEAST_TARGET_STD)
