"""Where each particle is and how it lies."""

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_blush.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Poses:
    """Orientations and origins of particles (CPU, float64).

    Parameters
    ----------
    rotations : (n, 3, 3) float64
        Image frame to volume frame, see ``conventions``.
    shifts_angstrom : (n, 2) float64
        (x, y) translation to apply to the image, RELION's ``rlnOriginX/YAngst``.
    """

    rotations: Tensor
    shifts_angstrom: Tensor

    def __post_init__(self) -> None:
        n = self.rotations.shape[0]
        if tuple(self.rotations.shape) != (n, 3, 3) or tuple(self.shifts_angstrom.shape) != (n, 2):
            raise SettingsError(
                f"Poses were given rotations {tuple(self.rotations.shape)} and shifts "
                f"{tuple(self.shifts_angstrom.shape)}; wanted (n, 3, 3) and (n, 2)."
            )

    def __len__(self) -> int:
        return int(self.rotations.shape[0])

    @classmethod
    def identity(cls, n: int) -> "Poses":
        """Return ``n`` poses without rotation and shift."""
        eye = torch.eye(3, dtype=torch.float64).expand(n, 3, 3).clone()
        return cls(eye, torch.zeros(n, 2, dtype=torch.float64))
