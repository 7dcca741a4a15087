"""The network in bfloat16 for CPUs that multiply such matrices, four times faster than in float32.

Convolutions are rounded once instead of at every block, as autocast would, and features lie with
their channels last from the first layer on, as the matrix units want them.
"""

import copy
import importlib
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor, nn

from napari_blush.denoiser.instance_norm import InstanceNorm
from napari_blush.denoiser.network import BlockPrediction, BlushUNet, DoubleConvolution
from napari_blush.denoiser.patches import Blocks

_Kernel: TypeAlias = Callable[[Tensor, Tensor, Tensor, float], None]


class Bfloat16Network(nn.Module):
    """A copy of a network; takes and returns what the network does.

    Standardization, the statistics of normalizations and the subtraction of the noise stay float32.

    Parameters
    ----------
    network : BlushUNet
        In evaluation mode on a CPU; not changed.
    """

    def __init__(self, network: BlushUNet) -> None:
        super().__init__()
        self._network = copy.deepcopy(network).eval().requires_grad_(False)
        at_once = _normalize_and_activate()
        for layer in list(self._network.modules()):
            if isinstance(layer, nn.Conv3d):
                layer.bfloat16()
                weight = layer.weight.data
                layer.weight.data = weight.contiguous(memory_format=torch.channels_last_3d)
            if isinstance(layer, DoubleConvolution) and at_once is not None:
                layer.add_module("norm1", _NormalizedActivation(layer.norm1, at_once))
                layer.add_module("norm2", _NormalizedActivation(layer.norm2, at_once))
                layer.add_module("activation", nn.Identity())
        self._network.inc.register_forward_pre_hook(_as_features)

    def forward(self, density: Blocks, local_std: Blocks) -> BlockPrediction:
        """Return what the network makes of the blocks."""
        found: BlockPrediction = self._network(density, local_std)
        return found


class _NormalizedActivation(nn.Module):
    """Normalization and activation at once, in place of the features."""

    def __init__(self, norm: InstanceNorm, at_once: _Kernel) -> None:
        super().__init__()
        self.norm, self._at_once = norm, at_once

    def forward(self, features: Tensor) -> Tensor:
        """Return the features, changed in place where they lie with channels last."""
        features = features.contiguous(memory_format=torch.channels_last_3d)
        self._at_once(features, self.norm.weight, self.norm.bias, self.norm.eps)
        return features


@lru_cache(maxsize=1)
def _normalize_and_activate() -> _Kernel | None:
    """Return the compiled kernel, where there is numba."""
    try:
        module = importlib.import_module("napari_blush.denoiser.activation_kernels_numba")
    except ImportError:  # no numba, or one that refuses this numpy
        return None
    found: _Kernel = module.normalize_and_activate
    return found


def _as_features(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    (channels,) = given
    return (channels.bfloat16().contiguous(memory_format=torch.channels_last_3d),)
