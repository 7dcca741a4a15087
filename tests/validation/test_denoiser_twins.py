"""Twins through a denoiser: the same judgment as the command line's, step by step."""

import pytest
import torch
from torch import nn

from napari_blush.cli import validate_denoiser
from napari_blush.cli.report import Report
from napari_blush.cli.validate_files import HalfMapFiles
from napari_blush.data_model.validation_settings import DenoiserCheckSettings
from napari_blush.denoiser.denoiser import Denoiser
from napari_blush.denoiser.network import BlockPrediction, BlushUNet
from napari_blush.denoiser.weights_record import WeightsRecord
from napari_blush.io.mrc import MapFile
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.masks import soft_sphere
from napari_blush.validation.denoiser_twins import DenoiserTwins, denoiser_twins_steps
from napari_blush.validation.lights import Light

BOX, VOXEL = 40, 3.0


@pytest.fixture
def halves(generator) -> tuple[torch.Tensor, torch.Tensor]:
    signal = low_pass(torch.randn(BOX, BOX, BOX, generator=generator), VOXEL, 10.0)
    signal = signal / signal.std() * soft_sphere(BOX, 12.0, 3.0)
    first, second = (signal + torch.randn(BOX, BOX, BOX, generator=generator) for _ in (1, 2))
    return first, second


def judged(halves, mask, denoiser) -> tuple[list[float], DenoiserTwins]:
    steps = denoiser_twins_steps(halves, VOXEL, mask, denoiser, randomize_at=20.0)
    shares = []
    while True:
        try:
            step = next(steps)
        except StopIteration as finished:
            return shares, finished.value
        shares.append(step.done / step.total)


def test_it_is_the_judgment_of_the_command_line(halves) -> None:
    torch.manual_seed(1)
    record = WeightsRecord("x", "1", "", 3.0, 16, 2, 2)
    denoiser = Denoiser(BlushUNet(2, 2).eval(), record)
    mask = soft_sphere(BOX, 13.0, 4.0)
    shares, found = judged(halves, mask, denoiser)
    files = HalfMapFiles(MapFile(halves[0], VOXEL), MapFile(halves[1], VOXEL), mask, True)
    settings = DenoiserCheckSettings(randomize_at=20.0)
    section = validate_denoiser.tested(files, denoiser, settings, Report())
    assert section.checks[0] == found.verdict.check
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1


class Painter(nn.Module):
    """A network that paints the same stripes into every block."""

    def forward(self, density: torch.Tensor, local_std: torch.Tensor) -> BlockPrediction:
        stripes = torch.sin(torch.arange(16.0) * 2 * torch.pi / 4).expand_as(density)
        return BlockPrediction(density + 3 * stripes, torch.zeros_like(density))


def test_a_denoiser_that_paints_is_told(halves) -> None:
    class Net:
        network, voxel_size, block_size = Painter(), VOXEL, 16

    _, found = judged(halves, soft_sphere(BOX, 13.0, 4.0), Net())
    assert found.verdict.check.light is Light.RED
