"""Where and how a training computes: device, precision, and randomness that a step determines."""

import contextlib
import hashlib
from collections.abc import Iterator

import torch

from napari_blush.numerics.devices import multiplies_bfloat16_matrices


def chosen_precision(name: str, device: torch.device) -> str:
    """Return ``float32`` or ``bfloat16``; ``auto`` takes the latter where it is fast."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    if device.type == "cpu":
        return "bfloat16" if multiplies_bfloat16_matrices() else "float32"
    return "float32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context of the network's arithmetic."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def step_generator(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """Return the generator of a step: the same whether a training was interrupted or not.

    Processes that train together, of different ``rank``, have each their own.
    """
    # The generator of the CPU looks at the last 32 bits of a seed only.
    digest = hashlib.sha256(f"{seed} {step} {rank}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))


def on_device(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """Return a generator of a device that ``generator`` determines; itself where it will do."""
    if generator.device.type == device.type:
        return generator
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.Generator(device).manual_seed(seed)


@contextlib.contextmanager
def random_state_of(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Let layers that draw from the device's own generator draw what ``generator`` determines.

    The state of the device's generator is as before when the block ends.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        if devices:
            state = torch.Generator(device).manual_seed(seed).get_state()
            torch.cuda.set_rng_state(state, device)
        yield
