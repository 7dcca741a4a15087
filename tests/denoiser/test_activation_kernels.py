"""Normalization and activation at once are what the library does one after the other."""

import pytest
import torch
from torch import nn

from napari_blush.denoiser.bfloat16_network import Bfloat16Network
from napari_blush.denoiser.network import BlushUNet

kernels = pytest.importorskip("napari_blush.denoiser.activation_kernels_numba")
HALF_A_STEP = 2.0**-8  # of bfloat16


@pytest.mark.parametrize(
    ("channels", "side", "level"),
    [(16, 16, 0.0), (16, 8, 30.0), (128, 2, 0.0), (256, 4, -3.0), (48, 4, 1.0), (5, 3, 1.0)],
)
def test_nearest_bfloat16_of_the_exact_result(
    channels: int, side: int, level: float, generator: torch.Generator
) -> None:
    spread = torch.rand(channels, 1, 1, 1, generator=generator) + 0.1
    values = level + spread * torch.randn(3, channels, side, side, side, generator=generator)
    features = values.bfloat16().to(memory_format=torch.channels_last_3d)
    norm = nn.InstanceNorm3d(channels, affine=True).requires_grad_(False)
    norm.weight.normal_(generator=generator)
    norm.bias.normal_(generator=generator)
    double = nn.InstanceNorm3d(channels, affine=True).double().requires_grad_(False)
    double.load_state_dict({name: value.double() for name, value in norm.state_dict().items()})
    expected = nn.functional.silu(double(features.double()))
    kernels.normalize_and_activate(features, norm.weight, norm.bias, norm.eps)
    error = (features.double() - expected).abs()
    assert float((error / (expected.abs() + 0.01)).max()) < 1.5 * HALF_A_STEP


def test_extreme_features_stay_finite_and_what_is_no_number_stays_none() -> None:
    values = torch.zeros(1, 16, 4, 4, 4)
    values[0, 0, 0, 0, 0] = 1e30
    values[0, 1, 0, 0, 0] = torch.nan
    features = values.bfloat16().to(memory_format=torch.channels_last_3d)
    weight, bias = torch.full((16,), 1e3), torch.full((16,), -50.0)
    kernels.normalize_and_activate(features, weight, bias, 1e-5)
    assert bool(torch.isnan(features[0, 1]).any())
    rest = features[0, 2:].float()
    assert float(rest.abs().max()) < 1e-6  # silu(-50)


def test_the_network_is_as_exact_with_the_kernels_as_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(5)
    network = BlushUNet(16, 2).eval().requires_grad_(False)
    density, local_std = torch.randn(2, 16, 16, 16), torch.rand(2, 16, 16, 16)
    exact = network(density, local_std).denoised
    fast = Bfloat16Network(network)(density, local_std).denoised
    monkeypatch.setattr(
        "napari_blush.denoiser.bfloat16_network._normalize_and_activate", lambda: None
    )
    plain = Bfloat16Network(network)(density, local_std).denoised
    assert not torch.equal(fast, plain)
    assert float((fast - exact).std()) < 1.2 * float((plain - exact).std())
