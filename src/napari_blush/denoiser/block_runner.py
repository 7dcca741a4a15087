"""Batches of blocks through the network: on which device, and in which arithmetic."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from napari_blush.denoiser.bfloat16_network import Bfloat16Network
from napari_blush.denoiser.denoise_options import Precision
from napari_blush.denoiser.network import BlockPrediction, BlushUNet
from napari_blush.denoiser.patches import Blocks
from napari_blush.numerics.devices import multiplies_bfloat16_matrices

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def chosen_precision(asked: Precision, device: torch.device, *, release: bool) -> torch.dtype:
    """Return the arithmetic of the convolutions: what was asked, or what the device has fast."""
    if asked != "auto":
        return _DTYPES[asked]
    if release:
        return torch.float32
    if device.type == "cuda":
        return torch.float16
    if device.type == "cpu" and multiplies_bfloat16_matrices():
        return torch.bfloat16
    return torch.float32


def device_of(network: nn.Module) -> torch.device:
    """Return where the parameters of a network are; the CPU when it has none."""
    parameter = next(network.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


class BlockRunner:
    """The network on its device, in a given arithmetic.

    Parameters
    ----------
    network : module
        Takes and returns what ``BlushUNet`` does.
    dtype : torch.dtype
        Of the convolutions; float32 is no autocast. Standardization, the subtraction of the noise
        and all that follows are float32.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        self.device = device_of(network)
        self.dtype = dtype
        self.overflowed = False
        self._network = network
        self._is_rounded = False
        if dtype == torch.bfloat16 and self.device.type == "cpu" and type(network) is BlushUNet:
            self._network, self._is_rounded = Bfloat16Network(network), True

    def __call__(self, density: Blocks, local_std: Blocks) -> tuple[Tensor, Tensor]:
        """Return the denoised blocks and their masks in [0, 1], float32, where they were given.

        A batch that overflows in float16 is done again in float32, and so is all that follows.
        """
        found = self._predict(density.to(self.device), local_std.to(self.device))
        if self.dtype == torch.float16 and not bool(torch.isfinite(found.denoised).all()):
            self.dtype, self.overflowed = torch.float32, True
            found = self._predict(density.to(self.device), local_std.to(self.device))
        mask = torch.sigmoid(found.mask_logit.float())
        return found.denoised.float().to(density.device), mask.to(density.device)

    def _predict(self, density: Tensor, local_std: Tensor) -> BlockPrediction:
        with torch.no_grad(), self._arithmetic():
            found: BlockPrediction = self._network(density, local_std)
        return found

    def _arithmetic(self) -> AbstractContextManager[object]:
        if self.dtype == torch.float32 or self._is_rounded:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)
