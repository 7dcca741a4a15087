"""Particle images with all that is known of them, the pixels still on disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.poses import Poses
from napari_blush.errors import SettingsError


@runtime_checkable
class ImageSource(Protocol):
    """Images that can be read by index; a stack on disk, a tensor, or a wrapper of either."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def read(self, indices: Tensor) -> Tensor:
        """Read images; ``indices (b,)`` int64 to ``(b, n, n)`` float32 on the CPU.

        All images of one call must have the same box size.
        """
        ...


@dataclass(frozen=True, slots=True)
class ImagesInMemory:
    """An ``ImageSource`` over a tensor ``(n_images, n, n)``."""

    stack: Tensor

    def __len__(self) -> int:
        return int(self.stack.shape[0])

    def read(self, indices: Tensor) -> Tensor:
        """Return the images at ``indices`` as float32."""
        return self.stack[indices].to(torch.float32)


@dataclass(frozen=True, slots=True)
class Particles:
    """Everything known about ``n`` particle images.

    Parameters
    ----------
    images : ImageSource
        Image ``i`` belongs to row ``i`` of every other field.
    optics_groups : tuple of OpticsGroup
    optics_group_index : (n,) int64
        0-based index into ``optics_groups``.
    defocus : (n, 3) float64
        Defocus U and V in angstrom (underfocus positive), astigmatism angle in degrees.
    phase_shift_deg, ctf_b_factor, ctf_scale : (n,) float64
        ``rlnPhaseShift`` (degrees), ``rlnCtfBfactor`` (angstrom squared), ``rlnCtfScalefactor``.
    poses : Poses
        Identity where the file had none; ``has_poses`` says which.
    has_poses : bool
        Whether the poses were given.
    random_subset : (n,) int64
        1 or 2; 0 where not assigned yet.
    group_index : (n,) int64
        0-based scale group (RELION's micrograph group).
    group_names : tuple of str
    norm_correction : (n,) float64
        ``rlnNormCorrection``; 1 where not given.
    columns : mapping of str to (n,) array
        Every column of the particle table as read, in order, RELION labels without the leading
        underscore; writing uses them so that unknown columns survive.
    optics_columns : mapping of str to array
        Likewise for the optics table, one row per group.
    """

    images: ImageSource
    optics_groups: tuple[OpticsGroup, ...]
    optics_group_index: Tensor
    defocus: Tensor
    phase_shift_deg: Tensor
    ctf_b_factor: Tensor
    ctf_scale: Tensor
    poses: Poses
    has_poses: bool
    random_subset: Tensor
    group_index: Tensor
    group_names: tuple[str, ...]
    norm_correction: Tensor
    columns: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    optics_columns: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.images)
        per_image = {
            "optics_group_index": self.optics_group_index,
            "defocus": self.defocus,
            "phase_shift_deg": self.phase_shift_deg,
            "ctf_b_factor": self.ctf_b_factor,
            "ctf_scale": self.ctf_scale,
            "random_subset": self.random_subset,
            "group_index": self.group_index,
            "norm_correction": self.norm_correction,
            "poses": self.poses.rotations,
        }
        for name, values in per_image.items():
            if values.shape[0] != n:
                raise SettingsError(
                    f"Particles were given {values.shape[0]} rows of {name} for {n} images; "
                    "wanted one row per image."
                )
        if n and int(self.optics_group_index.max()) >= len(self.optics_groups):
            raise SettingsError(
                f"An image names optics group {int(self.optics_group_index.max()) + 1}, and there "
                f"are {len(self.optics_groups)}; correct rlnOpticsGroup."
            )

    def __len__(self) -> int:
        return len(self.images)
