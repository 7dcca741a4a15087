"""``simulate`` from a model to files that this package and RELION read."""

import gzip
import json
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from napari_blush.cli.main import main
from napari_blush.data_model.tool_settings import SimulationSettings
from napari_blush.io.mrc import read_map, write_map
from napari_blush.io.star import read_particles
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.simulation.exposure import Exposure
from napari_blush.simulation.images import ProjectedImages
from napari_blush.simulation.phantoms import random_blobs

N, BOX, PIXEL = 60, 32, 4.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lopsided cloud of 300 carbon atoms, 60 A across, as a gzipped PDB file."""
    generator = torch.Generator().manual_seed(2)
    centers = 6 * random_blobs(generator, n_blobs=300, radius_px=5.0).centers_px + 100
    lines = [
        f"ATOM  {i + 1:5d}  CA  ALA A{i + 1:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
        f"  1.00 {30 + i % 40:5.2f}           C"
        for i, (x, y, z) in enumerate(centers.tolist())
    ]
    path = tmp_path_factory.mktemp("model") / "cloud.pdb.gz"
    path.write_bytes(gzip.compress(("\n".join(lines) + "\nEND\n").encode()))
    return path


def simulate(model: Path, folder: Path, *options: str) -> int:
    sizes = ["--n-particles", str(N), "--box", str(BOX), "--pixel-size", str(PIXEL)]
    return main(["simulate", str(model), "--output", str(folder), *sizes, *options])


@pytest.fixture(scope="module")
def made(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "new" / "folder"
    options = ["--snr", "0.5", "--seed", "3", "--particles-per-micrograph", "20"]
    assert simulate(model, folder, *options) == 0
    return folder


def test_particles_are_read_back_without_poses(made: Path) -> None:
    particles = read_particles(made / "particles.star")
    assert len(particles) == N
    assert not particles.has_poses
    assert particles.optics_groups[0].box_size == BOX
    assert particles.optics_groups[0].pixel_size == PIXEL
    assert particles.group_index.bincount().tolist() == [20, 20, 20]
    images = particles.images.read(torch.arange(N))
    assert images.shape == (N, BOX, BOX)
    assert 0.9 < images[:, :4].std() < 1.2


def test_truth_is_on_the_grey_scale_of_the_images(made: Path) -> None:
    """Projections of the truth at the true poses are the images, but for noise of variance 1."""
    truth = read_particles(made / "truth" / "truth_poses.star")
    assert truth.has_poses
    exposure = Exposure(
        truth.optics_groups,
        truth.optics_group_index,
        truth.defocus,
        truth.phase_shift_deg,
        truth.ctf_b_factor,
        truth.ctf_scale,
        truth.group_index,
        truth.group_names,
    )
    volume = read_map(made / "truth" / "truth.mrc")
    assert volume.voxel_size == PIXEL
    everything = torch.arange(N)
    signal = ProjectedImages(volume.volume, truth.poses, exposure).read(everything)
    noise = truth.images.read(everything) - signal
    assert signal.var((1, 2)).mean().item() == pytest.approx(0.5, rel=0.01)
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.var().item() == pytest.approx(1, abs=0.02)
    fit = (truth.images.read(everything) * signal).sum() / (signal * signal).sum()
    assert fit.item() == pytest.approx(1, abs=0.03)


def test_mask_and_start_map_fit_the_truth(made: Path) -> None:
    truth = read_map(made / "truth" / "truth.mrc").volume
    mask = read_map(made / "mask.mrc").volume
    start = read_map(made / "start_map.mrc").volume
    assert mask.min() >= 0
    assert mask.max() == pytest.approx(1)
    assert (truth * mask).norm() > 0.98 * truth.norm()
    # 40 A is shell 3.2 of a box of 128 A.
    fsc = fourier_shell_correlation(start, truth)
    assert fsc[1:3].min() > 0.999
    assert torch.fft.rfftn(start).abs()[8:-8].max() < 1e-3 * torch.fft.rfftn(truth).abs().max()


def test_info_says_how_it_was_made(made: Path) -> None:
    info = json.loads((made / "info.json").read_text())
    settings = SimulationSettings.model_validate(info["settings"])
    assert settings.n_particles == N
    assert settings.seed == 3
    assert info["snr"] == 0.5
    assert info["model"] == "cloud.pdb.gz"
    assert 60 <= info["particle_diameter"] <= BOX * PIXEL
    # The model, moved by the shift, lies where its density is.
    assert len(info["model_shift_angstrom"]) == 3


def test_the_same_seed_makes_the_same_files(made: Path, model: Path, tmp_path: Path) -> None:
    options = ["--snr", "0.5", "--particles-per-micrograph", "20"]
    assert simulate(model, tmp_path / "again", *options, "--seed", "3") == 0
    assert simulate(model, tmp_path / "other", *options, "--seed", "4") == 0
    files = [path.relative_to(made) for path in made.rglob("*") if path.is_file()]
    assert len(files) == 7
    for file in files:
        assert (made / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    stack = (made / "particles.mrcs").read_bytes()
    assert stack != (tmp_path / "other" / "particles.mrcs").read_bytes()


def test_float16_stacks_are_mode_12(made: Path, model: Path, tmp_path: Path) -> None:
    options = ["--snr", "0.5", "--seed", "3", "--particles-per-micrograph", "20"]
    assert simulate(model, tmp_path, *options, "--dtype", "float16") == 0
    with mrcfile.mmap(tmp_path / "particles.mrcs") as half:
        assert int(half.header.mode) == 12
        assert half.is_image_stack()
        assert float(half.voxel_size.x) == PIXEL
        full = mrcfile.read(made / "particles.mrcs")
        np.testing.assert_allclose(half.data.astype(np.float32), full, atol=4e-3)
        assert float(half.header.rms) == pytest.approx(float(full.std()), rel=1e-3)


def test_a_map_is_brought_to_the_pixel_and_box(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(4)
    volume = random_blobs(generator, radius_px=9.0, sigma_px=(2.0, 3.0)).volume(48)
    write_map(tmp_path / "map.mrc", volume, 2.5)
    assert simulate(tmp_path / "map.mrc", tmp_path / "out", "--noise", "none") == 0
    truth = read_map(tmp_path / "out" / "truth" / "truth.mrc")
    assert truth.voxel_size == PIXEL
    assert truth.volume.shape == (BOX, BOX, BOX)
    assert (tmp_path / "out" / "particles.star").exists()


def test_a_dose_sets_the_signal_to_noise_ratio(model: Path, tmp_path: Path) -> None:
    ratios = []
    for dose in ("10", "40"):
        assert simulate(model, tmp_path, "--dose", dose, "--noise", "coloured") == 0
        ratios.append(json.loads((tmp_path / "info.json").read_text())["snr"])
    assert ratios[1] == pytest.approx(4 * ratios[0], rel=1e-4)


def test_preferred_orientations_are_preferred(model: Path, tmp_path: Path) -> None:
    options = ["--orientations", "top", "--orientation-spread", "5"]
    assert simulate(model, tmp_path, *options) == 0
    poses = read_particles(tmp_path / "truth" / "truth_poses.star").poses
    assert poses.rotations[:, 2, 2].abs().min() > 0.9


@pytest.mark.parametrize(
    ("options", "complaint", "code"),
    [
        (("--snr", "1", "--dose", "9"), "wanted one of them", 2),
        (("--defocus-min", "3"), "wanted the smaller first", 2),
        (("--box", "33"), "", 2),
        (("--pixel-size", "1"), "wanted all inside the box", 1),
    ],
)
def test_bad_input_is_one_sentence(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    complaint: str,
    code: int,
) -> None:
    assert simulate(model, tmp_path / "out", *options) == code
    said = capsys.readouterr().err
    assert complaint in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_dose_needs_atoms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = random_blobs(torch.Generator().manual_seed(4)).volume(BOX)
    write_map(tmp_path / "map.mrc", volume, PIXEL)
    assert simulate(tmp_path / "map.mrc", tmp_path, "--dose", "40") == 2
    assert "wanted a signal-to-noise ratio" in capsys.readouterr().err


@pytest.mark.relion
def test_relion_reconstructs_the_truth(model: Path, tmp_path: Path) -> None:
    options = ["--snr", "5", "--seed", "1", "--n-particles", "200"]
    assert simulate(model, tmp_path, *options) == 0
    command = "relion_reconstruct --i truth/truth_poses.star --ctf --o reconstructed.mrc"
    subprocess.run(command.split(), cwd=tmp_path, capture_output=True, check=True, timeout=120)
    truth = read_map(tmp_path / "truth" / "truth.mrc").volume
    mask = read_map(tmp_path / "mask.mrc").volume
    reconstructed = read_map(tmp_path / "reconstructed.mrc").volume
    assert fourier_shell_correlation(reconstructed * mask, truth * mask)[1:14].min() > 0.95
