"""The answers to RELION's requests: which map is denoised, cut off, written, and what is said."""

import shlex
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from napari_blush.cli import external_reconstruct
from napari_blush.cli.main import main
from napari_blush.cli.relion_python_blush import device_of_gpu_option
from napari_blush.conventions import Volume
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.weights import save_denoiser
from napari_blush.errors import SettingsError
from napari_blush.io.mrc import read_map
from napari_blush.io.star_table import StarBlock
from napari_blush.io.star_text import columns_of, write_star
from napari_blush.numerics.fft import rfftn_centered
from napari_blush.numerics.gridding import gridding_correction
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.shells import shell_mean
from napari_blush.simulation.phantoms import random_blobs

N, PADDING, VOXEL = 32, 2, 6.0
P = N * PADDING
LAST_GOOD = 8  # shell of the FSC
CUTOFF = LAST_GOOD + 1 - 2
WEIGHT, TAU2 = 50.0, 0.05  # the Wiener map is the map times 0.95 from shell 5 on
WIENER = WEIGHT / (WEIGHT + 1 / (PADDING**3 * TAU2))
HALF = "run_it004_half1_class001_external_reconstruct"
FINAL = "run_it009_class001_external_reconstruct"
Ask = Callable[..., Path]


@pytest.fixture
def volume(generator: torch.Generator) -> Volume:
    """Return a density well inside the box."""
    return random_blobs(generator, radius_px=7.0, sigma_px=(0.8, 1.2)).volume(N)


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    """Return weights of a network that finds no noise, so changes nothing."""
    network = BlushUNet(2, 3)
    network.outc.weight.data.zero_()
    network.outc.bias.data.zero_()
    path = tmp_path / "identity.safetensors"
    save_denoiser(path, network, {"voxel_size": 3.0, "block_size": 32})
    return path


