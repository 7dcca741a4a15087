"""What a device is, can, and says when it cannot: asked in one place for all rooms."""

import torch

from napari_blush.errors import BlushError
from napari_blush.wording import says_out_of_memory


def chosen_device(name: str, error: type[BlushError]) -> torch.device:
    """Return the device of a setting: ``auto`` is CUDA where there is one, else the CPU.

    Parameters
    ----------
    name : {"auto", "cpu", "cuda", "mps"}
    error : subclass of BlushError
        What is raised when the device is not there.

    Raises
    ------
    BlushError
        Of the given kind.
    """
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return torch.device("cuda" if available["cuda"] else "cpu")
    if not available[name]:
        raise error(
            f"Device {name!r} was asked for and PyTorch does not see one; wanted one of "
            f"{', '.join(known for known, there in available.items() if there)}; choose --device "
            "or install PyTorch for your accelerator."
        )
    return torch.device(name)


def multiplies_bfloat16_matrices() -> bool:
    """Return whether the CPU has units for matrices of bfloat16 (AMX)."""
    # Older torch has no public way to ask.
    if not hasattr(torch.cpu, "get_capabilities"):
        return False
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on any device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and says_out_of_memory(error)
