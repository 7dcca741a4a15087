"""Denoisers whose doings are known, and a pair of noisy half-maps of a known density."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.denoiser.network import BlockPrediction
from napari_blush.numerics.filters import apply_spectrum
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.shells import spectrum_to_grid
from napari_blush.regularization.regularizer import RegularizationInput

BOX, VOXEL = 32, 4.0


class Network(nn.Module):
    """A network that does what a function of blocks does."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function
        self.place = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, density: torch.Tensor, local_std: torch.Tensor) -> BlockPrediction:
        return BlockPrediction(self.function(density), torch.zeros_like(density))


@dataclass(frozen=True)
class KnownDenoiser:
    """A denoiser of any function of blocks."""

    network: nn.Module
    voxel_size: float = 4.0
    block_size: int = 16


def denoiser_of(
    function: Callable[[torch.Tensor], torch.Tensor], voxel_size: float = 4.0, block_size: int = 16
) -> KnownDenoiser:
    """Return the denoiser that does to blocks what ``function`` does."""
    return KnownDenoiser(Network(function), voxel_size, block_size)


@pytest.fixture(scope="session")
def make_denoiser() -> Callable[..., KnownDenoiser]:
    """Return the maker of denoisers of known doings."""
    return denoiser_of


@dataclass(frozen=True)
class NoisyPair:
    """Half-maps, what they are of, and the signal-to-noise ratio of a half by shell."""

    density: torch.Tensor
    given: RegularizationInput
    ratio: torch.Tensor

    def wiener(self, block: int, voxel_size: float) -> KnownDenoiser:
        """The denoiser that knows this ratio: the best linear one."""
        shells = torch.arange(block // 2 + 1) * (BOX * VOXEL) / (block * voxel_size)
        ratio = torch.nn.functional.pad(self.ratio, (0, block))[shells.round().long()]
        gain = spectrum_to_grid(ratio / (1 + ratio), block, 3)

        def filtered(blocks: torch.Tensor) -> torch.Tensor:
            return torch.fft.irfftn(
                torch.fft.rfftn(blocks, dim=(1, 2, 3)) * gain, s=(block,) * 3, dim=(1, 2, 3)
            )

        return denoiser_of(filtered, voxel_size, block)


@pytest.fixture(scope="session")
def pair() -> NoisyPair:
    """Two noisy half-maps of blobs: a signal that falls, noise that is white up to shell 13."""
    generator = torch.Generator().manual_seed(5)
    inside = soft_sphere(BOX, 9.0, 3.0)
    shells = torch.arange(BOX // 2 + 1)
    fall = torch.exp(-((shells / 5.0) ** 2))
    density = apply_spectrum(torch.randn(BOX, BOX, BOX, generator=generator), fall) * inside
    limit = (shells <= 13).float()
    noise = [
        apply_spectrum(torch.randn(BOX, BOX, BOX, generator=generator), limit) * 0.03
        for _ in range(2)
    ]
    signal = power(density)
    ratio = signal / power(noise[0]).clamp(min=1e-9) * limit
    halves = [density + one for one in noise]
    fsc = ratio / (1 + ratio)
    wiener = [apply_spectrum(half, fsc) for half in halves]
    given = RegularizationInput(
        HalfMaps(halves[0], halves[1], VOXEL),
        HalfMaps(wiener[0], wiener[1], VOXEL),
        fsc,
        None,
        100.0,
        torch.eye(3, dtype=torch.float64)[None],
        3,
    )
    return NoisyPair(density, given, ratio)


def power(volume: torch.Tensor) -> torch.Tensor:
    """Mean power by shell, by a plain loop over shells."""
    n = volume.shape[-1]
    transform = torch.fft.fftn(torch.fft.ifftshift(volume))
    axis = torch.fft.fftfreq(n, 1 / n)
    radius = torch.linalg.vector_norm(
        torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")), dim=0
    )
    shells = radius.round()
    squared = transform.abs() ** 2
    return torch.stack([squared[shells == shell].mean() for shell in range(n // 2 + 1)])


def drained(steps):
    """All progress of a regularizer, and what it returns."""
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as finished:
            return seen, finished.value


@pytest.fixture(scope="session")
def drain() -> Callable:
    """Return the function that runs a regularizer to its end."""
    return drained
