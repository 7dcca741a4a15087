"""Lists of Fourier coefficients of an image: what they are, and the plainest one.

Whatever is evaluated coefficient by coefficient takes a ``FourierCoordinates``: the packed rows of
refinement, or the whole half transform when images are simulated or written out.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from napari_blush.conventions import Indices


@runtime_checkable
class FourierCoordinates(Protocol):
    """A list of Fourier coefficients of an image, such as ``PackedCoordinates``."""

    @property
    def box_size(self) -> int:
        """Return the box in pixels."""
        ...

    @property
    def kx(self) -> Indices:
        """Return x in Fourier voxels, ``(k,)`` int64."""
        ...

    @property
    def ky(self) -> Indices:
        """Return y in Fourier voxels, ``(k,)`` int64."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class HalfPlaneCoordinates:
    """All coefficients of a half transform in memory order, ``n (n // 2 + 1)`` of them."""

    box_size: int
    kx: Indices
    ky: Indices


def half_plane_coordinates(box_size: int, device: torch.device) -> HalfPlaneCoordinates:
    """List the coefficients of ``(n, n // 2 + 1)``, row by row, the Nyquist row as ``+n / 2``."""
    ky = torch.arange(box_size, device=device)
    ky = torch.where(ky > box_size // 2, ky - box_size, ky)
    kx = torch.arange(box_size // 2 + 1, device=device)
    rows, columns = torch.meshgrid(ky, kx, indexing="ij")
    return HalfPlaneCoordinates(box_size, columns.flatten(), rows.flatten())
