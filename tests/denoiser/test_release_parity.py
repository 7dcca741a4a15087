"""The ``release`` mode beside the published recipe, written out anew in numpy loops.

The recipe is applied to boxes where it is free of its own faults: every voxel of the mask is in a
block that it runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import signal
from torch import nn

from napari_blush.denoiser.inference import DenoiseOptions, denoise_volume
from napari_blush.denoiser.network import BlockPrediction, BlushUNet
from napari_blush.denoiser.release_recipe import release_starts
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.masks import soft_sphere

Array = npt.NDArray[np.float64]
BLOCK, STRIDE, VOXEL = 64, 20, 1.5


@dataclass(frozen=True)
class Net:
    network: nn.Module
    voxel_size: float = VOXEL
    block_size: int = BLOCK


class OneLayer(nn.Module):
    """Random weights at hardly any cost: what a block becomes depends on all it should."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv3d(2, 2, 3, padding=1)

    def forward(self, density: torch.Tensor, local_std: torch.Tensor) -> BlockPrediction:
        std, mean = torch.std_mean(density, dim=(1, 2, 3), keepdim=True)
        standardized = (density - mean) / (std + 1e-12)
        noise, logit = torch.tanh(self.layer(torch.stack([standardized, local_std], 1))).unbind(1)
        return BlockPrediction((standardized - noise) * (std + 1e-12) + mean, logit)


def resampled(volume: Array, n: int) -> Array:
    """Resample in Fourier space along each axis."""
    for axis in range(3):
        volume = signal.resample(volume, n, axis=axis)
    return volume


def nearest_even(box: int, voxel: float) -> int:
    n = round(box * voxel / VOXEL)
    return n if n % 2 == 0 else min((n - 1, n + 1), key=lambda m: abs(box * voxel / m - VOXEL))


def radial_mask(n: int, diameter: float | None) -> Array:
    edge = 30.0
    radius = (n - edge) / 2
    if diameter is not None:
        radius = min(diameter / VOXEL / 2 + edge / 2, radius)
    ticks = np.linspace(-n / 2, n / 2, n)
    mask = np.zeros((n, n, n))
    for i, z in enumerate(ticks):
        r = np.sqrt(z**2 + ticks[:, None] ** 2 + ticks[None, :] ** 2)
        mask[i][r <= radius - 15] = 1
        rim = (r > radius - 15) & (r < radius + 15)
        mask[i][rim] = 0.5 + 0.5 * np.cos(np.pi * (r[rim] - radius + 15) / 30)
    return mask


def local_std(volume: Array) -> Array:
    taps = np.exp(-(np.linspace(-1.5, 1.5, 21) ** 2))
    taps /= taps.sum()

    def smooth(v: Array) -> Array:
        for axis in range(3):
            padding = [(10, 10) if a == axis else (0, 0) for a in range(3)]
            padded, total = np.pad(v, padding), np.zeros_like(v)
            for shift, tap in enumerate(taps):
                total += tap * np.take(padded, np.arange(shift, shift + v.shape[axis]), axis)
            v = total
        return v

    spread = np.sqrt(np.maximum(smooth(volume**2) - smooth(volume) ** 2, 0))
    return np.asarray(spread / spread.mean())


def weight_box() -> Array:
    weights = np.full((BLOCK, BLOCK, BLOCK), 1e-6)
    ticks = np.abs(np.arange(46) - 22.5)
    chebyshev = np.maximum.reduce(np.meshgrid(ticks, ticks, ticks, indexing="ij"))
    inner = np.cos(np.pi / 2 * chebyshev / chebyshev.max())
    weights[9:55, 9:55, 9:55] = np.maximum(inner, 1e-6)
    return weights


def published(volume: Array, network: nn.Module, mask: Array) -> Array:
    """Return what the published recipe makes of a map on the denoiser's grid."""
    n = len(volume)
    mean, std = volume.mean(), volume.std(ddof=1) + 1e-8
    density, local = (volume - mean) / std * mask, local_std(volume) * mask
    starts, at = [], 0
    while at < n - BLOCK:
        starts.append(at)
        at += STRIDE
    starts.append(n - BLOCK)
    total, weights, window = np.zeros_like(volume), np.zeros_like(volume), weight_box()
    for z, y, x in product(starts, repeat=3):
        cut = (slice(z, z + BLOCK), slice(y, y + BLOCK), slice(x, x + BLOCK))
        if mask[cut].mean() < 0.3:
            continue
        with torch.no_grad():
            blocks = (torch.from_numpy(v[cut][None]).float() for v in (density, local))
            out = network(*blocks).denoised[0].double().numpy()
        total[cut] += out * window
        weights[cut] += window
    assert not ((weights < 0.1) & (mask >= 0.5)).any(), "a box where the recipe leaves holes"
    blend = np.where(weights < 0.1, 0, total / np.where(weights < 0.1, 1, weights))
    return np.asarray((blend * mask * std + mean) * mask)


def blob(box: int, voxel: float, generator: torch.Generator) -> torch.Tensor:
    noise = low_pass(torch.randn(box, box, box, generator=generator), voxel, 8.0)
    particle = noise / noise.std() * soft_sphere(box, 0.25 * box, 0.1 * box)
    return 0.3 + 2.0 * particle + 0.2 * noise / noise.std()


def compare(box: int, voxel: float, diameter: float | None, network: nn.Module) -> None:
    volume = blob(box, voxel, torch.Generator().manual_seed(box))
    network = network.eval().requires_grad_(False)
    options = DenoiseOptions("release", particle_diameter=diameter, batch_size=4)
    ours = denoise_volume(volume, voxel, Net(network), options).volume.double().numpy()
    n = nearest_even(box, voxel)
    working = resampled(volume.double().numpy(), n)
    expected = resampled(published(working, network, radial_mask(n, diameter)), box)
    assert np.abs(ours - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.abs(expected - volume.numpy()).max() > 0.1 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("box", "voxel", "diameter", "network"),
    [
        (128, 1.13, None, OneLayer),
        (192, 0.75, 50.0, partial(BlushUNet, 2, 2)),
        (256, 0.57, None, OneLayer),
    ],
    ids=["128", "192", "256"],
)
def test_agrees_with_the_recipe(
    box: int, voxel: float, diameter: float | None, network: Callable[[], nn.Module]
) -> None:
    torch.manual_seed(5)
    compare(box, voxel, diameter, network())


@pytest.mark.slow
@pytest.mark.parametrize(("box", "diameter"), [(128, 90.0), (192, None), (256, 200.0)])
def test_agrees_with_the_recipe_at_its_own_voxel_size(box: int, diameter: float | None) -> None:
    torch.manual_seed(6)
    compare(box, VOXEL, diameter, OneLayer())


def test_blocks_begin_where_they_should() -> None:
    assert release_starts(128, 64, 20) == [0, 20, 40, 60, 64]
    assert release_starts(104, 64, 20) == [0, 20, 40]
    assert release_starts(84, 64, 20) == [0, 20]
