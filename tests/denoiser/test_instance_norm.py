"""The normalization of channels-last features is the library's, forward and backward."""

import pytest
import torch
from torch import nn

from napari_blush.denoiser.instance_norm import InstanceNorm
from napari_blush.denoiser.network import BlushUNet


@pytest.mark.parametrize("channels_last", [True, False])
def test_it_is_the_librarys(channels_last: bool, generator: torch.Generator) -> None:
    ours, theirs = (kind(5, affine=True).double() for kind in (InstanceNorm, nn.InstanceNorm3d))
    for module in (ours, theirs):
        with torch.no_grad():
            module.weight.copy_(torch.linspace(0.5, 2, 5))
            module.bias.copy_(torch.linspace(-1, 1, 5))
    given = torch.randn(3, 5, 4, 6, 8, dtype=torch.float64, generator=generator)
    weight = torch.randn(given.shape, dtype=torch.float64, generator=generator)
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    found = []
    for module in (ours, theirs):
        features = given.clone(memory_format=layout).requires_grad_()
        result = module(features)
        torch.autograd.backward((result * weight).sum())
        found.append((result.detach(), features.grad, module.weight.grad, module.bias.grad))
    assert ours(given.to(memory_format=layout)).is_contiguous(memory_format=layout)
    for mine, reference in zip(*found, strict=True):
        assert torch.allclose(mine, reference, rtol=1e-9, atol=1e-9)


def test_bfloat16_is_summed_in_single_precision(generator: torch.Generator) -> None:
    features = 30 + torch.randn(2, 4, 8, 8, 8, generator=generator)
    module = InstanceNorm(4, affine=True)
    rounded = features.bfloat16().to(memory_format=torch.channels_last_3d)
    expected = module(rounded.float().contiguous())
    assert torch.allclose(module(rounded).float(), expected, atol=0.02)


def test_the_network_is_the_same_in_both_orders(generator: torch.Generator) -> None:
    network = BlushUNet(4, 2)
    blocks = torch.randn(2, 8, 8, 8, generator=generator)
    with torch.no_grad():
        plain = network(blocks, blocks.abs()).denoised
        network.to(memory_format=torch.channels_last_3d)
        assert torch.allclose(network(blocks, blocks.abs()).denoised, plain, atol=1e-5)
