"""The files of a simulated data set: particles, start map and mask to refine with, and the truth.

::

    DIR/particles.star        RELION 3.1, without poses
    DIR/particles.mrcs        the images, MRC mode 2 or 12
    DIR/start_map.mrc         the truth, low-passed
    DIR/mask.mrc              soft
    DIR/info.json             every parameter, and what came of it
    DIR/truth/truth.mrc       the density on the grey scale of the images
    DIR/truth/truth_poses.star
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import torch
from numpy.typing import NDArray

from napari_blush.conventions import Volume
from napari_blush.data_model.particles import ImageSource, Particles
from napari_blush.errors import MrcFileError
from napari_blush.io.atomic import atomic_write
from napari_blush.io.mrc import LABEL, write_map
from napari_blush.io.star import pose_columns, write_particles
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.masks import soft_mask_from_volume

STACK_NAME = "particles.mrcs"
_MRC_MODES = {"float32": 2, "float16": 12}
_IMAGES_AT_A_TIME = 256


def write_images(
    path: Path,
    images: ImageSource,
    pixel_size: float,
    dtype: str,
    progress: Callable[[int, int], None],
) -> None:
    """Write a stack image by image, the whole file or nothing; memory holds 256 images at most.

    Parameters
    ----------
    path : Path
    images : ImageSource
    pixel_size : float
        Angstrom.
    dtype : {"float32", "float16"}
    progress : callable
        Told how many images are written, and of how many.

    Raises
    ------
    MrcFileError
        When values do not fit or the disk refuses.
    """
    n = len(images)
    box_size = int(images.read(torch.tensor([0])).shape[-1])
    statistics = _Statistics()
    with atomic_write(path, MrcFileError) as temporary:
        with mrcfile.new_mmap(
            temporary, shape=(n, box_size, box_size), mrc_mode=_MRC_MODES[dtype], overwrite=True
        ) as file:
            for first in range(0, n, _IMAGES_AT_A_TIME):
                batch = images.read(torch.arange(first, min(first + _IMAGES_AT_A_TIME, n))).numpy()
                stored = batch.astype(dtype)
                if not np.isfinite(stored).all():
                    raise MrcFileError(
                        f"Images for {path} do not fit into {dtype}; wanted finite numbers; lower "
                        "the signal-to-noise ratio or write float32."
                    )
                file.data[first : first + len(batch)] = stored
                statistics.add(batch)
                progress(first + len(batch), n)
            file.set_image_stack()
            file.voxel_size = pixel_size
            statistics.into(file.header)
            file.header.label[0] = LABEL


def write_tables(folder: Path, particles: Particles) -> None:
    """Write ``particles.star`` without poses and ``truth/truth_poses.star`` with them."""
    columns = _columns(particles)
    known = replace(particles, columns=columns)
    write_particles(folder / "particles.star", known)
    poses = pose_columns(particles.poses)
    write_particles(folder / "truth" / "truth_poses.star", known, poses)


def write_maps(
    folder: Path, truth: Volume, voxel_size: float, start_map_resolution: float
) -> Volume:
    """Write truth, mask and start map; return the mask."""
    mask = soft_mask_from_volume(truth, voxel_size)
    write_map(folder / "truth" / "truth.mrc", truth, voxel_size)
    write_map(folder / "mask.mrc", mask, voxel_size)
    start = low_pass(truth, voxel_size, start_map_resolution)
    write_map(folder / "start_map.mrc", start, voxel_size)
    return mask


def write_info(folder: Path, info: dict[str, Any]) -> None:
    """Write ``info.json``."""
    with atomic_write(folder / "info.json", MrcFileError) as temporary:
        temporary.write_text(json.dumps(info, indent=1) + "\n")


def mask_diameter(mask: Volume, voxel_size: float) -> float:
    """Return a particle diameter for refinement: twice the mask's reach, in angstrom.

    Rounded up to 10 A, and never more than the box.
    """
    box_size = int(mask.shape[-1])
    inside = torch.nonzero(mask > 0.5) - box_size // 2
    reach = float(inside.double().norm(dim=1).max()) * voxel_size
    return min(10.0 * -(-2 * reach // 10), box_size * voxel_size)


def _columns(particles: Particles) -> dict[str, NDArray[np.generic]]:
    n = len(particles)
    names = np.array(particles.group_names, dtype=object)
    columns: dict[str, NDArray[np.generic]] = {
        "rlnImageName": np.array([f"{i + 1:06d}@{STACK_NAME}" for i in range(n)], dtype=object),
        "rlnMicrographName": names[particles.group_index.numpy()],
    }
    for i, label in enumerate(("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")):
        columns[label] = particles.defocus[:, i].numpy()
    if bool(particles.phase_shift_deg.any()):
        columns["rlnPhaseShift"] = particles.phase_shift_deg.numpy()
    if bool(particles.ctf_b_factor.any()):
        columns["rlnCtfBfactor"] = particles.ctf_b_factor.numpy()
    columns["rlnOpticsGroup"] = particles.optics_group_index.numpy() + 1
    return columns


class _Statistics:
    """Least, greatest, mean and deviation of all pixels, for the header."""

    def __init__(self) -> None:
        self._n = 0
        self._least, self._greatest = np.inf, -np.inf
        self._sum = self._sum_of_squares = 0.0

    def add(self, batch: NDArray[np.float32]) -> None:
        self._n += batch.size
        self._least = min(self._least, float(batch.min()))
        self._greatest = max(self._greatest, float(batch.max()))
        self._sum += float(batch.sum(dtype=np.float64))
        self._sum_of_squares += float((batch.astype(np.float64) ** 2).sum())

    def into(self, header: Any) -> None:
        mean = self._sum / self._n
        header.dmin, header.dmax, header.dmean = self._least, self._greatest, mean
        header.rms = max(self._sum_of_squares / self._n - mean**2, 0.0) ** 0.5
