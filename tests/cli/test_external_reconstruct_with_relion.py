"""RELION itself asks, reads our answers, and goes on with them."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt
import pytest
import torch

from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.weights import save_denoiser
from napari_blush.io.external_reconstruct import (
    job_figures,
    read_external_reconstruction,
    read_sums,
)
from napari_blush.io.mrc import read_map, write_map, write_stack
from napari_blush.likelihood.external_sums import maps_of_sums
from napari_blush.numerics.fft import fourier_resize, fourier_resize_images

SAMPLE_DATA = Path(__file__).parents[2] / "sample_data"
N, N_PARTICLES, VOXEL = 32, 60, 6.0
SEARCH = """--pool 3 --pad 2 --ctf --ctf_corrected_ref --particle_diameter 160 --zero_mask
    --oversampling 1 --healpix_order 1 --offset_range 2 --offset_step 2 --sym C1 --norm --scale
    --j 1 --random_seed 42 --ini_high 40 --i particles.star --ref reference.mrc""".split()
HALVES = """--auto_refine --split_random_halves --auto_local_healpix_order 2
    --low_resol_join_halves 40 --dont_combine_weights_via_disc""".split()
MPI = "mpirun --allow-run-as-root --oversubscribe --mca mpi_yield_when_idle 1 -n 3".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a few small particles in RELION's float32, and their start map."""
    place = tmp_path_factory.mktemp("relion")
    images = mrcfile.read(SAMPLE_DATA / "particles.mrcs")[:N_PARTICLES].astype(np.float32)
    small = fourier_resize_images(torch.from_numpy(images), N)
    write_stack(place / "particles.mrcs", (small - small.mean()) / small.std(), VOXEL)
    reference = fourier_resize(read_map(SAMPLE_DATA / "start_map.mrc").volume, N)
    write_map(place / "reference.mrc", reference, VOXEL)
    lines = []
    for line in (SAMPLE_DATA / "particles.star").read_text().splitlines():
        numbered = re.match(r"(\d+)@", line)
        if numbered and int(numbered[1]) > N_PARTICLES:
            continue
        is_optics = line.startswith("opticsGroup1")
        lines.append(f"opticsGroup1 1 300 2.7 0.1 {VOXEL} {N} 2" if is_optics else line)
    (place / "particles.star").write_text("\n".join(lines) + "\n")
    return place


def relative(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Return the greatest difference by the standard deviation of ``b``."""
    return float(np.abs(a - b).max() / b.std())


def run(command: list[str], folder: Path, **environment: str) -> None:
    outcome = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr[-2000:]


@pytest.mark.relion
def test_our_wiener_map_is_relions_own(folder: Path) -> None:
    for name, option in (("ours", "--external_reconstruct"), ("theirs", "--skip_gridding")):
        (folder / name).mkdir()
        words = ["relion_refine", "--o", f"{name}/run", *SEARCH, "--iter", "1", option]
        run([*words, "--tau2_fudge", "2"], folder)
    star = folder / "ours" / "run_it001_class001_external_reconstruct.star"
    job = read_external_reconstruction(star)
    assert (job.purpose, job.tau2_fudge) == ("classification", 2)
    assert job_figures(star).voxel_size == VOXEL
    assert job_figures(star).particle_diameter == 160
    assert job_figures(star).symmetry == "C1"
    maps = maps_of_sums(
        *read_sums(job), (job.tau2 * job.tau2_fudge).float(), box_size=N, padding=job.padding
    )
    theirs = mrcfile.read(folder / "theirs" / "run_it001_class001.mrc")
    assert relative(maps.wiener.numpy(), theirs) < 2e-3
    assert relative(maps.unfiltered.numpy(), theirs) > 0.1


@pytest.mark.relion
@pytest.mark.slow
def test_a_refinement_goes_on_with_our_maps(folder: Path) -> None:
    network = BlushUNet(2, 3)
    network.outc.weight.data.zero_()
    network.outc.bias.data.zero_()
    save_denoiser(folder / "w.safetensors", network, {"voxel_size": 3.0, "block_size": 32})
    (folder / "halves").mkdir()
    program = Path(sys.executable).parent / "napari-blush"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE": f"{program} external-reconstruct",
        "NAPARI_BLUSH_EXTERNAL_ARGS": "--denoiser w.safetensors",
    }
    words = [*MPI, "relion_refine_mpi", "--o", "halves/run", *SEARCH, *HALVES]
    with (folder / "relion.log").open("w") as log:
        process = subprocess.Popen(
            [*words, "--external_reconstruct"], cwd=folder, env=environment, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        begun, ended = folder / "halves" / "run_it003_half1_model.star", time.monotonic() + 400
        while process.poll() is None and not begun.exists() and time.monotonic() < ended:
            time.sleep(0.5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
    told = (folder / "relion.log").read_text(errors="replace")
    assert "External reconstruction finished successfully" in told, told[-2000:]
    for iteration in ("001", "002"):
        cutoffs = set()
        for half in (1, 2):
            root = folder / "halves" / f"run_it{iteration}_half{half}_class001"
            result = root.with_name(f"{root.name}_external_reconstruct.mrc")
            with mrcfile.open(result) as file:
                assert b"napari-blush" in file.header.label[0]
                ours = file.data.copy()
            assert relative(mrcfile.read(root.with_suffix(".mrc")), ours) < 1e-5
            told_of = result.with_suffix(".log").read_text()
            assert f"half-map {half} denoised" in told_of
            cutoffs.update(re.findall(r"shell (\d+)", told_of))
        assert len(cutoffs) == 1
