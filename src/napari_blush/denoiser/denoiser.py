"""A network that is ready to be applied, with the record of its weights."""

import copy
from dataclasses import dataclass, replace

import torch

from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.weights_record import WeightsRecord


@dataclass(frozen=True)
class Denoiser:
    """A network in evaluation mode, without gradients.

    Parameters
    ----------
    network : BlushUNet
        On the device where blocks are denoised.
    record : WeightsRecord
        Which weights these are; its voxel and block size rule how maps are cut up.
    """

    network: BlushUNet
    record: WeightsRecord

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False)

    @property
    def voxel_size(self) -> float:
        """Angstrom, of the grid that the network works on."""
        return self.record.voxel_size

    @property
    def block_size(self) -> int:
        """Voxels along an edge of a block."""
        return self.record.block_size

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> "Denoiser":
        """Return a denoiser on ``device``; this one stays where it is."""
        wanted = torch.device(device)
        if wanted == self.device:
            return self
        return replace(self, network=copy.deepcopy(self.network).to(wanted))
