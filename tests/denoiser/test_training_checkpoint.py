"""Checkpoints are whole, and nothing in one is executed."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from napari_blush.denoiser.training.checkpoint import TrainingState, read_state, write_state
from napari_blush.errors import TrainingError

STATE = TrainingState(
    7,
    {"a": torch.arange(3.0)},
    {"a": torch.ones(3)},
    {"state": {0: {"step": torch.tensor(7.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    {"steps": 10, "recycling_odds": [1.0, 2.0]},
    3.0,
)


def test_a_state_comes_back(tmp_path: Path) -> None:
    write_state(tmp_path / "checkpoint.pt", STATE)
    found = read_state(tmp_path / "checkpoint.pt")
    assert found.step == 7
    assert found.settings == STATE.settings
    assert found.optimizer["param_groups"] == STATE.optimizer["param_groups"]
    assert torch.equal(found.network["a"], STATE.network["a"])
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_nothing_is_executed(tmp_path: Path) -> None:
    class Poison:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "executed"),)

    path = tmp_path / "checkpoint.pt"
    torch.save({"format": "napari-blush training 1", "step": Poison()}, path)
    with pytest.raises(TrainingError, match="not a whole checkpoint"):
        read_state(path)
    path.write_bytes(pickle.dumps(Poison(), protocol=2))
    with pytest.raises(TrainingError, match="not a whole checkpoint"):
        read_state(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("length", [0, 100, 600])
def test_a_file_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "checkpoint.pt"
    write_state(path, STATE)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(TrainingError, match="not a whole checkpoint"):
        read_state(path)


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no checkpoint"):
        read_state(tmp_path / "checkpoint.pt")
    torch.save({"weights": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(TrainingError, match="not a whole checkpoint"):
        read_state(tmp_path / "other.pt")
    torch.save(torch.ones(2), tmp_path / "other.pt")
    with pytest.raises(TrainingError, match="not a whole checkpoint"):
        read_state(tmp_path / "other.pt")


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be written"):
        write_state(tmp_path / "no" / "checkpoint.pt", STATE)
