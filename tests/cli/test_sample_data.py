"""The sample data that ship: small, readable, and made again by the command in their README."""

import re
import runpy
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


SETS = {".": 500, "low_signal": 800}
"""Folder to number of images."""


def commands_in_the_readme() -> dict[str, list[str]]:
    lines = re.findall(
        r"^ {4}napari-blush (simulate .*)$", (FOLDER / "README.md").read_text(), re.M
    )
    commands = [shlex.split(line) for line in lines]
    outputs = [Path(command[command.index("--output") + 1]) for command in commands]
    names = [str(output.relative_to("sample_data")) for output in outputs]
    return dict(zip(names, commands, strict=True))


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 20 * MEGABYTE


def test_no_file_is_left_unsaid() -> None:
    readme = (FOLDER / "README.md").read_text()
    files = [path.relative_to(FOLDER) for path in FOLDER.rglob("*") if path.is_file()]
    assert len(files) == 19
    assert all(file.name == "README.md" or f"`{file}`" in readme for file in files)


def test_the_script_runs_the_commands_of_the_readme() -> None:
    script = runpy.run_path(str(FOLDER.parent / "docs" / "make_sample_data.py"))
    for name, command in commands_in_the_readme().items():
        model, options = script["SETS"][name]
        words = {*f"{options} {script['COMMON']}".split(), f"sample_data/{model}"}
        assert words == set(command) - {"simulate", "--output", str(Path("sample_data") / name)}


def test_coordinates_are_the_entry() -> None:
    atoms = read_atoms(FOLDER / "6msm.pdb.gz")
    assert set(atoms.chain) == {"A", "B"}
    assert len(atoms) == 9618 + 85


@pytest.mark.parametrize("name", SETS)
def test_the_command_makes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder, n = FOLDER / name, SETS[name]
    command = commands_in_the_readme()[name]
    command[command.index("--output") + 1] = str(tmp_path)
    monkeypatch.chdir(FOLDER.parent)
    assert main(command) == 0
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(made) == 7
    for file in ("truth/truth.mrc", "mask.mrc", "start_map.mrc"):
        ours, again = read_map(folder / file).volume, read_map(tmp_path / file).volume
        torch.testing.assert_close(again, ours, atol=1e-4, rtol=1e-4)
    for file in ("particles.star", "truth/truth_poses.star"):
        assert (folder / file).read_text() == (tmp_path / file).read_text()
    everything = torch.arange(n)
    ours, again = (
        read_particles(one / "particles.star", image_root=one).images.read(everything)
        for one in (folder, tmp_path)
    )
    # Half a step of float16 at the brightest pixel, where processors round differently.
    assert (ours - again).abs().max() < 0.01
