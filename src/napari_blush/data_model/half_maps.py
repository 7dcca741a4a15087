"""The two maps that are never allowed to meet."""

from dataclasses import dataclass

from torch import Tensor

from napari_blush.errors import SettingsError


@dataclass(frozen=True, slots=True)
class HalfMaps:
    """Two independently refined maps, ``(n, n, n)`` float32, same box and voxel size (angstrom)."""

    half1: Tensor
    half2: Tensor
    voxel_size: float

    def __post_init__(self) -> None:
        shapes = tuple(self.half1.shape), tuple(self.half2.shape)
        if shapes[0] != shapes[1] or len(set(shapes[0])) != 1 or len(shapes[0]) != 3:
            raise SettingsError(
                f"Half-maps have shapes {shapes[0]} and {shapes[1]}; wanted two equal cubes."
            )
        if self.voxel_size <= 0:
            raise SettingsError(f"Voxel size is {self.voxel_size} A; wanted more than zero.")

    def mean(self) -> Tensor:
        """Return the average of the two."""
        return (self.half1 + self.half2) / 2
