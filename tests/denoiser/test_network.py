"""The network beside its published description, written out in numpy and scipy."""

from collections.abc import Mapping
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_blush.denoiser.bfloat16_network import Bfloat16Network
from napari_blush.denoiser.network import BlushUNet

Array = npt.NDArray[np.float64]
Weights = Mapping[str, Array]

PUBLISHED_PARAMETERS = 12_974_578
CHANNELS = {  # in, middle, out of each double block
    "inc": (2, 16, 16),
    "down.0": (16, 32, 32),
    "down.1": (32, 64, 64),
    "down.2": (64, 128, 128),
    "down.3": (128, 256, 256),
    "down.4": (256, 256, 256),
    "up.0.conv": (512, 256, 128),
    "up.1.conv": (256, 128, 64),
    "up.2.conv": (128, 64, 32),
    "up.3.conv": (64, 32, 16),
    "up.4.conv": (32, 16, 16),
}


def test_has_the_published_tensors() -> None:
    shapes = {"outc.weight": (2, 16, 1, 1, 1), "outc.bias": (2,)}
    for block, (inputs, middle, outputs) in CHANNELS.items():
        for layer, (of, to) in enumerate(((inputs, middle), (middle, outputs)), start=1):
            name = f"{block}.double_conv"
            shapes[f"{name}.conv{layer}.weight"] = (to, of, 3, 3, 3)
            for kind in (f"conv{layer}.bias", f"norm{layer}.weight", f"norm{layer}.bias"):
                shapes[f"{name}.{kind}"] = (to,)
    network = BlushUNet()
    found = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert found == shapes
    assert len(found) == 90
    assert sum(tensor.numel() for tensor in network.parameters()) == PUBLISHED_PARAMETERS


def test_state_goes_there_and_back() -> None:
    given_network, other = BlushUNet(4, 3), BlushUNet(4, 3)
    other.load_state_dict(given_network.state_dict(), strict=True)
    density, local_std = torch.randn(2, 1, 16, 16, 16)
    with torch.no_grad():
        for one, two in zip(
            given_network(density, local_std), other(density, local_std), strict=True
        ):
            torch.testing.assert_close(one, two, rtol=0, atol=0)


def convolved(channels: Array, weight: Array, bias: Array) -> Array:
    out = np.zeros((len(weight), *channels.shape[1:]))
    for to, of in product(range(len(weight)), range(len(channels))):
        out[to] += ndimage.correlate(channels[of], weight[to, of], mode="constant")
    return np.asarray(out + bias[:, None, None, None])


def normalized(channels: Array, weight: Array, bias: Array) -> Array:
    out = np.empty_like(channels)
    for index, channel in enumerate(channels):
        spread = np.sqrt(channel.var() + 1e-5)
        out[index] = (channel - channel.mean()) / spread * weight[index] + bias[index]
    return out


def double_block(channels: Array, weights: Weights, name: str) -> Array:
    for layer in (1, 2):
        conv, norm = (f"{name}.double_conv.{kind}{layer}" for kind in ("conv", "norm"))
        channels = convolved(channels, weights[f"{conv}.weight"], weights[f"{conv}.bias"])
        channels = normalized(channels, weights[f"{norm}.weight"], weights[f"{norm}.bias"])
        channels = channels / (1 + np.exp(-channels))
    return channels


def pooled(channels: Array) -> Array:
    c, n = channels.shape[:2]
    m = n // 2
    return np.asarray(channels.reshape(c, m, 2, m, 2, m, 2).max(axis=(2, 4, 6)))


def forward(density: Array, local_std: Array, weights: Weights, depth: int) -> tuple[Array, Array]:
    mean, deviation = density.mean(), density.std(ddof=1) + 1e-12
    standardized = (density - mean) / deviation
    levels = [double_block(np.stack([standardized, local_std]), weights, "inc")]
    for level in range(depth):
        levels.append(double_block(pooled(levels[-1]), weights, f"down.{level}"))
    channels = levels.pop()
    for level in range(depth):
        # Linear interpolation with corner on corner is what order-1 zoom does.
        larger = np.stack([ndimage.zoom(channel, 2, order=1) for channel in channels])
        merged = np.concatenate([levels.pop(), larger])
        channels = double_block(merged, weights, f"up.{level}.conv")
    noise, logit = (
        np.tensordot(weights["outc.weight"][k, :, 0, 0, 0], channels, 1) + weights["outc.bias"][k]
        for k in (0, 1)
    )
    return (standardized - noise) * deviation + mean, logit


@pytest.mark.parametrize(("width", "depth"), [(3, 2), (2, 3)])
def test_agrees_with_loops(width: int, depth: int) -> None:
    torch.manual_seed(width)
    network = BlushUNet(width, depth).double().eval()
    for parameter in network.parameters():  # norms that do something, biases that count
        torch.nn.init.uniform_(parameter, -0.6, 0.9)
    density, local_std = 5 + 3 * torch.randn(1, 16, 16, 16).double(), torch.rand(1, 16, 16, 16)
    with torch.no_grad():
        ours = network(density, local_std.double())
    weights = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    expected = forward(density[0].numpy(), local_std[0].double().numpy(), weights, depth)
    for found, wanted in zip(ours, expected, strict=True):
        np.testing.assert_allclose(found[0].numpy(), wanted, rtol=1e-9, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(1e-3, 1e3), offset=st.floats(-1e2, 1e2))
def test_follows_scale_and_offset(scale: float, offset: float) -> None:
    torch.manual_seed(3)
    network = BlushUNet(2, 2).double().eval()
    density, local_std = torch.randn(2, 1, 8, 8, 8).double()
    with torch.no_grad():
        plain, changed = (network(d, local_std) for d in (density, scale * density + offset))
    torch.testing.assert_close(changed.denoised, scale * plain.denoised + offset)
    torch.testing.assert_close(changed.mask_logit, plain.mask_logit)


def test_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(4)
    network = BlushUNet(4, 3, dropout=0.5)
    density, local_std = torch.randn(2, 1, 16, 16, 16)
    with torch.no_grad():
        draws = [network(density, local_std).denoised for _ in range(2)]
        assert (draws[0] - draws[1]).abs().max() > 1e-3
        network.eval()
        draws = [network(density, local_std).denoised for _ in range(2)]
    torch.testing.assert_close(draws[0], draws[1], rtol=0, atol=0)


def test_bfloat16_copy_is_as_near_as_its_arithmetic() -> None:
    torch.manual_seed(5)
    network = BlushUNet(4, 3).eval()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    density, local_std = torch.randn(3, 16, 16, 16), torch.rand(3, 16, 16, 16)
    rounded = Bfloat16Network(network)
    with torch.no_grad():
        exact = network(density, local_std)
        found = rounded(density, local_std)
        with torch.autocast("cpu", torch.bfloat16):
            usual = network(density, local_std)
    error = (found.denoised - exact.denoised).std() / exact.denoised.std()
    assert 0 < error < 2 * (usual.denoised.float() - exact.denoised).std() / exact.denoised.std()
    assert error < 0.02
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=0)
