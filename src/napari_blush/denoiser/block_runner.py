"""Batches of blocks through the network: arithmetic, batch size, and what to do without memory."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from napari_blush.denoiser.denoise_options import Precision
from napari_blush.denoiser.network import BlockPrediction
from napari_blush.denoiser.patches import Blocks

_OUT_OF_MEMORY = (  # what torch says in a plain RuntimeError, on Linux, elsewhere, and on MPS
    "can't allocate memory",
    "not enough memory",
    "MPS backend out of memory",
)
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def chosen_precision(asked: Precision, device: torch.device, *, release: bool) -> torch.dtype:
    """Return the arithmetic of the convolutions: what was asked, or what the device has fast."""
    if asked != "auto":
        return _DTYPES[asked]
    if release:
        return torch.float32
    if device.type == "cuda":
        return torch.float16
    if device.type == "cpu" and cpu_multiplies_bfloat16():
        return torch.bfloat16
    return torch.float32


def cpu_multiplies_bfloat16() -> bool:
    """Return whether the processor has matrix units for bfloat16 (told by Linux only)."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on any device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and any(phrase in said for phrase in _OUT_OF_MEMORY)


class BlockRunner:
    """The network on its device, in a given arithmetic.

    Parameters
    ----------
    network : module
        Takes and returns what ``BlushUNet`` does.
    dtype : torch.dtype
        Of the convolutions; float32 is no autocast.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        parameter = next(network.parameters(), None)
        self.device = torch.device("cpu") if parameter is None else parameter.device
        self._network = network
        self._dtype = dtype

    def __call__(self, density: Blocks, local_std: Blocks) -> tuple[Tensor, Tensor]:
        """Return the denoised blocks and their masks in [0, 1], float32."""
        with torch.no_grad(), self._arithmetic():
            found: BlockPrediction = self._network(
                density.to(self.device), local_std.to(self.device)
            )
        return found.denoised.float(), torch.sigmoid(found.mask_logit.float())

    def _arithmetic(self) -> AbstractContextManager[object]:
        if self._dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self._dtype)
