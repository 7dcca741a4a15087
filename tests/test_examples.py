"""The examples run, and do what they say."""

import runpy
from pathlib import Path

import mrcfile
import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[1]
SAMPLE = REPOSITORY / "sample_data"


def main_of(name: str):
    """Return the ``main`` of an example."""
    return runpy.run_path(str(REPOSITORY / "examples" / name))["main"]


def grey_values(path: Path) -> np.ndarray:
    """Return a map as float64."""
    return mrcfile.read(path).astype(np.float64)


def test_denoise_a_half_map(tmp_path: Path) -> None:
    main_of("01_denoise_a_half_map.py")(tmp_path)
    raw = grey_values(SAMPLE / "half_maps" / "half1.mrc")
    denoised = grey_values(tmp_path / "half1_denoised.mrc")
    other = grey_values(SAMPLE / "half_maps" / "half2.mrc")
    assert denoised.shape == raw.shape
    kept = [np.corrcoef(values.ravel(), other.ravel())[0, 1] for values in (raw, denoised)]
    assert kept[1] > kept[0] > 0.3  # less noise: nearer to the half it never saw


@pytest.mark.slow
def test_refine_and_keep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = main_of("02_refine_and_keep.py")
    main(tmp_path / "run", max_iterations=1)
    assert capsys.readouterr().out.split()[0] == "1"
    assert (tmp_path / "run" / "run_class001.mrc").exists()


@pytest.mark.slow
def test_steer_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    main_of("03_steer_a_run.py")(last=2)
    told = capsys.readouterr().out
    assert "Changed: regularizer." in told
    assert told.splitlines()[-1].split()[0] == "2"


def test_judge_two_half_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_of("04_judge_two_half_maps.py")(tmp_path)
    assert "A at 0.143" in capsys.readouterr().out
    assert grey_values(tmp_path / "sharpened.mrc").std() > 0
