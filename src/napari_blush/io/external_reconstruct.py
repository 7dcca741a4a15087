"""RELION's hand-over of a reconstruction to another program: what it asks, and its arrays.

With ``--external_reconstruct`` (and, in RELION 5, ``--blush``) RELION writes the accumulated
slices of one map, with weights, to three MRC files, names them in a STAR file, runs a program with
that file as its argument, and reads the map that the program wrote. Facts: the RELION 3.1 to 5
sources, and files written by 3.1.3. Paths are relative to the folder where RELION runs.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_blush.errors import MrcFileError, StarFileError
from napari_blush.io.mrc_header import memory_map, read_header
from napari_blush.io.star_columns import StarColumns
from napari_blush.io.star_table import StarBlock, read_star

Purpose = Literal["half1", "half2", "final", "classification"]

_GENERAL = "external_reconstruct_general"
_SPECTRA = "external_reconstruct_tau2"
_HALF = re.compile(r"_half([12])_(?:class|body)\d+")
_PREFIX = re.compile(r"(.+?)_it\d{3,}_.*")


@dataclass(frozen=True, slots=True)
class ExternalReconstruction:
    """One request.

    Parameters
    ----------
    path : Path
        The STAR file.
    data_real, data_imag, weight : Path
        Accumulated slices, ``(P, P, P / 2 + 1)``, ``P = padding * box_size``.
    result : Path
        The map that RELION waits for.
    box_size, padding : int
    r_max : int
        Shells of the unpadded box that were filled.
    tau2_fudge : float
    voxel_size, particle_diameter : float or None
        Angstrom; None where RELION does not say (before version 5).
    tau2, fsc : (box_size // 2 + 1,) float64
    """

    path: Path
    data_real: Path
    data_imag: Path
    weight: Path
    result: Path
    box_size: int
    padding: int
    r_max: int
    tau2_fudge: float
    voxel_size: float | None
    particle_diameter: float | None
    tau2: Tensor
    fsc: Tensor

    @property
    def purpose(self) -> Purpose:
        """What the map is for, by the *name* of the STAR file and the FSC.

        A folder called ``half1`` says nothing. Maps of halves carry their number; a map with an
        FSC and without a half is the final one of a refinement, and one without either belongs to
        a classification.
        """
        half = _HALF.search(self.path.name)
        if half is not None:
            return "half1" if half[1] == "1" else "half2"
        return "final" if bool((self.fsc != 0).any()) else "classification"


@dataclass(frozen=True, slots=True)
class JobFigures:
    """What RELION's other files of the same job say, None where they do not."""

    voxel_size: float | None
    particle_diameter: float | None
    symmetry: str | None


def read_external_reconstruction(path: str | Path) -> ExternalReconstruction:
    """Read a request.

    Raises
    ------
    StarFileError
        When the file is missing, lacks something, or asks for what is not a 3-D map.
    """
    path = Path(path)
    blocks = read_star(path)
    general, spectra = (_block(path, blocks, name) for name in (_GENERAL, _SPECTRA))
    dimension = _integer(general, "rlnReferenceDimensionality", 3)
    if dimension != 3:
        raise StarFileError(
            f"{path} asks for a reference of {dimension} dimensions; wanted 3; 2-D classes cannot "
            "be reconstructed here."
        )
    box_size = _integer(general, "rlnOriginalImageSize")
    current_size = _integer(general, "rlnCurrentImageSize", box_size)
    padding = float(general.numbers("rlnPaddingFactor", 2.0)[0])
    if box_size < 4 or box_size % 2 or not 0 < current_size <= box_size:
        raise StarFileError(
            f"{path} states a box of {box_size} with a current size of {current_size}; wanted an "
            "even box that is no smaller than the current size; run RELION with an even box."
        )
    if padding not in (1.0, 2.0, 3.0, 4.0):
        raise StarFileError(
            f"{path} has a padding factor of {padding:g}; wanted 1, 2, 3 or 4; run RELION with "
            "--pad 2."
        )
    tau2, fsc = (
        torch.from_numpy(_spectrum(spectra, label, box_size))
        for label in ("rlnReferenceTau2", "rlnGoldStandardFsc")
    )
    base = _base_folder(path, general)
    return ExternalReconstruction(
        path=path,
        data_real=base / str(general.text("rlnExtReconsDataReal")[0]),
        data_imag=base / str(general.text("rlnExtReconsDataImag")[0]),
        weight=base / str(general.text("rlnExtReconsWeight")[0]),
        result=base / str(general.text("rlnExtReconsResult")[0]),
        box_size=box_size,
        padding=int(padding),
        r_max=current_size // 2,
        tau2_fudge=float(general.numbers("rlnTau2FudgeFactor", 1.0)[0]),
        voxel_size=_number(general, "rlnPixelSize"),
        particle_diameter=_number(general, "rlnParticleDiameter"),
        tau2=tau2,
        fsc=fsc,
    )


def read_sums(job: ExternalReconstruction) -> tuple[Tensor, Tensor]:
    """Read the accumulated slices, cropped to what is filled.

    Returns
    -------
    data : (2 c + 1, 2 c + 1, c + 1) complex64
        ``[z, y, x]``, origin at ``(c, c, 0)``, ``c = padding * r_max - 1``.
    weight : likewise, float32

    Raises
    ------
    MrcFileError
        When an array is missing, cut short, not of the stated size, or not finite.
    """
    reach = max(job.padding * job.r_max - 1, 0)
    data = np.empty((2 * reach + 1, 2 * reach + 1, reach + 1), np.complex64)
    weight = np.empty(data.shape, np.float32)
    _read_centered(job.data_real, job, reach, data.real)
    _read_centered(job.data_imag, job, reach, data.imag)
    _read_centered(job.weight, job, reach, weight)
    return torch.from_numpy(data), torch.from_numpy(weight)


def job_figures(path: Path) -> JobFigures:
    """Look for voxel size, particle diameter and symmetry in the newest files of the same job."""
    return JobFigures(
        voxel_size=_newest_number(path, "model", "model_general", "rlnPixelSize"),
        particle_diameter=_newest_number(
            path, "optimiser", "optimiser_general", "rlnParticleDiameter"
        ),
        symmetry=_newest_text(path, "sampling", "sampling_general", "rlnSymmetryGroup"),
    )


def _block(path: Path, blocks: dict[str, StarBlock], name: str) -> StarColumns:
    if name not in blocks:
        known = ", ".join(f"data_{block}" for block in blocks)
        raise StarFileError(
            f"{path} has {known}; wanted data_{name}; give the STAR file that RELION writes for "
            "external reconstruction."
        )
    return StarColumns(path, name, blocks[name].columns)


def _integer(columns: StarColumns, label: str, default: int | None = None) -> int:
    return int(columns.integers(label, default)[0])


def _number(columns: StarColumns, label: str) -> float | None:
    """Return a positive number, or None where there is none."""
    if label not in columns:
        return None
    value = float(columns.numbers(label)[0])
    return value if value > 0 else None


def _spectrum(columns: StarColumns, label: str, box_size: int) -> npt.NDArray[np.float64]:
    index = columns.integers("rlnSpectralIndex")
    if not np.array_equal(index, np.arange(box_size // 2 + 1)):
        raise StarFileError(
            f"{columns.path} has {len(index)} shells in data_{columns.block}; wanted "
            f"{box_size // 2 + 1}, from 0 on, for a box of {box_size}; the file is damaged."
        )
    return columns.numbers(label)


def _base_folder(path: Path, general: StarColumns) -> Path:
    """Return the folder that names start from: where RELION ran, or a folder above the file."""
    name = str(general.text("rlnExtReconsDataReal")[0])
    for folder in (Path(), *path.absolute().parents):
        if (folder / name).is_file():
            return folder
    raise MrcFileError(
        f"{path} names {name}, which does not exist in the working directory nor from any folder "
        "above the STAR file; start the program where RELION runs."
    )


def _read_centered(
    path: Path, job: ExternalReconstruction, reach: int, out: npt.NDArray[np.float32]
) -> None:
    """Read a half-complex array, DC first, into one with its origin at the middle."""
    padded = job.padding * job.box_size
    header = read_header(path)
    if header.shape != (padded, padded, padded // 2 + 1):
        raise MrcFileError(
            f"{path} has {' x '.join(map(str, header.shape[::-1]))} values; wanted "
            f"{padded // 2 + 1} x {padded} x {padded} for a box of {job.box_size} padded "
            f"{job.padding}-fold; the files are not of one run."
        )
    stored = memory_map(header)
    order = np.arange(-reach, reach + 1) % padded
    for z, source in enumerate(order):
        out[z] = stored[source][order, : reach + 1]
        if not np.isfinite(out[z]).all():
            raise MrcFileError(
                f"{path} holds values that are not finite; wanted numbers; RELION's expectation "
                "step failed."
            )


def _newest_number(path: Path, kind: str, block: str, label: str) -> float | None:
    text = _newest_text(path, kind, block, label)
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if value > 0 else None


def _newest_text(path: Path, kind: str, block: str, label: str) -> str | None:
    prefix = _PREFIX.fullmatch(path.name)
    beside = [*path.absolute().parent.glob(f"*_{kind}.star")]
    own = [file for file in beside if prefix and file.name.startswith(f"{prefix[1]}_")]
    for file in sorted(own or beside, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            columns = read_star(file)[block].columns
        except (StarFileError, KeyError):
            continue  # of another program, or being written
        if label in columns and len(columns[label]):
            return str(columns[label][0])
    return None
