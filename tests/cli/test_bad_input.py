"""Whatever is wrong with what ``refine`` is given: one sentence, and nothing is written."""

from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from napari_blush.cli.main import main
from napari_blush.io.mrc import write_map, write_stack
from napari_blush.numerics.masks import soft_sphere

BOX, VOXEL, N = 16, 4.0, 8
OPTICS = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
_rlnImageDimensionality #8
1 one 300.0 2.7 0.1 4.0 16 2

data_particles

loop_
_rlnImageName #1
_rlnDefocusU #2
_rlnDefocusV #3
_rlnDefocusAngle #4
_rlnOpticsGroup #5
_rlnRandomSubset #6
"""


@pytest.fixture
def folder(tmp_path: Path, generator: torch.Generator) -> Path:
    """Write a data set with which nothing is wrong."""
    images = torch.randn(N, BOX, BOX, generator=generator)
    write_stack(tmp_path / "p.mrcs", images, VOXEL)
    rows = [f"{i + 1:06d}@p.mrcs 10000 10100 30 1 {i % 2 + 1}" for i in range(N)]
    (tmp_path / "p.star").write_text(OPTICS + "\n".join(rows) + "\n")
    write_map(tmp_path / "start.mrc", soft_sphere(BOX, 4.0, 2.0), VOXEL)
    write_map(tmp_path / "mask.mrc", soft_sphere(BOX, 5.0, 2.0), VOXEL)
    return tmp_path


def refine(folder: Path, *options: str) -> int:
    files = ["p.star", "--reference", "start.mrc", "--mask", "mask.mrc", "--output", "out"]
    named = [str(folder / name) if not name.startswith("--") else name for name in files]
    basics = "--device cpu --particle-diameter 40 --max-iterations 1 --healpix-order 0"
    return main(["refine", *named, *basics.split(), *options])


def edit_star(old: str, new: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        star = folder / "p.star"
        assert old in star.read_text()
        star.write_text(star.read_text().replace(old, new))

    return spoil


def edit_images(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        images = torch.randn(N, BOX, BOX, generator=torch.Generator().manual_seed(0))
        write_stack(folder / "p.mrcs", change(images), VOXEL)

    return spoil


def one_image(value: float) -> Callable[[Path], None]:
    """Fill an image, past our writer's checks."""

    def spoil(folder: Path) -> None:
        with mrcfile.open(folder / "p.mrcs", mode="r+") as file:
            file.data[3] = value

    return spoil


def replace_map(name: str, volume: torch.Tensor) -> Callable[[Path], None]:
    return lambda folder: write_map(folder / name, volume, VOXEL)


def cut_stack(folder: Path) -> None:
    stack = folder / "p.mrcs"
    stack.write_bytes(stack.read_bytes()[:-500])


def file_in_the_way(folder: Path) -> None:
    (folder / "out").write_text("a file")


def raw(name: str, shape: tuple[int, ...]) -> Callable[[Path], None]:
    """Write an MRC file of any shape, past our writer's checks."""

    def spoil(folder: Path) -> None:
        with mrcfile.new(folder / name, overwrite=True) as file:
            file.set_data(np.ones(shape, dtype=np.float32))
            file.set_volume()
            file.voxel_size = VOXEL

    return spoil


SPOILED = {
    "no star file": (lambda folder: (folder / "p.star").unlink(), "does not exist"),
    "not a star file": (lambda folder: (folder / "p.star").write_text("x"), "data_ block"),
    "renamed column": (edit_star("_rlnDefocusU", "_rlnDefocusX"), "rlnDefocusU"),
    "no image names": (edit_star("_rlnImageName", "_rlnPicture"), "rlnImageName"),
    "word for a number": (edit_star("10000 10100", "deep 10100"), "rlnDefocusU"),
    "unknown optics group": (edit_star(" 30 1 ", " 30 7 "), "optics"),
    "image out of range": (edit_star("000008@", "000009@"), "9"),
    "no stack": (lambda folder: (folder / "p.mrcs").unlink(), "p.mrcs"),
    "too few images": (edit_images(lambda images: images[:5]), "p.mrcs"),
    "truncated stack": (cut_stack, "p.mrcs"),
    "NaN image": (one_image(float("nan")), "Image 4"),
    "constant image": (one_image(2.0), "Image 4"),
    "images of another box": (edit_images(lambda images: images[:, :8, :8]), "8"),
    "odd box": (edit_images(lambda images: images[:, :15, :15]), "15"),
    "one half only": (edit_star(" 30 1 2\n", " 30 1 1\n"), "rlnRandomSubset"),
    "no start map": (lambda folder: (folder / "start.mrc").unlink(), "start.mrc"),
    "start map is no map": (lambda folder: (folder / "start.mrc").write_text("x"), "start.mrc"),
    "start map is flat": (replace_map("start.mrc", torch.ones(BOX, BOX, BOX)), "constant"),
    "start map is no cube": (raw("start.mrc", (16, 16, 14)), "start.mrc"),
    "mask beyond one": (replace_map("mask.mrc", 2 * soft_sphere(BOX, 5.0, 2.0)), "mask"),
    "empty mask": (replace_map("mask.mrc", torch.zeros(BOX, BOX, BOX)), "mask"),
    "file in the way": (file_in_the_way, "out"),
}


def complaint_of(captured: pytest.CaptureFixture[str]) -> str:
    """Return what was said on standard error, checked to be one sentence of ours."""
    said = captured.readouterr().err
    assert said.startswith("napari-blush")
    assert len(said.splitlines()) == 1
    return said


@pytest.mark.parametrize("case", SPOILED)
def test_spoiled_input_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    spoil, names = SPOILED[case]
    spoil(folder)
    assert refine(folder) in (1, 2)
    assert names in complaint_of(capsys)
    assert not list(folder.glob("out/*.mrc"))


@pytest.mark.parametrize(
    ("options", "code", "names"),
    [
        ("--symmetry X9", 2, "X9"),
        ("--particle-diameter 200", 1, "--particle-diameter"),
        ("--device gpu", 2, "one of auto, cpu, cuda, mps"),
        ("--regularizer magic", 2, "magic"),
        ("--memory-limit -1", 2, "--memory-limit"),
        ("--local-search-from 0", 2, "--local-search-from"),
        ("--passthrough p.cs", 2, "--passthrough"),
    ],
)
def test_wrong_options_are_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], options: str, code: int, names: str
) -> None:
    assert refine(folder, *options.split()) == code
    assert names in complaint_of(capsys)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refine(folder, "--device", "cuda") == 1
    assert "cuda" in complaint_of(capsys)


def test_nothing_is_wrong_with_what_the_others_spoil(folder: Path) -> None:
    assert refine(folder) == 0


def test_maps_of_another_box_and_pixel_size_are_fitted_and_that_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_map(folder / "start.mrc", soft_sphere(24, 5.0, 2.0), 3.0)
    assert refine(folder) == 0
    assert "start map" in capsys.readouterr().out


def test_images_that_are_not_normalized_are_normalized_and_that_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_images(lambda images: 40 * images + 500)(folder)
    assert refine(folder) == 0
    assert "normali" in capsys.readouterr().out
