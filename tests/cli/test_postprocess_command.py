"""``postprocess`` from files to files, and its curves beside RELION's."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import starfile
import torch

from napari_blush.cli.main import main
from napari_blush.io.mrc import read_map, write_map
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.sharpening import fsc_weight, sharpen, shell_amplitude

BOX, VOXEL = 32, 3.0


@pytest.fixture
def maps(tmp_path: Path, generator: torch.Generator) -> Path:
    """Write two noisy halves of one random density that fades towards Nyquist, and a mask."""
    density = torch.randn(BOX, BOX, BOX, generator=generator)
    density = low_pass(density, VOXEL, 9.0) * soft_sphere(BOX, 7.0, 3.0)
    for half in (1, 2):
        noise = torch.randn(BOX, BOX, BOX, generator=generator)
        write_map(tmp_path / f"half{half}.mrc", density + 1.5 * density.std() * noise, VOXEL)
    write_map(tmp_path / "mask.mrc", soft_sphere(BOX, 9.0, 4.0), VOXEL)
    return tmp_path


def run(folder: Path, *options: str) -> int:
    halves = [str(folder / "half1.mrc"), str(folder / "half2.mrc")]
    return main(["postprocess", *halves, "--output", str(folder / "out"), *options])


def test_files_and_figures_agree(maps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(maps, "--mask", str(maps / "mask.mrc"), "--b-factor", "-100") == 0
    general = starfile.read(maps / "out" / "postprocess.star", always_dict=True)["general"]
    assert general["rlnBfactorUsedForSharpening"] == -100
    said = capsys.readouterr().out
    assert f"Resolution {general['rlnFinalResolution']:.2f} A" in said
    sharpened = read_map(maps / "out" / "postprocess.mrc")
    masked = read_map(maps / "out" / "postprocess_masked.mrc")
    mask = read_map(maps / "mask.mrc").volume
    assert sharpened.voxel_size == VOXEL
    torch.testing.assert_close(masked.volume, sharpened.volume * mask)
    assert not (maps / "out" / "automask.mrc").exists()
    assert general["rlnMaskName"] == str(maps / "mask.mrc")
    assert general["rlnUnfilteredMapHalf2"] == str(maps / "half2.mrc")


def test_auto_asks_for_a_fitted_b_factor(maps: Path) -> None:
    assert run(maps, "--b-factor", "auto") == 0
    tables = starfile.read(maps / "out" / "postprocess.star", always_dict=True)
    general, guinier = tables["general"], tables["guinier"]
    assert general["rlnBfactorUsedForSharpening"] == pytest.approx(
        4 * general["rlnFittedSlopeGuinierPlot"], rel=1e-5
    )
    # Sharpening adds B / (4 d^2) to the logarithm of each shell.
    added = guinier["rlnLogAmplitudesSharpened"] - guinier["rlnLogAmplitudesWeighted"]
    expected = -general["rlnFittedSlopeGuinierPlot"] * guinier["rlnResolutionSquared"]
    np.testing.assert_allclose(added[:6], expected[:6], atol=0.02)  # shells are thick


def test_without_a_mask_one_is_drawn_and_written(maps: Path) -> None:
    assert run(maps) == 0
    mask = read_map(maps / "out" / "automask.mrc").volume
    assert float(mask.min()) >= 0
    assert float(mask.max()) == pytest.approx(1.0)


def test_maps_that_are_no_halves_are_refused(
    maps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_map(maps / "half2.mrc", torch.zeros(16, 16, 16), VOXEL)
    assert run(maps) == 1
    complaint = capsys.readouterr().err
    assert "wanted two half-maps of one refinement" in complaint
    assert len(complaint.splitlines()) == 1


@pytest.mark.relion
def test_curves_are_those_of_relion(maps: Path) -> None:
    assert run(maps, "--mask", str(maps / "mask.mrc")) == 0
    (maps / "relion").mkdir()
    command = "relion_postprocess --i half1.mrc --i2 half2.mrc --mask mask.mrc --o relion/post"
    subprocess.run(command.split(), cwd=maps, capture_output=True, check=True, timeout=120)
    ours = starfile.read(maps / "out" / "postprocess.star", always_dict=True)["fsc"]
    theirs = starfile.read(maps / "relion" / "post.star", always_dict=True)["fsc"]
    for kind in ("UnmaskedMaps", "MaskedMaps"):
        label = f"rlnFourierShellCorrelation{kind}"
        np.testing.assert_allclose(ours[label], theirs[label], atol=2e-3)
    np.testing.assert_allclose(ours["rlnResolution"][1:], theirs["rlnResolution"][1:], atol=1e-6)
    assert set(theirs.columns) == set(ours.columns)


@pytest.mark.relion
@pytest.mark.real_data
def test_real_halves_come_out_as_relions(tmp_path: Path, data_dir: Path) -> None:
    folder = data_dir / "betagal_dev"
    halves = [str(folder / "relion313_reference" / f"half{h}_unfil.mrc") for h in (1, 2)]
    mask = str(folder / "mask_soft_box64.mrc")
    command = ["relion_postprocess", "--i", halves[0], "--i2", halves[1], "--mask", mask]
    command += ["--angpix", "3.54", "--adhoc_bfac", "-300", "--o", "relion"]
    # RELION leaves with an error where Ghostscript is missing, its maps and tables written.
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=120)
    arguments = ["postprocess", *halves, "--mask", mask, "--b-factor", "-300"]
    assert main([*arguments, "--output", str(tmp_path)]) == 0
    ours, theirs = (
        starfile.read(tmp_path / name, always_dict=True)
        for name in ("postprocess.star", "relion.star")
    )
    for label in ("rlnFinalResolution", "rlnRandomiseFrom", "rlnBfactorUsedForSharpening"):
        assert ours["general"][label] == pytest.approx(theirs["general"][label], rel=1e-4)
    label = "rlnLogAmplitudesOriginal"
    np.testing.assert_allclose(ours["guinier"][label], theirs["guinier"][label], atol=1e-4)
    maps = [read_map(tmp_path / name).volume for name in ("postprocess.mrc", "relion.mrc")]
    # RELION's curve depends on its draw of random phases, and the map on the curve. With the same
    # curve it is the same map.
    curve = torch.tensor(theirs["fsc"]["rlnFourierShellCorrelationCorrected"].to_numpy())
    average = sum(read_map(half).volume for half in halves) / 2
    same = sharpen(average, 3.54, b_factor=-300.0, weight=fsc_weight(curve))
    assert (same - maps[1]).norm() < 1e-4 * maps[1].norm()
    correlation = fourier_shell_correlation(maps[0], maps[1])
    assert correlation[:31].min() > 0.999
    np.testing.assert_allclose(
        shell_amplitude(maps[0])[:31], shell_amplitude(maps[1])[:31], rtol=0.05
    )
