"""Particles from CryoSPARC's ``.cs`` files, by way of RELION's labels.

A ``.cs`` file is a NumPy structured array, one row per particle; fields that a job did not make
stand in a passthrough file and are joined by ``uid``.

Conventions, as published with pyem's ``csparc2star`` (Asarnow, Palovcak, Cheng 2019,
doi:10.5281/zenodo.3576630): ``alignments3D/pose`` is an axis times an angle in radian whose
right-handed rotation is the transpose of RELION's matrix, which is ``conventions``' ``R`` itself;
``alignments3D/shift`` has RELION's sign and is in pixels of ``alignments3D/psize_A``;
``alignments3D/split`` counts from 0; angles are in radian.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from napari_blush.data_model.particles import Particles
from napari_blush.errors import StarFileError
from napari_blush.io.atomic import reason_of
from napari_blush.io.image_names import locate_images
from napari_blush.io.particle_rows import ANGLES, SHIFTS
from napari_blush.io.particle_tables import particles_from_tables
from napari_blush.io.star_columns import StarColumns
from napari_blush.io.star_text import columns_of
from napari_blush.numerics.rotations import axis_angle_to_matrix, matrix_to_euler

_PER_GROUP = {
    "ctf/accel_kv": "rlnVoltage",
    "ctf/cs_mm": "rlnSphericalAberration",
    "ctf/amp_contrast": "rlnAmplitudeContrast",
    "blob/psize_A": "rlnImagePixelSize",
}
_PER_PARTICLE = {
    "ctf/df1_A": ("rlnDefocusU", 1.0),
    "ctf/df2_A": ("rlnDefocusV", 1.0),
    "ctf/df_angle_rad": ("rlnDefocusAngle", 180 / np.pi),
}
_OPTIONAL = {
    "ctf/phase_shift_rad": ("rlnPhaseShift", 180 / np.pi),
    "ctf/bfactor": ("rlnCtfBfactor", 1.0),
}
_ABERRATIONS = ("ctf/tilt_A", "ctf/shift_A", "ctf/trefoil_A", "ctf/tetra_A", "ctf/anisomag")


def read_cryosparc(
    path: str | Path,
    passthrough: str | Path | Sequence[str | Path] | None = None,
    *,
    image_root: str | Path | None = None,
    ignore_aberrations: bool = False,
) -> Particles:
    """Read particles of a CryoSPARC job; the images stay on disk.

    Parameters
    ----------
    path : path
        The job's ``..._particles.cs``.
    passthrough : path or sequence of paths, optional
        Its ``passthrough_particles.cs``, for the fields that ``path`` lacks.
    image_root : path, optional
        The CryoSPARC project folder, which image paths start from; without it the working
        directory, the folder of ``path`` and the folders above it are tried.
    ignore_aberrations : bool
        Read particles with beam tilt, trefoil, tetrafoil or anisotropic magnification all the same.

    Returns
    -------
    Particles
        With RELION's labels in ``columns``. Images whose ``blob/sign`` is -1 (protein dark) are
        inverted when read; RELION, given a STAR file written from these particles, would not.

    Raises
    ------
    StarFileError
        When a file, a field or a value is missing or wrong, or when aberrations are set that have
        no proven counterpart in RELION's labels.
    MrcFileError
        When a stack cannot be read.
    """
    path = Path(path)
    others = (
        [passthrough] if isinstance(passthrough, str | Path) else [] if not passthrough
        else passthrough
    )  # fmt: skip
    fields = _joined(path, [Path(other) for other in others])
    if not ignore_aberrations:
        _refuse_aberrations(path, fields)
    stacks = [_stack_name(value) for value in _field(path, fields, "blob/path").tolist()]
    image_index = _field(path, fields, "blob/idx").astype(np.int64)
    places = locate_images(path, stacks, image_index, Path(image_root) if image_root else None)
    optics, group_number = _optics(path, fields)
    columns: dict[str, npt.ArrayLike] = {
        "rlnImageName": [
            f"{i + 1:06d}@{stack}" for i, stack in zip(image_index.tolist(), stacks, strict=True)
        ],
        "rlnOpticsGroup": group_number,
    }
    if "location/micrograph_path" in fields:
        values = fields["location/micrograph_path"].tolist()
        columns["rlnMicrographName"] = [_stack_name(value) for value in values]
    else:
        columns["rlnGroupName"] = stacks
    for name, (label, factor) in _PER_PARTICLE.items():
        columns[label] = factor * _field(path, fields, name).astype(np.float64)
    for name, (label, factor) in _OPTIONAL.items():
        if name in fields:
            columns[label] = factor * fields[name].astype(np.float64)
    columns |= _alignment(path, fields)
    columns["ucsfUid"] = fields["uid"]
    return particles_from_tables(
        StarColumns(path, "optics", columns_of(optics)),
        StarColumns(path, "particles", columns_of(columns)),
        places,
        _signs(path, fields),
    )


def _joined(path: Path, others: Sequence[Path]) -> dict[str, npt.NDArray[np.generic]]:
    """Return all fields in the row order of the first file, each from the first that has it."""
    fields = _load(path)
    uid = _field(path, fields, "uid")
    for other in others:
        extra = _load(other)
        extra_uid = _field(other, extra, "uid")
        order = np.argsort(extra_uid)
        place = np.minimum(np.searchsorted(extra_uid, uid, sorter=order), len(extra_uid) - 1)
        rows = order[place]
        if not (extra_uid[rows] == uid).all():
            n_missing = int((extra_uid[rows] != uid).sum())
            raise StarFileError(
                f"{other} lacks {n_missing} of the {len(uid)} particles of {path}; wanted the "
                "passthrough file of the same job."
            )
        fields |= {name: values[rows] for name, values in extra.items() if name not in fields}
    return fields


def _load(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    try:
        table: Any = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise StarFileError(f"CryoSPARC file {path} does not exist; check the path.") from None
    except OSError as problem:
        raise StarFileError(f"Cannot read {path}: {reason_of(problem)}") from problem
    except (ValueError, EOFError) as problem:
        raise StarFileError(
            f"{path} is not a plain CryoSPARC table (a NumPy file without pickled objects); export "
            "the particles again from CryoSPARC as .cs."
        ) from problem
    if not isinstance(table, np.ndarray) or table.dtype.names is None or not table.size:
        raise StarFileError(
            f"{path} holds no table of particles; wanted a .cs file with at least one row."
        )
    return {name: table[name] for name in table.dtype.names}


def _field(
    path: Path, fields: dict[str, npt.NDArray[np.generic]], name: str
) -> npt.NDArray[np.generic]:
    if name not in fields:
        raise StarFileError(
            f"{path} has no field {name}; wanted it there or in a passthrough file; give the "
            "passthrough file of the same job."
        )
    return fields[name]


def _refuse_aberrations(path: Path, fields: dict[str, npt.NDArray[np.generic]]) -> None:
    found = [name for name in _ABERRATIONS if name in fields and np.any(fields[name])]
    if found:
        raise StarFileError(
            f"{path} has {', '.join(found)} that are not zero; how these translate is not proven, "
            "so that they would be lost; ignore them expressly or refine them anew in RELION."
        )


def _optics(
    path: Path, fields: dict[str, npt.NDArray[np.generic]]
) -> tuple[dict[str, npt.ArrayLike], npt.NDArray[np.int64]]:
    """Return the optics table, a row per exposure group and set of values, and each row's group."""
    n = len(fields["uid"])
    keys = [_field(path, fields, name).astype(np.float64) for name in _PER_GROUP]
    exposure = fields.get("ctf/exp_group_id", np.zeros(n)).astype(np.float64)
    shapes = fields.get("blob/shape", np.zeros((n, 2))).astype(np.float64)
    table = np.stack([exposure, shapes[:, 0], *keys], axis=1)
    rows, group = np.unique(table, axis=0, return_inverse=True)
    optics: dict[str, npt.ArrayLike] = {
        "rlnOpticsGroupName": [f"opticsGroup{i + 1}" for i in range(len(rows))],
        "rlnOpticsGroup": np.arange(1, len(rows) + 1),
    }
    optics |= {label: rows[:, 2 + i] for i, label in enumerate(_PER_GROUP.values())}
    if "blob/shape" in fields:
        optics["rlnImageSize"] = rows[:, 1].astype(np.int64)
    return optics, group.reshape(-1).astype(np.int64) + 1


