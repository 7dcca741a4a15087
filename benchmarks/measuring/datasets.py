"""The data sets that programs are compared on, and what each asks a refinement for."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Dataset:
    """Files and settings of one comparison.

    Parameters
    ----------
    name : str
    folder : Path
        Image names in the STAR file are relative to it.
    particles, reference, mask, truth : str
        File names in ``folder``.
    truth_poses : str or None
        STAR file with the true poses.
    symmetry : str
    particle_diameter, initial_low_pass : float
        Angstrom.
    use_mask : bool
        Whether references are multiplied by ``mask`` while refining (both programs alike).
    """

    name: str
    folder: Path
    particles: str
    reference: str
    mask: str
    truth: str
    truth_poses: str | None
    symmetry: str
    particle_diameter: float
    initial_low_pass: float
    use_mask: bool


def shared_data_folder() -> Path:
    """Return the folder of the data that are not in the repository (NAPARI_BLUSH_DATA)."""
    beside = REPOSITORY.parent / "shared" / "data"
    return Path(os.environ.get("NAPARI_BLUSH_DATA", beside))


def dataset(name: str) -> Dataset:
    """Return a data set by name: ``tiny64``, ``S64`` (simulated) or ``betagal_dev`` (real, D2)."""
    data = shared_data_folder()
    if name == "betagal_dev":
        return Dataset(
            name,
            data / name,
            "particles.star",
            "initial_reference_ngl_betaGal_crop64.mrc",
            "mask_soft_box64.mrc",
            "truth_from_8bk7_3.54A_box64.mrc",
            None,
            "D2",
            particle_diameter=200.0,
            initial_low_pass=30.0,
            use_mask=True,
        )
    return Dataset(
        name,
        data / "simulated" / name,
        "particles.star",
        "ref_lp40.mrc",
        "mask.mrc",
        "truth/truth.mrc",
        "truth/truth_poses.star",
        "C1",
        particle_diameter=160.0,
        initial_low_pass=40.0,
        use_mask=False,
    )


DATASETS = ("tiny64", "S64", "betagal_dev")


def readable_by_relion(data: Dataset, into: Path) -> Path:
    """Return a folder with the files of a data set as RELION 3 reads them.

    That is the data set's own, unless its stack is float16, which RELION 3 does not know: then a
    copy with a float32 stack is made in ``into``.
    """
    stack = next(data.folder.glob("*.mrcs"))
    with stack.open("rb") as file:
        mode = int.from_bytes(file.read(16)[12:16], "little")
    if mode != 12:
        return data.folder
    into.mkdir(parents=True, exist_ok=True)
    for name in (data.particles, data.reference, data.mask):
        shutil.copy(data.folder / name, into / name)
    _as_float32(stack, into / stack.name)
    return into


def _as_float32(source: Path, target: Path) -> None:
    """Copy an MRC stack of half-precision numbers (mode 12) as single-precision ones (mode 2)."""
    header = bytearray(source.read_bytes()[:1024])
    extended = int.from_bytes(header[92:96], "little")
    header[12:16] = (2).to_bytes(4, "little")
    header[92:96] = (0).to_bytes(4, "little")
    with source.open("rb") as file:
        file.seek(1024 + extended)
        pixels = np.fromfile(file, dtype="<f2")
    with target.open("wb") as file:
        file.write(bytes(header))
        pixels.astype("<f4").tofile(file)
