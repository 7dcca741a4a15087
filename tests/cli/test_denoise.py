"""``denoise`` from files to files, and what it refuses."""

from collections.abc import Callable, Generator
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

import napari_blush.cli.denoise as command
from napari_blush.cli.main import main
from napari_blush.denoiser.inference import (
    DenoisedVolume,
    DenoiseOptions,
    denoise_steps,
    denoise_volume,
)
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.weights import load_denoiser, save_denoiser
from napari_blush.io.mrc import read_map, write_map
from napari_blush.numerics.filters import high_pass, low_pass

VOXEL, NET_VOXEL = 2.0, 3.0


@pytest.fixture
def folder(tmp_path: Path, generator: torch.Generator) -> Path:
    torch.manual_seed(1)
    fields = {"voxel_size": NET_VOXEL, "block_size": 16, "name": "tiny"}
    save_denoiser(tmp_path / "tiny.safetensors", BlushUNet(2, 2), fields)
    for name, box in (("a", 32), ("b", 27)):
        write_map(tmp_path / f"{name}.mrc", torch.randn(box, box, box, generator=generator), VOXEL)
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.chdir(folder)
    weights = ["--denoiser", "./tiny.safetensors", "--device", "cpu"]
    return lambda *arguments: main(["denoise", *arguments, *weights])


def test_writes_what_the_library_returns(
    folder: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    extras = ["--network-mask", "--difference", "--particle-diameter", "40", "--stride", "6"]
    assert run("a.mrc", "b.mrc", "--output", "out", *extras) == 0
    denoiser = load_denoiser(folder / "tiny.safetensors")
    for name in ("a", "b"):
        given = read_map(folder / f"{name}.mrc", allow_odd=True)
        options = DenoiseOptions(particle_diameter=40.0, stride=6)
        expected = denoise_volume(given.volume, VOXEL, denoiser, options)
        written = read_map(folder / "out" / f"{name}_denoised.mrc", allow_odd=True)
        difference = read_map(folder / "out" / f"{name}_difference.mrc", allow_odd=True)
        mask = read_map(folder / "out" / f"{name}_network_mask.mrc", allow_odd=True)
        assert written.voxel_size == pytest.approx(VOXEL)
        torch.testing.assert_close(written.volume, expected.volume)
        torch.testing.assert_close(written.volume + difference.volume, given.volume)
        torch.testing.assert_close(mask.volume, expected.network_mask)
    said = capsys.readouterr().out
    assert denoiser.record.sha256 in said
    assert "Nothing finer than 5.82 A" in said  # 32 voxels of 2 A are 22 of 2.909 A
    with mrcfile.open(folder / "out" / "a_denoised.mrc") as opened:
        labels = " ".join(opened.get_labels())
    assert "Denoised: a reference to align to. Weights tiny" in labels
    assert denoiser.record.sha256 in labels


def test_beyond_nyquist_the_map_is_kept_when_asked(folder: Path, run: Callable[..., int]) -> None:
    assert run("a.mrc", "--output", "plain.mrc") == 0
    assert run("a.mrc", "--output", "filled.map", "--keep-beyond-nyquist") == 0
    given, plain, filled = (
        read_map(folder / name).volume for name in ("a.mrc", "plain.mrc", "filled.map")
    )
    fine, coarse = 2 * VOXEL, 9.0
    beyond = [high_pass(v, VOXEL, fine * 1.2) for v in (given, plain, filled)]
    torch.testing.assert_close(beyond[2], beyond[0], atol=1e-5, rtol=0)
    assert beyond[1].std() < 0.3 * beyond[0].std()
    torch.testing.assert_close(
        low_pass(filled, VOXEL, coarse), low_pass(plain, VOXEL, coarse), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["a.mrc", "b.mrc", "--output", "one.mrc"], 2, "2 maps and the single file"),
        (["a.mrc", "--output", "a.mrc"], 2, "a file of its own for each"),
        (["a.mrc", "a.mrc", "--output", "out"], 2, "a file of its own for each"),
        (["missing.mrc", "--output", "out"], 1, "does not exist"),
        (["text.mrc", "--output", "out"], 1, "not MRC"),
        (["nan.mrc", "--output", "out"], 1, "not finite"),
        (["flat.mrc", "--output", "out"], 1, "wanted cubic voxels"),
        (["unsized.mrc", "--output", "out"], 1, "does not say its voxel size"),
        (["a.mrc", "--output", "out", "--mask", "b.mrc"], 2, "A mask of 27 voxels"),
        (["a.mrc", "--output", "out", "--stride", "17"], 2, "A stride of 17"),
        (["a.mrc", "--output", "text.mrc/out"], 1, "Cannot make the folder"),
    ],
)
def test_refuses_in_a_sentence(
    folder: Path,
    run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    (folder / "text.mrc").write_text("no map")
    for name, voxel in (("nan", (2, 2, 2)), ("flat", (2, 2, 3)), ("unsized", (0, 0, 0))):
        with mrcfile.new(folder / f"{name}.mrc") as opened:
            opened.set_data(np.ones((8, 8, 8), np.float32))
            opened.voxel_size = voxel
    with (folder / "nan.mrc").open("rb+") as file:
        file.seek(-4, 2)
        file.write(np.float32(np.nan).tobytes())
    assert run(*arguments) == code
    complaint = capsys.readouterr().err
    assert said in complaint
    assert len(complaint.strip().splitlines()) == 1
    assert not (folder / "out").exists()


def test_interruption_leaves_nothing(
    folder: Path, run: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: object) -> Generator[object, None, DenoisedVolume]:
        steps = denoise_steps(*given)  # type: ignore[arg-type]
        yield next(steps)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "denoise_steps", interrupted)
    assert run("a.mrc", "--output", "out") == 130
    assert not (folder / "out").exists()


def test_the_voxel_size_can_be_given(folder: Path, run: Callable[..., int]) -> None:
    assert run("a.mrc", "--output", "out.mrc", "--voxel-size", "3.0") == 0
    assert read_map(folder / "out.mrc").voxel_size == pytest.approx(3.0)
