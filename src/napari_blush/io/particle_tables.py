"""From an optics table and a particle table, both with RELION 3.1's labels, to ``Particles``."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_blush.data_model.particles import Particles
from napari_blush.data_model.poses import Poses
from napari_blush.errors import StarFileError
from napari_blush.io.image_names import ImagePlaces
from napari_blush.io.image_source import StackImageSource
from napari_blush.io.particle_rows import ANGLES, DEFOCUS, SHIFTS, has_poses
from napari_blush.io.star_columns import StarColumns
from napari_blush.io.star_optics import group_of_each_particle, read_optics_groups
from napari_blush.numerics.rotations import euler_to_matrix

_GROUPS = ("rlnGroupName", "rlnGroupNumber", "rlnMicrographName")


def particles_from_tables(
    optics: StarColumns,
    particles: StarColumns,
    places: ImagePlaces,
    sign: npt.NDArray[np.float32] | None = None,
) -> Particles:
    """Return particles from an optics table and a particle table with RELION 3.1's labels.

    Parameters
    ----------
    optics, particles : StarColumns
    places : ImagePlaces
        Where the image of each row lies.
    sign : (n,) float32, optional
        -1 where protein is dark in the file; such images are inverted when read.

    Raises
    ------
    StarFileError
        When a column is missing, or a value wrong or at odds with the stacks.
    """
    n = len(particles)
    group = group_of_each_particle(optics, particles)
    posed = has_poses(particles)
    has_shifts = particles.all_or_none(*SHIFTS)
    poses = Poses.identity(n)
    if posed:
        angles = _stacked(particles, ANGLES)
        shifts = _stacked(particles, SHIFTS) if has_shifts else poses.shifts_angstrom
        poses = Poses(euler_to_matrix(angles), shifts)
    group_index, group_names = _scale_groups(particles)
    return Particles(
        images=StackImageSource(places.files, places.file_index, places.image_index, sign=sign),
        optics_groups=read_optics_groups(optics, _box_sizes(optics, group, places)),
        optics_group_index=torch.from_numpy(group),
        defocus=_stacked(particles, DEFOCUS),
        phase_shift_deg=torch.from_numpy(particles.numbers("rlnPhaseShift", 0.0)),
        ctf_b_factor=torch.from_numpy(particles.numbers("rlnCtfBfactor", 0.0)),
        ctf_scale=torch.from_numpy(particles.numbers("rlnCtfScalefactor", 1.0)),
        poses=poses,
        has_poses=posed,
        random_subset=_random_subset(particles),
        group_index=group_index,
        group_names=group_names,
        norm_correction=torch.from_numpy(particles.numbers("rlnNormCorrection", 1.0)),
        columns=particles.columns,
        optics_columns=optics.columns,
    )


def _stacked(table: StarColumns, labels: tuple[str, ...]) -> Tensor:
    return torch.from_numpy(np.stack([table.numbers(label) for label in labels], axis=1))


def _random_subset(particles: StarColumns) -> Tensor:
    subset = particles.integers("rlnRandomSubset", 0)
    if not np.isin(subset, (1, 2)).all() and subset.any():
        row = int(np.flatnonzero(~np.isin(subset, (1, 2)))[0])
        raise StarFileError(
            f"{particles.path} has _rlnRandomSubset = {subset[row]} in row {row + 1}, while other "
            "particles are in a half; wanted 1 or 2 for every particle; assign all of them or "
            "remove the column."
        )
    return torch.from_numpy(subset)


def _scale_groups(particles: StarColumns) -> tuple[Tensor, tuple[str, ...]]:
    label = next((label for label in _GROUPS if label in particles), None)
    if label is None:
        return torch.zeros(len(particles), dtype=torch.int64), ("group_1",)
    if label == "rlnGroupNumber":
        numbers, index = np.unique(particles.integers(label), return_inverse=True)
        return torch.from_numpy(index), tuple(f"group_{number}" for number in numbers)
    names = sorted(set(particles.columns[label]))
    place = {name: i for i, name in enumerate(names)}
    index = np.fromiter((place[x] for x in particles.columns[label]), np.int64, len(particles))
    return torch.from_numpy(index), tuple(names)


def _box_sizes(optics: StarColumns, group: npt.NDArray[np.int64], places: ImagePlaces) -> list[int]:
    """Return the box of each optics group's images, the same in the table and in the stacks."""
    found = places.box_sizes[places.file_index]
    stated = optics.integers("rlnImageSize", 0)
    for i in range(len(optics)):
        in_stacks = found[group == i]
        wanted = stated[i] if stated[i] or not len(in_stacks) else in_stacks[0]
        wrong = np.flatnonzero((group == i) & (found != wanted))
        if len(wrong):
            row = int(wrong[0])
            what = "_rlnImageSize" if stated[i] else "the group's first image"
            raise StarFileError(
                f"{optics.path} puts particle {row + 1} into optics group "
                f"{optics.columns['rlnOpticsGroup'][i]}, where {what} says {int(wanted)} px, and "
                f"its image in {places.files[places.file_index[row]]} has {found[row]} px; wanted "
                "one box size per optics group; correct the table or the image names."
            )
        if not stated[i]:
            # A group without images has no box to be wrong about.
            stated[i] = in_stacks[0] if len(in_stacks) else found[0]
    return [int(size) for size in stated]
