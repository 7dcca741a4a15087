"""Which slice kernels work on a device: machine code on the CPU if numba is there, else torch."""

import importlib
from functools import lru_cache
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from napari_blush.numerics import slice_kernels_torch
from napari_blush.numerics.packing import PackedCoordinates


@runtime_checkable
class SliceKernels(Protocol):
    """What a module of slice kernels offers; :mod:`slice_kernels_torch` says what each does."""

    def extract(
        self,
        transform: Tensor,
        rotations: Tensor,
        coordinates: PackedCoordinates,
        padding: int,
        slices: Tensor,
    ) -> None:
        """Read central slices."""

    def insert(
        self,
        sums: tuple[Tensor, Tensor],
        rotations: Tensor,
        coordinates: PackedCoordinates,
        padding: int,
        values: Tensor,
        weights: Tensor,
    ) -> None:
        """Add central slices in place."""

    def symmetrize(self, sums: tuple[Tensor, Tensor], operators: Tensor) -> tuple[Tensor, Tensor]:
        """Sum rotated copies."""


def slice_backend(device: torch.device | str) -> str:
    """Name the kernels used on a device: ``"numba"`` or ``"torch"``."""
    on_cpu = torch.device(device).type == "cpu"
    return "numba" if on_cpu and _numba_kernels() is not None else "torch"


def slice_kernels(device: torch.device | str) -> SliceKernels:
    """Return the fastest kernels for a device."""
    compiled = _numba_kernels() if torch.device(device).type == "cpu" else None
    return compiled or cast(SliceKernels, slice_kernels_torch)


@lru_cache(maxsize=1)
def _numba_kernels() -> SliceKernels | None:
    """Import the compiled kernels, which takes a second, when first asked for."""
    try:
        module = importlib.import_module("napari_blush.numerics.slice_kernels_numba")
    except ImportError:  # no numba, or one that refuses this numpy
        return None
    return cast(SliceKernels, module)
