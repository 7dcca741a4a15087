"""Requests of RELION for external reconstruction: what is read, and what is refused."""

import os
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from napari_blush.errors import MrcFileError, StarFileError
from napari_blush.io.external_reconstruct import (
    JobFigures,
    job_figures,
    read_external_reconstruction,
    read_sums,
)
from napari_blush.io.star_table import StarBlock
from napari_blush.io.star_text import columns_of, write_star

BOX, PADDING = 8, 2
NAME = "run_it003_half1_class001_external_reconstruct"


def write_request(
    folder: Path, name: str = NAME, *, fsc: float = 0.5, n_shells: int = 5, **general: object
) -> Path:
    """Write a request with random arrays as RELION 3.1 does; return the STAR file."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    padded = BOX * PADDING
    for array in ("data_real", "data_imag", "weight"):
        values = rng.normal(size=(padded, padded, padded // 2 + 1)).astype(np.float32)
        with mrcfile.new(folder / f"{name}_{array}.mrc", overwrite=True) as file:
            file.set_data(values)
            file.set_image_stack()  # RELION writes no volume flag
    entries = {
        "rlnExtReconsDataReal": f"{folder}/{name}_data_real.mrc",
        "rlnExtReconsDataImag": f"{folder}/{name}_data_imag.mrc",
        "rlnExtReconsWeight": f"{folder}/{name}_weight.mrc",
        "rlnExtReconsResult": f"{folder}/{name}.mrc",
        "rlnExtReconsResultStarfile": f"{folder}/{name}_out.star",
        "rlnTau2FudgeFactor": 1.5,
        "rlnPaddingFactor": float(PADDING),
        "rlnReferenceDimensionality": 3,
        "rlnOriginalImageSize": BOX,
        "rlnCurrentImageSize": 6,
        **general,
    }
    spectra = {
        "rlnSpectralIndex": np.arange(n_shells),
        "rlnReferenceTau2": np.arange(n_shells) + 1.0,
        "rlnGoldStandardFsc": np.full(n_shells, fsc),
    }
    path = folder / f"{name}.star"
    blocks = [
        StarBlock(
            "external_reconstruct_general",
            columns_of({label: [v] for label, v in entries.items() if v is not None}),
            is_loop=False,
        ),
        StarBlock("external_reconstruct_tau2", columns_of(spectra)),
    ]
    write_star(path, blocks)
    return path


def test_a_request_of_version_3_is_read(tmp_path: Path) -> None:
    job = read_external_reconstruction(write_request(tmp_path))
    assert (job.box_size, job.padding, job.r_max, job.tau2_fudge) == (8, 2, 3, 1.5)
    assert (job.voxel_size, job.particle_diameter) == (None, None)
    assert job.tau2.tolist() == [1, 2, 3, 4, 5]
    assert job.fsc.tolist() == [0.5] * 5
    assert job.result == tmp_path / f"{NAME}.mrc"


def test_a_request_of_version_5_says_more(tmp_path: Path) -> None:
    path = write_request(tmp_path, rlnPixelSize=1.25, rlnParticleDiameter=160.0)
    job = read_external_reconstruction(path)
    assert (job.voxel_size, job.particle_diameter) == (1.25, 160.0)


@pytest.mark.parametrize(
    ("name", "fsc", "purpose"),
    [
        ("run_it003_half1_class001_external_reconstruct", 0.5, "half1"),
        ("run_it003_half2_class001_external_reconstruct", 0.0, "half2"),
        ("run_it003_half2_body002_external_reconstruct", 0.5, "half2"),
        ("run_it003_class001_external_reconstruct", 0.5, "final"),
        ("run_it003_class002_external_reconstruct", 0.0, "classification"),
        ("half1_it003_class001_external_reconstruct", 0.0, "classification"),
    ],
)
@pytest.mark.parametrize("folder", ["job007", "from_half1_class001"])
def test_the_name_of_the_file_tells_the_purpose(
    tmp_path: Path, name: str, fsc: float, purpose: str, folder: str
) -> None:
    path = write_request(tmp_path / folder, name, fsc=fsc)
    assert read_external_reconstruction(path).purpose == purpose


def test_arrays_come_with_the_origin_in_the_middle(tmp_path: Path) -> None:
    job = read_external_reconstruction(write_request(tmp_path))
    data, weight = read_sums(job)
    reach = 2 * 3 - 1
    assert data.shape == weight.shape == (11, 11, 6)
    real, imaginary, weights = (
        mrcfile.read(path) for path in (job.data_real, job.data_imag, job.weight)
    )
    for z, y, x in [(0, 0, 0), (-5, 5, 5), (3, -2, 1), (-1, -1, 0)]:
        at = z + reach, y + reach, x
        assert data[at].item() == complex(real[z, y, x], imaginary[z, y, x])
        assert weight[at] == weights[z, y, x]


def test_names_start_where_relion_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_request(Path("Refine3D/job001"))
    assert read_external_reconstruction(path).result == path.with_suffix(".mrc")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    job = read_external_reconstruction(tmp_path / path)
    assert job.result == tmp_path / path.with_suffix(".mrc")
    assert read_sums(job)[0].shape == (11, 11, 6)


@pytest.mark.parametrize(
    ("general", "said"),
    [
        ({"rlnReferenceDimensionality": 2}, "reference of 2 dimensions"),
        ({"rlnOriginalImageSize": None}, "no column _rlnOriginalImageSize"),
        ({"rlnOriginalImageSize": 7}, "box of 7"),
        ({"rlnCurrentImageSize": 10}, "current size of 10"),
        ({"rlnPaddingFactor": 1.5}, "padding factor of 1.5"),
        ({"rlnExtReconsDataReal": "gone.mrc"}, "names gone.mrc, which does not exist"),
        ({"n_shells": 4}, "has 4 shells"),
    ],
)
def test_unfit_requests_are_refused(tmp_path: Path, general: dict[str, int], said: str) -> None:
    with pytest.raises((StarFileError, MrcFileError), match=said):
        read_external_reconstruction(write_request(tmp_path, **general))


def test_other_star_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.star"
    write_star(path, [StarBlock("particles", columns_of({"rlnImageName": ["a"]}))])
    with pytest.raises(StarFileError, match="wanted data_external_reconstruct_general"):
        read_external_reconstruction(path)


def test_arrays_of_another_box_are_refused(tmp_path: Path) -> None:
    job = read_external_reconstruction(write_request(tmp_path, rlnPaddingFactor=1.0))
    with pytest.raises(MrcFileError, match="wanted 5 x 8 x 8 for a box of 8 padded 1-fold"):
        read_sums(job)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    job = read_external_reconstruction(write_request(tmp_path))
    with mrcfile.open(job.weight, "r+") as file:
        file.data[0, 0, 0] = np.nan
    with pytest.raises(MrcFileError, match=r"weight\.mrc holds values that are not finite"):
        read_sums(job)
    job.weight.write_bytes(job.weight.read_bytes()[:5000])
    with pytest.raises(MrcFileError, match="truncated"):
        read_sums(job)


def test_other_files_of_the_job_tell_the_rest(tmp_path: Path) -> None:
    path = write_request(tmp_path)
    assert job_figures(path) == JobFigures(None, None, None)

    def beside(name: str, block: str, age: int, **values: object) -> None:
        columns = columns_of({label: [value] for label, value in values.items()})
        write_star(tmp_path / name, [StarBlock(block, columns, is_loop=False)])
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))

    beside("other_it002_model.star", "model_general", 0, rlnPixelSize=9.0)
    assert job_figures(path).voxel_size == 9
    beside("run_it001_half1_model.star", "model_general", 2, rlnPixelSize=1.0)
    beside("run_it002_half1_model.star", "model_general", 1, rlnPixelSize=1.5)
    beside("run_it002_optimiser.star", "optimiser_general", 1, rlnParticleDiameter=180)
    beside("run_it002_sampling.star", "sampling_general", 1, rlnSymmetryGroup="D2")
    assert job_figures(path) == JobFigures(1.5, 180, "D2")
    (tmp_path / "run_it002_half1_model.star").write_text("being written")
    assert job_figures(path).voxel_size == 1
