"""The processes of one training: one alone, or those that torchrun started, one for each GPU."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from napari_blush.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Workers:
    """One process among those that train together.

    Parameters
    ----------
    rank : int
        0 writes and reports.
    number : int
        Processes in all.
    """

    rank: int = 0
    number: int = 1

    @property
    def is_first(self) -> bool:
        """Return whether this process writes and reports."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Give every process the mean of all gradients, which makes one batch of theirs."""
        if self.number == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.number
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, mean in zip(gradients, torch.split(flat, sizes), strict=True):
            gradient.copy_(mean.reshape(gradient.shape))

    def any(self, wish: bool, device: torch.device) -> bool:
        """Return whether any process wishes so; all must ask at the same point."""
        if self.number == 1:
            return wish
        count = torch.tensor([float(wish)], device=device)
        distributed.all_reduce(count)
        return bool(count > 0)


def join_workers(device: torch.device) -> tuple[Workers, torch.device]:
    """Meet the other processes where torchrun started several, and take a GPU of one's own.

    Parameters
    ----------
    device : torch.device
        Kind of device that is wanted.

    Returns
    -------
    tuple of Workers and torch.device

    Raises
    ------
    TrainingError
        When there are more processes than GPUs.
    """
    number = int(os.environ.get("WORLD_SIZE", "1"))
    if number == 1:
        return Workers(), device
    own = device
    if device.type == "cuda":
        index = int(os.environ.get("LOCAL_RANK", "0"))
        if index >= torch.cuda.device_count():
            raise TrainingError(
                f"Process {index + 1} of this machine has no GPU of its own, of which there are "
                f"{torch.cuda.device_count()}; wanted one for each; start fewer processes."
            )
        own = torch.device("cuda", index)
        torch.cuda.set_device(own)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Workers(distributed.get_rank(), number), own


def leave_workers() -> None:
    """Part from the other processes, where there are any."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
