"""A part of a map denoised by itself is what it is in the whole, for few of the blocks."""

import pytest
import torch
from torch import nn

from napari_blush.denoiser.denoise_options import Mode
from napari_blush.denoiser.inference import DenoiseOptions, denoise_volume
from napari_blush.denoiser.network import BlockPrediction, BlushUNet
from napari_blush.denoiser.sub_box import SubBox, SubBoxDenoiser
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.masks import soft_sphere


class Net:
    """A random network over blocks of 16 voxels of 3 A."""

    voxel_size, block_size = 3.0, 16

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.network: nn.Module = BlushUNet(2, 2).eval().requires_grad_(False)


class Smoothing(nn.Module):
    """A network that blurs over three voxels."""

    def forward(self, density: torch.Tensor, local_std: torch.Tensor) -> BlockPrediction:
        padded = nn.functional.pad(density[:, None], (1,) * 6, mode="replicate")
        smooth = nn.functional.avg_pool3d(padded, 3, 1)[:, 0]
        return BlockPrediction(smooth, torch.zeros_like(density))


class Flipping(nn.Module):
    """A network whose blocks depend on where they were cut: it mirrors them."""

    def forward(self, density: torch.Tensor, local_std: torch.Tensor) -> BlockPrediction:
        return BlockPrediction(density.flip(-1), torch.zeros_like(density))


def noisy_particle(n: int, voxel: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n)
    noise = torch.randn(n, n, n, generator=generator)
    signal = low_pass(noise, voxel, 12.0)
    inside = signal / signal.std() * soft_sphere(n, 0.3 * n, 0.1 * n)
    return inside + 0.3 * torch.randn(n, n, n, generator=generator)


def followed(part: SubBoxDenoiser, center: tuple[float, float, float]) -> SubBox:
    steps = part.steps(center)
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            return finished.value


@pytest.mark.parametrize("mode", ["default", "release"])
def test_the_inside_is_that_of_the_whole(mode: Mode) -> None:
    n, voxel = 64, 3.0  # the denoiser's own grid: nothing is resampled
    volume, net = noisy_particle(n, voxel), Net()
    options = DenoiseOptions(mode=mode, precision="float32")
    whole = denoise_volume(volume, voxel, net, options).volume
    part = SubBoxDenoiser(volume, voxel, net, options)
    for center in ((n / 2, n / 2, n / 2), (0.3 * n, 0.6 * n, 0.5 * n), (0.0, 0.0, 0.0)):
        found = followed(part, center)
        assert torch.allclose(found.volume[found.inside], whole[found.inside], atol=1e-5)
    middle = followed(part, (n / 2, n / 2, n / 2))
    assert float((middle.volume - volume)[middle.inside].std()) > 0.1 * float(whole.std())


@pytest.mark.parametrize(("n", "voxel", "most"), [(72, 2.0, 0.02), (51, 4.1, 0.07)])
def test_on_another_grid_the_inside_is_nearly_that_of_the_whole(
    n: int, voxel: float, most: float
) -> None:
    volume, net = noisy_particle(n, voxel), Net()
    net.network = Smoothing()
    whole = denoise_volume(volume, voxel, net).volume
    found = followed(SubBoxDenoiser(volume, voxel, net), (n / 2, n / 2, n / 2))
    difference = (found.volume - whole)[found.inside] / whole.std()
    assert float(difference.square().mean().sqrt()) < most
    assert float((found.volume - volume)[found.inside].std()) > 0.2 * float(whole.std())


def test_few_blocks_are_run_and_lie_about_the_point() -> None:
    volume = noisy_particle(96, 3.0)
    found = followed(SubBoxDenoiser(volume, 3.0, Net()), (48.0, 40.0, 56.0))
    assert found.n_blocks < 0.3 * found.n_blocks_of_all
    for at, axis in zip((48, 40, 56), found.inside, strict=True):
        assert axis.stop - axis.start == 8
        assert axis.start <= at < axis.stop


def test_a_missing_block_would_be_seen() -> None:
    """With a network that mirrors blocks, those of another cut give another inside."""
    volume, net = noisy_particle(64, 3.0), Net()
    net.network = Flipping()
    whole = denoise_volume(volume, 3.0, net).volume
    found = followed(SubBoxDenoiser(volume, 3.0, net), (32.0, 32.0, 32.0))
    assert torch.allclose(found.volume[found.inside], whole[found.inside], atol=1e-4)
    shifted = denoise_volume(volume, 3.0, net, DenoiseOptions(stride=5)).volume
    assert not torch.allclose(found.volume[found.inside], shifted[found.inside], atol=0.1)
