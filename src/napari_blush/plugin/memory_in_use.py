"""How much memory this process has in use; asks torch only where it is loaded already."""

import sys

import psutil  # type: ignore[import-untyped]

_GIGABYTE = 1e9


def memory_in_words() -> str:
    """Return the memory of the process, and that of its GPU where it uses one."""
    process = psutil.Process().memory_info().rss / _GIGABYTE
    words = f"{process:.1f} GB in use"
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return words
    free, total = torch.cuda.mem_get_info()
    own = torch.cuda.memory_reserved()
    return (
        f"{words}, on the GPU {own / _GIGABYTE:.1f} GB ({free / _GIGABYTE:.1f} of "
        f"{total / _GIGABYTE:.0f} GB free)"
    )
