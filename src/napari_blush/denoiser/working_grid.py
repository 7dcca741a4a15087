"""The grid that a denoiser works on: the map's box with voxels as near to the denoiser's as can be.

Both grids span the same box, so that going from one to the other crops or pads the transform and
nothing else. The denoiser's has an even number of voxels; the map's may be odd.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.errors import SettingsError
from napari_blush.numerics.fft import fourier_resize, irfftn_centered, rfftn_centered


@dataclass(frozen=True, slots=True)
class WorkingGrid:
    """Where a map is denoised.

    Parameters
    ----------
    box_size : int
        Voxels along an edge of the map, even or odd.
    voxel_size : float
        Angstrom, of the map.
    size : int
        Even number of voxels along an edge of the denoiser's grid, over the same length.
    """

    box_size: int
    voxel_size: float
    size: int

    @property
    def working_voxel_size(self) -> float:
        """Angstrom, exact: the denoiser's own only when that divides the box."""
        return self.box_size * self.voxel_size / self.size

    @property
    def nyquist_shell(self) -> float:
        """Shell of the map's box at the Nyquist frequency of the denoiser's grid."""
        return self.size / 2

    def to_working(self, volume: Volume) -> Float[Tensor, "m m m"]:
        """Sample a map ``(box_size, ...)`` on the denoiser's grid ``(size, ...)``."""
        return _resized(volume, self.size)

    def to_map(self, volume: Volume) -> Float[Tensor, "m m m"]:
        """Sample the denoiser's grid on the map's; empty beyond the coarser Nyquist frequency."""
        return _resized(volume, self.box_size)


def working_grid(box_size: int, voxel_size: float, denoiser_voxel_size: float) -> WorkingGrid:
    """Return the grid whose even size makes its voxels nearest to the denoiser's.

    Parameters
    ----------
    box_size
        Voxels along an edge of the map.
    voxel_size, denoiser_voxel_size
        Angstrom.

    Raises
    ------
    SettingsError
        When a voxel size is not a positive number.
    """
    for size in (voxel_size, denoiser_voxel_size):
        if not 0 < size < float("inf"):
            raise SettingsError(
                f"A voxel size of {size} A was given; wanted a number above zero: set it in the "
                "header of the map or give it by hand."
            )
    length = box_size * voxel_size
    below = max(2, int(length / denoiser_voxel_size) // 2 * 2)
    nearest = min((below, below + 2), key=lambda n: abs(length / n - denoiser_voxel_size))
    return WorkingGrid(box_size, voxel_size, nearest)


def _resized(volume: Volume, new_box: int) -> Float[Tensor, "m m m"]:
    box = volume.shape[-1]
    if box == new_box:
        return volume
    if box % 2 == 0 and new_box % 2 == 0:
        return fourier_resize(volume, new_box)
    # An odd box has no Nyquist frequency; that of the even one is left empty.
    most = (min(box, new_box) - 1) // 2
    frequencies = torch.arange(-most, most + 1)
    given = rfftn_centered(volume)
    half = slice(0, most + 1)
    resized = given.new_zeros(new_box, new_box, new_box // 2 + 1)
    to, of = frequencies % new_box, frequencies % box
    resized[to[:, None], to, half] = given[of[:, None], of, half] * (new_box / box) ** 3
    return irfftn_centered(resized, new_box)
