"""``weights``: what it prints and where files go."""

from pathlib import Path

import pytest

from napari_blush.cli.main import main
from napari_blush.denoiser import weights
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.weights import load_denoiser, save_denoiser

FIELDS = {"voxel_size": 3.0, "block_size": 32, "license": "CC0", "description": "for a test"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder of the user's weights; nothing is found elsewhere."""
    monkeypatch.setattr(weights, "relion_folders", list)
    monkeypatch.setattr(weights, "shipped_folder", lambda: tmp_path / "shipped")
    monkeypatch.setenv("NAPARI_BLUSH_WEIGHTS", str(tmp_path / "own"))
    return tmp_path / "own"


def test_weights_are_imported_and_listed(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "small.safetensors"
    record = save_denoiser(given, BlushUNet(2, 3), FIELDS)
    assert main(["weights", "import", str(given), "--name", "mine"]) == 0
    assert str(folder / "mine.safetensors") in capsys.readouterr().out
    assert load_denoiser("mine").record.sha256 == record.sha256
    assert main(["weights", "list"]) == 0
    told = capsys.readouterr().out
    for word in ("mine: version 1, 3 A, blocks of 32, width 2, depth 3", record.sha256, "CC0"):
        assert word in told
    assert "relion-v1.0: not here" in told
    assert "https://zenodo.org/records/10072731/files/blush_v1.0.ckpt.gz" in told
    assert f"Your own weights lie in {folder}." in told


def test_a_file_that_cannot_be_used_is_listed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.mkdir()
    (folder / "broken.ckpt").write_bytes(b"x")
    assert main(["weights", "list"]) == 0
    assert "broken: cannot be used" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["list", "x"], 2, "wanted nothing after it"),
        (["import"], 2, "wanted a file"),
        (["fetch"], 2, "wanted a name"),
        (["fetch", "nonsense"], 1, "wanted one of: relion-v1.0"),
        (["import", "gone.ckpt"], 1, "gone.ckpt does not exist"),
        (["burn"], 2, "invalid choice"),
    ],
)
def test_wrong_wishes_are_sentences(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", *arguments]) == code
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 1
