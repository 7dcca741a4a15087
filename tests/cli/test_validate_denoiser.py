"""A denoiser that paints is told from one that does not."""

from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor

from napari_blush.cli import validate_denoiser
from napari_blush.cli.report import Report
from napari_blush.cli.validate_files import HalfMapFiles
from napari_blush.data_model.validation_settings import DenoiserCheckSettings
from napari_blush.denoiser.denoiser import Denoiser
from napari_blush.denoiser.inference import DenoisedVolume
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.weights_record import WeightsRecord
from napari_blush.io.mrc import MapFile
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.masks import soft_sphere
from napari_blush.simulation.phantoms import random_blobs
from napari_blush.validation.denoiser_checks import change_plot
from napari_blush.validation.denoiser_stability import shell_change
from napari_blush.validation.lights import Light

BOX, VOXEL = 40, 3.0


@pytest.fixture
def halves(generator: torch.Generator) -> HalfMapFiles:
    signal = random_blobs(generator, n_blobs=120, radius_px=10.0).volume(BOX)
    maps = [
        MapFile(signal + 0.5 * torch.randn(BOX, BOX, BOX, generator=generator), VOXEL)
        for _ in (1, 2)
    ]
    return HalfMapFiles(maps[0], maps[1], soft_sphere(BOX, 13.0, 4.0), True)


def helices() -> Tensor:
    """Return rods of a pitch of 5.4 voxels, as a network trained on helices might paint them."""
    z, y, x = torch.meshgrid(*[torch.arange(BOX).float() - BOX // 2] * 3, indexing="ij")
    turn = 2 * torch.pi * z / 5.4
    return torch.exp(-((x - 3 * turn.cos()) ** 2 + (y - 3 * turn.sin()) ** 2) / 2)


@pytest.mark.parametrize(
    ("kind", "light"), [("smooths", Light.GREEN), ("nothing", Light.GREEN), ("paints", Light.RED)]
)
def test_what_a_denoiser_adds(
    kind: str, light: Light, halves: HalfMapFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_up(volume: Tensor, *_: object) -> DenoisedVolume:
        out = {
            "smooths": lambda: low_pass(volume, VOXEL, 8.0),
            "nothing": lambda: volume,
            "paints": lambda: volume + 4 * helices(),
        }[kind]()
        return DenoisedVolume(out, torch.ones_like(volume), BOX / 2)

    monkeypatch.setattr(validate_denoiser, "denoise_volume", made_up)
    denoiser = Denoiser(BlushUNet(width=2, depth=2), WeightsRecord("x", "1", "", 3.0, 16, 2, 2))
    settings = DenoiserCheckSettings(randomize_at=20.0)
    section = validate_denoiser.tested(halves, denoiser, settings, Report())
    gained, confirmed = section.checks
    assert gained.light is light
    # Helices over all else drown what the halves have in common.
    assert confirmed.light is (Light.RED if kind == "paints" else Light.GREEN)
    assert len(section.drawings) == 3


def test_the_change_of_a_map_is_drawn_by_shell(generator: torch.Generator) -> None:
    before = torch.randn(BOX, BOX, BOX, generator=generator)
    change = shell_change(before, 0.5 * before)
    root = ElementTree.fromstring(change_plot(change, VOXEL, {"trailing": 6}))
    lines = [e for e in root.iter() if e.tag.endswith("polyline")]
    amplitude, fsc, phase = (
        [float(point.split(",")[1]) for point in line.get("points", "").split()] for line in lines
    )
    # Both are flat: amplitudes at one half, phases at one.
    assert max(amplitude) - min(amplitude) < 0.2
    assert max(fsc) - min(fsc) < 0.2
    assert max(fsc) < min(amplitude) < min(phase)
    assert "trailing" in "".join(root.itertext())
