"""The sample data that ship: small, readable, and made again by the command in their README."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from napari_blush.cli.main import main
from napari_blush.io.atoms import read_atoms
from napari_blush.io.mrc import read_map
from napari_blush.io.star import read_particles

FOLDER = Path(__file__).parents[2] / "sample_data"
MEGABYTE = 1e6


def command_in_the_readme() -> list[str]:
    (line,) = re.findall(
        r"^ {4}napari-blush (simulate .*)$", (FOLDER / "README.md").read_text(), re.M
    )
    return shlex.split(line)


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 12 * MEGABYTE


def test_no_file_is_left_unsaid() -> None:
    readme = (FOLDER / "README.md").read_text()
    files = [path.relative_to(FOLDER) for path in FOLDER.rglob("*") if path.is_file()]
    assert len(files) == 9
    assert all(file.name == "README.md" or f"`{file}`" in readme for file in files)


def test_coordinates_are_the_entry() -> None:
    atoms = read_atoms(FOLDER / "6msm.pdb.gz")
    assert set(atoms.chain) == {"A", "B"}
    assert len(atoms) == 9618 + 85


def test_the_command_makes_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = command_in_the_readme()
    command[command.index("--output") + 1] = str(tmp_path)
    monkeypatch.chdir(FOLDER.parent)
    assert main(command) == 0
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(made) == 7
    for name in ("truth/truth.mrc", "mask.mrc", "start_map.mrc"):
        ours, again = read_map(FOLDER / name).volume, read_map(tmp_path / name).volume
        torch.testing.assert_close(again, ours, atol=1e-4, rtol=1e-4)
    for name in ("particles.star", "truth/truth_poses.star"):
        assert (FOLDER / name).read_text() == (tmp_path / name).read_text()
    everything = torch.arange(500)
    ours, again = (
        read_particles(folder / "particles.star", image_root=folder).images.read(everything)
        for folder in (FOLDER, tmp_path)
    )
    # Half a step of float16 at the brightest pixel, where processors round differently.
    assert (ours - again).abs().max() < 0.01
