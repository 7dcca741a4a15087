"""Particles from RELION's STAR files (3.0, 3.1, 4, 5) and back in the layout of 3.1.

Angles are ``rlnAngleRot/Tilt/Psi`` in degrees, shifts ``rlnOriginX/YAngst`` in angstrom; what they
mean is said in ``conventions``. Columns that mean nothing here are kept as text, in order.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_blush.data_model.particles import Particles
from napari_blush.data_model.poses import Poses
from napari_blush.errors import StarFileError
from napari_blush.io.particle_rows import ANGLES, DEFOCUS, SHIFTS, read_particle_rows
from napari_blush.io.particle_tables import particles_from_tables
from napari_blush.io.star_optics import optics_columns
from napari_blush.io.star_table import StarBlock
from napari_blush.io.star_text import columns_of, write_star
from napari_blush.numerics.rotations import matrix_to_euler


def read_particles(path: str | Path, *, image_root: str | Path | None = None) -> Particles:
    """Read particles and their optics; the images stay on disk.

    Parameters
    ----------
    path : path
        A particle STAR file of RELION 3.0 (one table) or 3.1 and later (with optics groups).
    image_root : path, optional
        The folder that relative image names start from; without it the working directory, the
        STAR file's folder and the folders above it are tried, in this order.

    Returns
    -------
    Particles
        Poses are identity and ``has_poses`` False unless all three angles are there.
        ``random_subset`` is 0 throughout where the file assigns none. Scale groups are those of
        ``rlnGroupName``, else ``rlnGroupNumber``, else ``rlnMicrographName``, else one.

    Raises
    ------
    StarFileError
        When the file, a table, a column or a value is missing or wrong.
    MrcFileError
        When a stack cannot be read or is cut short.
    """
    rows = read_particle_rows(path, image_root=image_root)
    return particles_from_tables(rows.optics, rows.particles, rows.places)


def write_particles(
    path: str | Path,
    particles: Particles,
    updates: Mapping[str, npt.ArrayLike] | None = None,
) -> None:
    """Write particles in the layout of RELION 3.1, the whole file or nothing.

    What was read is written as it was read; ``updates`` replace columns or are appended. Particles
    that were not read from a file get their columns from their fields, and ``updates`` must then
    hold ``rlnImageName``.

    Parameters
    ----------
    path : path
    particles : Particles
    updates : mapping of RELION label to (n,) array
        Text is written as it is, integers in full, floats with six decimals or seven figures. See
        ``pose_columns`` for poses.

    Raises
    ------
    StarFileError
        When an update has the wrong number of rows or holds NaN, or the disk refuses.
    """
    path = Path(path)
    updates = dict(updates or {})
    for label, values in updates.items():
        array = np.asarray(values)
        if array.shape != (len(particles),):
            raise StarFileError(
                f"Column {label} for {path} has shape {array.shape} and there are {len(particles)} "
                "particles; wanted one value per particle."
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise StarFileError(
                f"Column {label} for {path} holds values that are not finite; wanted numbers."
            )
    columns = columns_of(particles.columns or _columns_from_fields(particles))
    columns |= columns_of(updates)
    if "rlnImageName" not in columns:
        raise StarFileError(
            f"Particles for {path} have no rlnImageName; wanted the name of every image; pass it "
            "in updates."
        )
    optics = optics_columns(particles.optics_groups, particles.optics_columns)
    write_star(path, [StarBlock("optics", optics), StarBlock("particles", columns)])


def pose_columns(poses: Poses) -> dict[str, npt.NDArray[np.float64]]:
    """Return poses as RELION's columns: angles in degrees, origins in angstrom."""
    angles = matrix_to_euler(poses.rotations).numpy()
    shifts = poses.shifts_angstrom.numpy()
    return {label: angles[:, i] for i, label in enumerate(ANGLES)} | {
        label: shifts[:, i] for i, label in enumerate(SHIFTS)
    }


def _columns_from_fields(particles: Particles) -> dict[str, npt.NDArray[np.generic]]:
    columns: dict[str, npt.NDArray[np.generic]] = {
        label: particles.defocus[:, i].numpy() for i, label in enumerate(DEFOCUS)
    }
    columns["rlnPhaseShift"] = particles.phase_shift_deg.numpy()
    columns["rlnCtfBfactor"] = particles.ctf_b_factor.numpy()
    columns["rlnCtfScalefactor"] = particles.ctf_scale.numpy()
    columns["rlnOpticsGroup"] = particles.optics_group_index.numpy() + 1
    columns["rlnGroupName"] = np.array(particles.group_names, dtype=np.object_)[
        particles.group_index.numpy()
    ]
    columns["rlnNormCorrection"] = particles.norm_correction.numpy()
    if particles.has_poses:
        columns |= pose_columns(particles.poses)
    if bool((particles.random_subset > 0).all()):
        columns["rlnRandomSubset"] = particles.random_subset.numpy()
    return columns
