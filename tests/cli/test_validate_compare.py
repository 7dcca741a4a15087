"""Two run folders compared from the shell."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from napari_blush.cli.main import main
from napari_blush.io.mrc import write_map
from napari_blush.simulation.phantoms import random_blobs

BOX, VOXEL = 32, 4.0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulate particles and refine them for one and for two iterations."""
    folder = tmp_path_factory.mktemp("compared")
    density = random_blobs(torch.Generator().manual_seed(5), radius_px=7.0).volume(BOX)
    write_map(folder / "density.mrc", density, VOXEL)
    simulate = f"--n-particles 60 --box {BOX} --pixel-size {VOXEL} --snr 1 --seed 1"
    data = folder / "data"
    command = ["simulate", str(folder / "density.mrc"), "--output", str(data)]
    assert main([*command, *simulate.split()]) == 0
    files = [str(data / "particles.star"), "--reference", str(data / "start_map.mrc")]
    settings = "--particle-diameter 90 --healpix-order 1 --device cpu --regularizer smoothness"
    for name, more in (("one", "1"), ("two", "2")):
        options = [*settings.split(), "--max-iterations", more, "--output", str(folder / name)]
        assert main(["refine", *files, *options]) == 0
    return folder


def test_two_runs_are_judged_side_by_side(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, picture = runs / "data" / "truth" / "truth.mrc", tmp_path / "curves.svg"
    command = ["validate", "compare", str(runs / "one"), str(runs / "two")]
    options = ["--output", str(tmp_path), "--truth", str(truth), "--picture", str(picture)]
    assert main([*command, *options]) == 0
    said = capsys.readouterr().out
    assert "two by one" in said
    assert "mean FSC with the known density" in said
    assert "Median over 60 particles" in said
    assert "smoothness, 2 iterations" in said or "smoothness, 3 iterations" in said
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    assert "two by one" in (tmp_path / "report.html").read_text()


def test_what_cannot_be_compared_is_said(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, output = str(runs / "one"), ["--output", str(tmp_path)]
    assert main(["validate", "compare", one, one, *output]) == 2
    assert "given twice" in capsys.readouterr().err
    assert main(["validate", "compare", one, str(runs / "data"), *output]) == 1
    assert "wanted the folder of a run" in capsys.readouterr().err
    both = ["--truth", str(runs / "density.mrc"), "--model", "model.cif"]
    assert main(["validate", "compare", one, str(runs / "two"), *both, *output]) == 2
    assert "wanted one of them" in capsys.readouterr().err
