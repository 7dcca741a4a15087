"""Denoising whole maps: what networks of known effect make of them."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from napari_blush.denoiser.inference import (
    DenoiseOptions,
    denoise_volume,
)
from napari_blush.denoiser.network import BlockPrediction
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.masks import soft_sphere


class Identity(nn.Module):
    """A network that finds no noise, and a particle everywhere."""

    def forward(self, density: torch.Tensor, local_std: torch.Tensor) -> BlockPrediction:
        return BlockPrediction(density.clone(), torch.full_like(density, 20.0))


@dataclass(frozen=True)
class Net:
    network: nn.Module
    voxel_size: float = 1.5
    block_size: int = 64


def particle(box: int, voxel: float, diameter: float, generator: torch.Generator) -> torch.Tensor:
    """Return a band-limited random density inside a sphere, of standard deviation about 1."""
    noise = low_pass(torch.randn(box, box, box, generator=generator), voxel, max(8.0, 3 * voxel))
    radius = diameter / 2 / voxel
    return noise / noise.std() * soft_sphere(box, 0.7 * radius, 0.3 * radius)


@pytest.mark.parametrize(
    ("box", "voxel", "net_voxel", "block"),
    [
        (56, 1.5, 1.5, 64),
        (84, 1.0, 1.5, 32),
        (64, 3.0, 3.0, 32),
        (65, 2.0, 3.0, 32),
        (32, 4.0, 3.0, 16),
    ],
)
def test_identity_network_leaves_the_particle_alone(
    box: int, voxel: float, net_voxel: float, block: int, generator: torch.Generator
) -> None:
    diameter = 0.9 * box * voxel
    volume = low_pass(
        particle(box, voxel, diameter, generator), voxel, max(3 * net_voxel, 3 * voxel)
    )
    found = denoise_volume(
        volume, voxel, Net(Identity(), net_voxel, block), DenoiseOptions(particle_diameter=diameter)
    )
    inside = soft_sphere(box, diameter / 2 / voxel, 0.0) > 0
    assert found.volume.shape == volume.shape
    error = (found.volume - volume)[inside].abs().max() / volume.std()
    assert float(error) < 3e-2
