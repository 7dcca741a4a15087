"""``train``: files in, weights and checkpoint out; what is wrong is one sentence."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from napari_blush.cli import train_log
from napari_blush.cli.main import main
from napari_blush.cli.training_stop import StopRequest
from napari_blush.denoiser.training.checkpoint import read_state
from napari_blush.denoiser.weights import load_denoiser
from napari_blush.io.mrc import write_map
from napari_blush.numerics.masks import soft_sphere

N, VOXEL = 20, 6.0
COLUMNS = "entry voxel_size box_size resolution_angstrom cluster split source kept".split()
SMALL = (
    "--width 2 --depth 1 --block-size 8 --batch-size 1 --steps 4 --validation-every 2 "
    "--validation-entries 1 --log-every 2 --threads 1 --precision float32 --device cpu"
).split()


def write_entry(folder: Path, name: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    signal_map = soft_sphere(N, 4, 2)
    (folder / name).mkdir(parents=True)
    for half in ("half1.mrc", "half2.mrc"):
        noisy = signal_map + 0.5 * torch.randn(N, N, N, generator=generator)
        write_map(folder / name / half, noisy, VOXEL, dtype=torch.float16)
    write_map(folder / name / "mask.mrc", soft_sphere(N, 6, 3), VOXEL, dtype=torch.float16)


def row(name: str, split: str, kept: str = "yes") -> str:
    return "\t".join([name, f"{VOXEL:g}", str(N), "14", name, split, "toy", kept])


def write_table(folder: Path, *rows: str) -> None:
    (folder / "pairs.tsv").write_text("\n".join(["\t".join(COLUMNS), *rows]) + "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate(("one", "two", "held")):
        write_entry(tmp_path / "pairs", name, seed)
    write_table(
        tmp_path / "pairs",
        row("one", "train"),
        row("two", "train"),
        row("held", "validation"),
        row("gone", "train", "has two identical half-maps"),
    )
    return tmp_path


def train(folder: Path, *options: str, small: bool = True) -> int:
    output = str(folder / "out")
    given = ("train", str(folder / "pairs"), "--output", output, *options)
    return main([*given, *(SMALL if small else ())])


def table(path: Path) -> list[list[float]]:
    return [
        [float(cell) for cell in line.split("\t")] for line in path.read_text().splitlines()[1:]
    ]


def test_a_training_leaves_weights_checkpoint_and_tables(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folder) == 0
    said = capsys.readouterr().out
    assert "on 2 pairs (1 for validation) on cpu in float32" in said
    assert "step 4 of 4: loss" in said
    out = folder / "out"
    record = load_denoiser(out / "weights.safetensors").record
    assert (record.voxel_size, record.block_size, record.width, record.depth) == (VOXEL, 8, 2, 1)
    state = read_state(out / "checkpoint.pt")
    assert state.step == 4
    mean = load_denoiser(out / "weights.safetensors").network.state_dict()
    assert torch.equal(mean["outc.bias"], state.mean_network["outc.bias"])
    assert [line[0] for line in table(out / "steps.tsv")] == [2, 4]
    assert [line[0] for line in table(out / "training_log.tsv")] == [2, 4]
    assert len(table(out / "fsc.tsv")) == 2 * 4


def test_a_resumed_training_ends_as_an_uninterrupted_one(folder: Path) -> None:
    assert train(folder, "--decay-fraction", "0") == 0
    pieces = ["train", str(folder / "pairs"), "--output", str(folder / "pieces")]
    assert main([*pieces, *SMALL, "--decay-fraction", "0", "--steps", "2"]) == 0
    assert main([*pieces, "--resume", "--steps", "4"]) == 0
    whole, resumed = (read_state(folder / name / "checkpoint.pt") for name in ("out", "pieces"))
    assert resumed.step == whole.step == 4
    for name, tensor in whole.network.items():
        assert torch.equal(resumed.network[name], tensor), name
    for name in ("steps.tsv", "training_log.tsv"):
        ours, theirs = (table(folder / run / name) for run in ("pieces", "out"))
        assert [line[:3] for line in ours] == [line[:3] for line in theirs]


def test_fine_tuning_takes_the_architecture_of_the_weights(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folder) == 0
    weights = str(folder / "out" / "weights.safetensors")
    tuned = str(folder / "tuned")
    options = ["--from", weights, "--output", tuned, "--steps", "1", "--precision", "float32"]
    assert main(["train", str(folder / "pairs"), *options, "--learning-rate", "1e-9"]) == 0
    assert "Starting from the weights weights" in capsys.readouterr().out
    before, after = (
        load_denoiser(path).network.state_dict()
        for path in (weights, f"{tuned}/weights.safetensors")
    )
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    assert main(["train", str(folder / "pairs"), *options, "--width", "3"]) == 1
    assert "holds a training already" in capsys.readouterr().err
    options[3] = str(folder / "other")
    assert main(["train", str(folder / "pairs"), *options, "--width", "3"]) == 1
    assert "The width was given as 3 and the weights weights have 2" in capsys.readouterr().err


def spoil_half(
    change: Callable[[torch.Tensor], torch.Tensor], voxel: float = VOXEL
) -> Callable[[Path], None]:
    def spoil(pairs: Path) -> None:
        volume = soft_sphere(N, 4, 2) + torch.randn(
            N, N, N, generator=torch.Generator().manual_seed(9)
        )
        write_map(pairs / "one" / "half2.mrc", change(volume), voxel)

    return spoil


def copy_half(pairs: Path) -> None:
    half1 = (pairs / "one" / "half1.mrc").read_bytes()
    (pairs / "one" / "half2.mrc").write_bytes(half1)


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a lone half": (lambda pairs: (pairs / "one" / "half2.mrc").unlink(), "lacks half2.mrc"),
    "no mask": (lambda pairs: (pairs / "one" / "mask.mrc").unlink(), "lacks mask.mrc"),
    "another size": (spoil_half(lambda volume: volume[:18, :18, :18]), "18 x 18 x 18"),
    "identical halves": (copy_half, "identical"),
    "constant half": (spoil_half(lambda volume: 0 * volume), "constant within the mask"),
    "another voxel size": (spoil_half(lambda volume: volume, 3.0), "voxels of 3 A"),
    "no table": (lambda pairs: (pairs / "pairs.tsv").unlink(), "pairs.tsv cannot be read"),
    "no rows": (lambda pairs: write_table(pairs), "0 rows"),
    "no split": (lambda pairs: write_table(pairs, row("one", "")), "lacks split"),
    "nothing to train on": (lambda pairs: write_table(pairs, row("one", "test")), "'train'"),
    "a word for a voxel size": (
        lambda pairs: write_table(pairs, row("one", "train").replace("\t6\t", "\tsix\t")),
        "'six'",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_what_cannot_be_trained_on_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    spoil, words = SPOILED[case]
    spoil(folder / "pairs")
    assert train(folder) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert words in said[0]
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--resume"], 1, "no checkpoint"),
        (["--block-size", "9"], 2, "multiple of 2"),
        (["--from", "nowhere.safetensors"], 1, "nowhere.safetensors"),
        (["--recycling-odds", *["0"] * 6], 2, "recycling odds"),
    ],
)
def test_wrong_options_are_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, words: str
) -> None:
    output = ["--output", str(folder / "out")]
    assert main(["train", str(folder / "pairs"), *output, *SMALL, *options]) == code
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert words in said[0]


def test_a_training_is_not_overwritten_and_not_resumed_with_another_network(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folder) == 0
    assert train(folder) == 1
    assert "holds a training already" in capsys.readouterr().err
    assert train(folder, "--resume", "--width", "3", small=False) == 1
    assert "The width was given as 3 and the checkpoint has 2" in capsys.readouterr().err


def test_folders_are_trained_on_together(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_entry(folder / "more", "one", 7)
    write_table(folder / "more", row("one", "train"))
    folders = [str(folder / "pairs"), str(folder / "more")]
    assert main(["train", *folders, "--output", str(folder / "out"), *SMALL]) == 0
    assert "on 3 pairs" in capsys.readouterr().out


def test_an_interrupt_keeps_the_state(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = train_log.TrainingLog.tell

    def interrupted(self: train_log.TrainingLog, event: object) -> None:
        if getattr(event, "step", 0) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        tell(self, event)  # type: ignore[arg-type]

    monkeypatch.setattr(train_log.TrainingLog, "tell", interrupted)
    assert train(folder) == 130
    assert "step 3 is kept" in capsys.readouterr().out
    monkeypatch.undo()
    assert train(folder, "--resume", small=False) == 0
    assert read_state(folder / "out" / "checkpoint.pt").step == 4


def test_a_second_signal_interrupts_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_pairs_that_do_not_fit_into_memory_are_read_from_files(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folder, "--output", str(folder / "in_memory")) == 0
    # Room for one pair of the three.
    assert train(folder, "--memory-limit", "0.00012") == 0
    assert "2 pairs do not fit into memory" in capsys.readouterr().out
    states = [read_state(folder / name / "checkpoint.pt") for name in ("in_memory", "out")]
    for name, tensor in states[0].network.items():
        assert torch.equal(tensor, states[1].network[name])
    assert not list((folder / "out").glob("maps/*"))


@pytest.mark.slow
def test_two_processes_train_together(folder: Path) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "napari_blush", "train", str(folder / "pairs"), "--output", str(folder / "out"),
        *SMALL,
    ]  # fmt: skip
    outcome = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.count("All 4 steps are done.") == 1
    together = read_state(folder / "out" / "checkpoint.pt")
    assert together.step == 4
    assert train(folder, "--output", str(folder / "alone")) == 0
    alone = read_state(folder / "alone" / "checkpoint.pt")
    assert any(
        not torch.equal(alone.network[name], tensor) for name, tensor in together.network.items()
    )