@pytest.fixture
def ask(tmp_path: Path, volume: Volume) -> Ask:
    """Return a function that asks for the map of ``volume`` as RELION does."""

    def write(name: str = HALF, folder: str = "job", *, fsc_is_known: bool = True) -> Path:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        padded = np.zeros((P, P, P))
        first = P // 2 - N // 2
        inside = slice(first, first + N)
        padded[inside, inside, inside] = (volume * gridding_correction(N, PADDING)).numpy()
        data = np.fft.rfftn(np.fft.ifftshift(padded)) * WEIGHT / N**2
        arrays = {"data_real": data.real, "data_imag": data.imag, "weight": 0 * data.real + WEIGHT}
        for array, values in arrays.items():
            mrcfile.write(place / f"{name}_{array}.mrc", values.astype(np.float32))
        general = {
            "rlnExtReconsDataReal": f"{name}_data_real.mrc",
            "rlnExtReconsDataImag": f"{name}_data_imag.mrc",
            "rlnExtReconsWeight": f"{name}_weight.mrc",
            "rlnExtReconsResult": f"{name}.mrc",
            "rlnTau2FudgeFactor": 1.0,
            "rlnPaddingFactor": 2.0,
            "rlnReferenceDimensionality": 3,
            "rlnOriginalImageSize": N,
            "rlnCurrentImageSize": N,
        }
        shells = np.arange(N // 2 + 1)
        fsc = np.where(shells <= LAST_GOOD, 0.9, 0.05) * fsc_is_known
        spectra = {"rlnSpectralIndex": shells, "rlnReferenceTau2": 0 * fsc + TAU2}
        blocks = [
            StarBlock(
                "external_reconstruct_general",
                columns_of({label: [value] for label, value in general.items()}),
                is_loop=False,
            ),
            StarBlock(
                "external_reconstruct_tau2", columns_of({**spectra, "rlnGoldStandardFsc": fsc})
            ),
        ]
        write_star(place / f"{name}.star", blocks)
        return place / f"{name}.star"

    return write


def gain(made: Volume, wanted: Volume) -> torch.Tensor:
    """Return by shell how much of ``wanted`` is in ``made``, inside the particle's sphere."""
    inside = soft_sphere(N, 12, 3)
    a, b = rfftn_centered(made * inside), rfftn_centered(wanted * inside)
    return shell_mean((a * b.conj()).real, N, 3) / shell_mean(b.abs() ** 2, N, 3)


def run(star: Path, weights: Path, *options: str) -> Volume:
    arguments = ["external-reconstruct", str(star), "--denoiser", str(weights)]
    assert main([*arguments, "--voxel-size", str(VOXEL), *options]) == 0
    made = read_map(star.with_suffix(".mrc"))
    assert made.voxel_size == VOXEL
    return made.volume


def test_a_half_map_is_denoised_unfiltered_and_cut_off(
    ask: Ask, identity: Path, volume: Volume, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = gain(run(ask(), identity), volume)
    np.testing.assert_allclose(kept[1 : CUTOFF - 1], 1, atol=0.02)
    np.testing.assert_allclose(kept[CUTOFF + 3 :], 0, atol=0.02)
    told = capsys.readouterr().out
    assert f"half-map 1 denoised, nothing beyond shell {CUTOFF} (27.4 A)" in told
    assert all(line.startswith("napari-blush: ") for line in told.splitlines())


def test_without_trailing_it_is_not_cut_off(
    ask: Ask, identity: Path, volume: Volume, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = gain(run(ask(), identity, "--no-spectral-trailing"), volume)
    np.testing.assert_allclose(kept[1:14], 1, atol=0.02)
    assert "unsafe" in capsys.readouterr().out


def test_the_final_map_is_not_denoised(ask: Ask, identity: Path, volume: Volume) -> None:
    star = ask(FINAL, "from_half1_class001")
    made = run(star, identity)
    np.testing.assert_allclose(gain(made, volume)[6:14], WIENER, atol=0.02)
    copy = star.with_name(f"{FINAL}_denoised.mrc")
    kept = gain(read_map(copy).volume, volume)
    np.testing.assert_allclose(kept[CUTOFF + 3 :], 0, atol=0.02)
    with mrcfile.open(copy, header_only=True) as file:
        assert b"for alignment only" in b" ".join(file.header.label)


def test_a_class_is_denoised_after_the_wiener_filter(
    ask: Ask, identity: Path, volume: Volume, capsys: pytest.CaptureFixture[str]
) -> None:
    made = run(ask(FINAL, fsc_is_known=False), identity)
    np.testing.assert_allclose(gain(made, volume)[6:14], WIENER, atol=0.02)
    assert "Wiener map of a class denoised" in capsys.readouterr().out


def test_release_mode_works_through(ask: Ask, identity: Path, volume: Volume) -> None:
    made = run(ask(), identity, "--mode", "release", "--no-spectral-trailing")
    inside = soft_sphere(N, 5, 2)
    assert torch.corrcoef(torch.stack([(made * inside).flatten(), (volume * inside).flatten()]))[
        0, 1
    ] > 0.99  # fmt: skip


def test_symmetry_is_given_again(ask: Ask, tmp_path: Path, generator: torch.Generator) -> None:
    network = BlushUNet(2, 3)
    for parameter in network.parameters():
        parameter.data.normal_(std=0.3, generator=generator)
    weights = tmp_path / "noise.safetensors"
    save_denoiser(weights, network, {"voxel_size": 3.0, "block_size": 32})

    def lack(made: Volume) -> float:
        turned = made[:, 1:, 1:].flip(1, 2)
        return float((made[:, 1:, 1:] - turned).std() / made.std())

    star = ask()
    assert lack(run(star, weights)) > 0.1
    assert lack(run(star, weights, "--symmetry", "C2")) < 1e-3


def test_debug_writes_what_came_before_and_after(ask: Ask, identity: Path, volume: Volume) -> None:
    star = ask()
    run(star, identity, "--debug")
    before = read_map(star.with_name(f"{HALF}_debug_denoise_input.mrc")).volume
    np.testing.assert_allclose(gain(before, volume)[1:14], 1, atol=0.01)
    assert star.with_name(f"{HALF}_debug_denoise_output.mrc").is_file()


def test_settings_may_stand_in_the_environment(
    ask: Ask, identity: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--denoiser", str(identity), "--voxel-size", "6", "--no-spectral-trailing"]
    monkeypatch.setenv(external_reconstruct.ARGUMENTS_VARIABLE, shlex.join(words))
    star = ask()
    assert main(["external-reconstruct", str(star)]) == 0
    assert "not cut off" in capsys.readouterr().out
    assert main(["external-reconstruct", str(star), "--spectral-trailing"]) == 0
    assert f"shell {CUTOFF}" in capsys.readouterr().out
    log = star.with_suffix(".log").read_text()
    assert "Weights: identity 1, sha256 " in log
    for wrong in ("--denoiser 'x", "--colour red", "--voxel-size -1"):
        monkeypatch.setenv(external_reconstruct.ARGUMENTS_VARIABLE, wrong)
        assert main(["external-reconstruct", str(star)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_errors_are_sentences_and_leave_no_map(
    ask: Ask, identity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    star = ask()
    for arguments, said in [
        ([str(star), "--denoiser", str(identity)], "give it with --voxel-size"),
        ([str(star), "--denoiser", "gone.safetensors"], "does not exist"),
        ([str(star) + "x", "--denoiser", str(identity)], "does not exist"),
    ]:
        assert main(["external-reconstruct", *arguments]) in (1, 2)
        told = capsys.readouterr()
        assert said in told.err
        assert len(told.err.splitlines()) == 1
        assert told.out == ""
    assert not star.with_suffix(".mrc").exists()


def test_relion_5_reads_success_and_nothing_else(
    ask: Ask, identity: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(external_reconstruct.ARGUMENTS_VARIABLE, "--voxel-size 6")
    star = ask()
    options = ["-m", str(identity), "-s", "16", "-b", "2", "--device_timeout", "5", "--debug"]
    words = ["relion-python-blush", str(star), *options, "--skip-spectral-trailing", "--gpu", "-1"]
    assert main(words) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == ("success\n", "")
    assert "not cut off (unsafe)" in star.with_suffix(".log").read_text()
    assert star.with_name(f"{HALF}_debug_denoise_input.mrc").is_file()
    assert main([*words[:4], "-g"]) == 0
    assert capsys.readouterr().out == "success\n"
    assert f"shell {CUTOFF}" in star.with_suffix(".log").read_text()
    assert main(["relion-python-blush", str(star), "-m", "v1.0"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "relion-v1.0" in told.err


def test_the_gpu_option_means_what_relion_means(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_of_gpu_option("-1", "auto", "half1") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of_gpu_option("", "cpu", "half1") == torch.device("cpu")
    assert device_of_gpu_option(None, "auto", "half2") == torch.device("cpu")
    with pytest.raises(SettingsError, match=r"cuda:1 was asked for and PyTorch sees 0"):
        device_of_gpu_option("1", "auto", "half1")
    with pytest.raises(SettingsError, match="'a,b'; wanted numbers"):
        device_of_gpu_option("a,b", "auto", "half1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for purpose, number in [("half1", 2), ("half2", 3), ("final", 2), ("classification", 2)]:
        assert device_of_gpu_option("2,3,", "cpu", purpose) == torch.device("cuda", number)
    assert device_of_gpu_option("1", "cpu", "half2") == torch.device("cuda", 1)
    assert device_of_gpu_option(None, "auto", "half2") == torch.device("cuda", 1)
