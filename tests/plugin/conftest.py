"""Windows for the tests that need one, and reasons to skip those where there is none."""

import gc
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.poses import Poses
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.weights import save_denoiser
from napari_blush.io.mrc import write_map, write_stack
from napari_blush.io.star import write_particles
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.rotations import random_rotations
from napari_blush.simulation.exposure import DefocusPlan, draw_exposure
from napari_blush.simulation.images import ProjectedImages, scale_for_snr, simulate_particles
from napari_blush.simulation.phantoms import random_blobs

_STARTS_WITHIN = 20


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    """Return a display: the one there is, or a virtual one of our own; skip without either."""
    given = os.environ.get("DISPLAY")
    if given:
        yield given
        return
    if os.name == "nt":
        yield ""
        return
    if shutil.which("Xvfb") is None:
        pytest.skip("there is no display and no Xvfb to make one (Debian: apt-get install xvfb)")
    server, number = start_virtual_display()
    os.environ["DISPLAY"] = number
    yield number
    del os.environ["DISPLAY"]
    server.terminate()
    server.wait(_STARTS_WITHIN)


def start_virtual_display() -> tuple[subprocess.Popen[bytes], str]:
    """Start Xvfb on a number that it finds free."""
    read_end, write_end = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1600x1000x24", "-nolisten", "tcp"],
        pass_fds=[write_end],
        stderr=subprocess.DEVNULL,
    )
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        number = pipe.readline().strip()
    if not number:
        pytest.skip("Xvfb is installed and does not start")
    return server, f":{number}"


@pytest.fixture(scope="session")
def application(display: str):
    """Return the Qt application, on software rendering, with no settings file read or written."""
    os.environ.setdefault("LIBGL_ALWAYS_SOFTWARE", "1")
    os.environ["NAPARI_CONFIG"] = ""
    from napari.qt import get_qapp  # noqa: PLC0415  the display must be there first

    found = get_qapp()
    yield found
    # What is left of windows is to go while there still is a display.
    gc.collect()
    found.processEvents()


@pytest.fixture(autouse=True)
def slots_do_not_fail(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test in whose slots something was raised; Qt would end the process instead."""
    raised: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: raised.append(error))
    yield
    if raised:
        raise raised[0]


@pytest.fixture
def wait_until(application) -> Callable[..., None]:
    """Return a function that runs the event loop until something is so."""

    def wait(is_so: Callable[[], bool], seconds: float = 30.0) -> None:
        ends = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < ends, "it did not come about in time"
            application.processEvents()
            time.sleep(0.005)

    return wait


@dataclass(frozen=True)
class TinyFiles:
    """Files of a problem that is refined in seconds."""

    particles: Path
    reference: Path
    mask: Path
    settings: RefinementSettings


def random_network(generator: torch.Generator) -> BlushUNet:
    """Return a network of two narrow levels."""
    network = BlushUNet(2, 2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> TinyFiles:
    """Write 30 simulated images of 16 px, their density and a mask."""
    folder = tmp_path_factory.mktemp("tiny")
    n, box, pixel_size = 30, 16, 8.0
    generator = torch.Generator().manual_seed(1)
    phantom = random_blobs(generator, radius_px=4.5, sigma_px=(1.0, 1.5), n_blobs=12)
    density = phantom.volume(box)
    truth = Poses(random_rotations(n, generator).double(), torch.zeros(n, 2, dtype=torch.float64))
    optics = (OpticsGroup("simulated", 300.0, 2.7, 0.1, pixel_size, box),)
    plan = DefocusPlan(range_um=(1.0, 2.5), particles_per_micrograph=10)
    exposure = draw_exposure(n, optics, plan, generator)
    density = density * scale_for_snr(ProjectedImages(density, truth, exposure), 1.0)
    particles = simulate_particles(density, truth, exposure, seed=1)
    write_stack(folder / "images.mrcs", particles.images.read(torch.arange(n)), pixel_size)
    names = [f"{i + 1:06d}@images.mrcs" for i in range(n)]
    blind = replace(particles, poses=Poses.identity(n), has_poses=False)
    write_particles(folder / "particles.star", blind, {"rlnImageName": names})
    write_map(folder / "start.mrc", density, pixel_size)
    write_map(folder / "mask.mrc", soft_sphere(box, 5.5, 1.5), pixel_size)
    # Drawn at random: what a denoiser does is shown, not whether it is any good.
    network = random_network(generator)
    weights = folder / "tiny.safetensors"
    fields = {"voxel_size": pixel_size, "block_size": 16, "name": "tiny"}
    save_denoiser(weights, network, fields)
    settings = RefinementSettings(
        regularizer="blush",
        denoiser=str(weights),
        denoise_from=None,
        device="cpu",
        healpix_order=0,
        exhaustive_order=0,
        initial_low_pass=25.0,
        offset_range=2.0,
        max_iterations=2,
        seed=3,
        particle_diameter=100.0,
        solvent_mask=folder / "mask.mrc",
    )
    return TinyFiles(folder / "particles.star", folder / "start.mrc", folder / "mask.mrc", settings)