def _alignment(
    path: Path, fields: dict[str, npt.NDArray[np.generic]]
) -> dict[str, npt.NDArray[np.generic]]:
    columns: dict[str, npt.NDArray[np.generic]] = {}
    if "alignments3D/pose" in fields:
        vectors = torch.from_numpy(fields["alignments3D/pose"].astype(np.float64))
        angle = vectors.norm(dim=1)
        # No rotation has no axis; any will do.
        axis = torch.where((angle > 0)[:, None], vectors, vectors.new_tensor([0.0, 0.0, 1.0]))
        angles = matrix_to_euler(axis_angle_to_matrix(axis, torch.rad2deg(angle))).numpy()
        columns |= {label: angles[:, i] for i, label in enumerate(ANGLES)}
        if "alignments3D/shift" in fields:
            pixel = fields.get("alignments3D/psize_A", fields["blob/psize_A"]).astype(np.float64)
            shifts = fields["alignments3D/shift"].astype(np.float64) * pixel[:, None]
            columns |= {label: shifts[:, i] for i, label in enumerate(SHIFTS)}
    if "alignments3D/split" in fields:
        split = fields["alignments3D/split"].astype(np.int64)
        if not np.isin(split, (0, 1)).all():
            raise StarFileError(
                f"{path} has an alignments3D/split of {int(split.max())}; wanted 0 or 1 for every "
                "particle; split the particles again."
            )
        # All in one half means that no split was made.
        if len(np.unique(split)) == 2:
            columns["rlnRandomSubset"] = split + 1
    return columns


def _signs(
    path: Path, fields: dict[str, npt.NDArray[np.generic]]
) -> npt.NDArray[np.float32] | None:
    if "blob/sign" not in fields:
        return None
    sign = fields["blob/sign"].astype(np.float32)
    if not np.isin(sign, (-1, 1)).all():
        raise StarFileError(f"{path} has a blob/sign other than 1 and -1; correct the file.")
    return sign


def _stack_name(value: bytes | str) -> str:
    # A leading > marks a path below the project folder that CryoSPARC manages itself.
    text = value.decode("utf-8", errors="surrogateescape") if isinstance(value, bytes) else value
    return text.removeprefix(">")
