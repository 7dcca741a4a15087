"""Denoising whole maps: what networks of known effect make of them, and what must not matter."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from napari_blush.denoiser import inference, working_memory
from napari_blush.denoiser.denoise_options import Mode
from napari_blush.denoiser.inference import (
    DenoisedVolume,
    DenoiseOptions,
    DenoiseProgress,
    denoise_steps,
    denoise_volume,
)
from napari_blush.denoiser.network import BlockPrediction, BlushUNet
from napari_blush.denoiser.working_grid import working_grid
from napari_blush.errors import SettingsError
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.masks import soft_sphere


class Identity(nn.Module):
    """A network that finds no noise, and a particle everywhere."""

    def forward(self, density: torch.Tensor, local_std: torch.Tensor) -> BlockPrediction:
        return BlockPrediction(density.clone(), torch.full_like(density, 20.0))


class Smoothing(nn.Module):
    """A network that blurs over three voxels and counts the batches that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, density: torch.Tensor, local_std: torch.Tensor) -> BlockPrediction:
        self.batches.append(len(density))
        padded = functional.pad(density[:, None], (1,) * 6, mode="replicate")
        return BlockPrediction(functional.avg_pool3d(padded, 3, 1)[:, 0], local_std - 1)


@dataclass(frozen=True)
class Net:
    network: nn.Module
    voxel_size: float = 3.0
    block_size: int = 16


def particle(box: int, voxel: float, diameter: float, finest: float) -> torch.Tensor:
    """Return a band-limited random density in a sphere, nothing outside."""
    generator = torch.Generator().manual_seed(box)
    noise = low_pass(torch.randn(box, box, box, generator=generator), voxel, finest)
    radius = diameter / 2 / voxel
    inside = noise / noise.std() * soft_sphere(box, 0.7 * radius, 0.3 * radius)
    return low_pass(inside, voxel, finest)


def random_network(seed: int = 1) -> BlushUNet:
    torch.manual_seed(seed)
    return BlushUNet(2, 2).eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("box", "voxel", "net_voxel", "block"),
    [
        (56, 1.5, 1.5, 64),  # 84 A: nothing is left of it by the published recipe
        (84, 1.0, 1.5, 32),
        (64, 3.0, 3.0, 32),
        (65, 2.0, 3.0, 32),
        (32, 8.0, 3.0, 32),
        (48, 0.3, 1.5, 64),
        (32, 4.0, 3.0, 16),
    ],
)
def test_identity_leaves_a_particle_alone_in_a_tight_box(
    box: int, voxel: float, net_voxel: float, block: int
) -> None:
    diameter = 0.9 * box * voxel
    volume = particle(box, voxel, diameter, finest=3 * max(net_voxel, voxel))
    denoiser = Net(Identity(), net_voxel, block)
    found = denoise_volume(volume, voxel, denoiser, DenoiseOptions(particle_diameter=diameter))
    inside = soft_sphere(box, diameter / 2 / voxel, 0.0) > 0
    assert found.volume.shape == volume.shape
    assert float((found.volume - volume)[inside].abs().max()) < 0.03 * float(volume[inside].std())
    assert float(found.network_mask[inside].min()) > 0.95


def test_release_does_not_empty_small_boxes() -> None:
    volume = particle(56, 1.5, 30.0, finest=6.0)
    options = DenoiseOptions("release", particle_diameter=30.0)
    found = denoise_volume(volume, 1.5, Net(Identity(), 1.5, 64), options)
    core = soft_sphere(56, 3.0, 0.0) > 0  # the rest is faded, as published
    assert float(found.volume[core].std()) > 0.3 * float(volume[core].std())


def test_a_given_mask_is_kept_whole_and_the_rest_emptied() -> None:
    volume = particle(48, 3.0, 130.0, finest=9.0)
    mask = torch.zeros(48, 48, 48)
    mask[10:20, 12:30, 14:24] = 1
    found = denoise_volume(volume, 3.0, Net(Identity()), DenoiseOptions(mask=mask)).volume
    torch.testing.assert_close(found[mask > 0], volume[mask > 0], atol=1e-4, rtol=0)
    assert float(found[30:].std()) < 1e-3 * float(volume.std())


@pytest.mark.parametrize("mode", ["default", "release"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_batch_size_does_not_matter(mode: Mode, precision: str) -> None:
    volume = torch.randn(40, 40, 40, generator=torch.Generator().manual_seed(2))
    results = []
    for batch in (1, 3, 8):
        options = DenoiseOptions(mode, batch_size=batch, precision=precision)  # type: ignore[arg-type]
        results.append(denoise_volume(volume, 3.0, Net(random_network()), options))
    for other in results[1:]:
        torch.testing.assert_close(other.volume, results[0].volume, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            other.network_mask, results[0].network_mask, atol=1e-5, rtol=1e-5
        )
    assert results[0].volume.std() > 0.01


@settings(max_examples=8, deadline=None)
@given(scale=st.floats(1e-3, 1e3), offset=st.floats(-100, 100), box=st.sampled_from([32, 33]))
def test_follows_scale_and_offset(scale: float, offset: float, box: int) -> None:
    volume = torch.randn(box, box, box, generator=torch.Generator().manual_seed(3)) * scale
    denoiser, options = Net(random_network()), DenoiseOptions(precision="float32")
    plain = denoise_volume(volume, 2.5, denoiser, options).volume
    moved = denoise_volume(volume + offset * scale, 2.5, denoiser, options).volume
    once = denoise_volume(volume / scale, 2.5, denoiser, options).volume
    torch.testing.assert_close(plain, scale * once, atol=1e-4 * scale, rtol=1e-3)
    near = 1e-4 * scale * max(1, abs(offset))
    torch.testing.assert_close(moved - offset * scale, plain, atol=near, rtol=1e-3)


def test_recycling_does_what_the_network_does_and_no_more() -> None:
    volume = particle(48, 3.0, 110.0, finest=18.0)
    options = DenoiseOptions(particle_diameter=110.0)
    identity, smooth, blurred = volume, volume, volume[None, None]
    for _ in range(5):
        identity = denoise_volume(identity, 3.0, Net(Identity()), options).volume
        smooth = denoise_volume(smooth, 3.0, Net(Smoothing()), options).volume
        blurred = functional.avg_pool3d(blurred, 3, 1, padding=1)
    assert float(identity.square().sum()) == pytest.approx(float(volume.square().sum()), rel=0.01)
    assert float(smooth.square().sum()) == pytest.approx(float(blurred.square().sum()), rel=0.02)


def test_masked_out_blocks_are_not_run_and_change_nothing() -> None:
    volume = torch.randn(64, 64, 64, generator=torch.Generator().manual_seed(4))
    options = DenoiseOptions(particle_diameter=60.0, batch_size=1)
    network = Smoothing()
    found = denoise_volume(volume, 3.0, Net(network), options).volume
    # The sphere is 100 A wide with its edge: 34 voxels, of the 64 of the box.
    everywhere = next(denoise_steps(volume, 3.0, Net(network))).total
    assert len(network.batches) < 0.2 * everywhere
    blurred = functional.avg_pool3d(volume[None, None], 3, 1, padding=1)[0, 0]
    inside = soft_sphere(64, 8.0, 0.0) > 0
    # The rim of a block, which the network sees from one side only, has next to no weight.
    error = (found - blurred)[inside].std()
    assert float(error) < 0.005 * float(blurred[inside].std())


def test_steps_tell_the_blocks_and_stop_when_closed() -> None:
    network = Smoothing()
    options = DenoiseOptions(batch_size=2)
    steps = denoise_steps(torch.randn(40, 40, 40), 3.0, Net(network), options)
    first = next(steps)
    assert first == DenoiseProgress(0, first.total)
    assert first.total > 8
    assert network.batches == []
    assert next(steps) == DenoiseProgress(2, first.total)
    steps.close()
    assert network.batches == [2]
    said = [*denoise_steps(torch.randn(40, 40, 40), 3.0, Net(network), options)]
    assert said[-1] == DenoiseProgress(first.total, first.total)


class Greedy(Smoothing):
    """A network that has memory for two blocks."""

    def forward(self, density: torch.Tensor, local_std: torch.Tensor) -> BlockPrediction:
        if len(density) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")
        return super().forward(density, local_std)


def test_smaller_batches_where_memory_runs_out() -> None:
    volume = torch.randn(32, 32, 32, generator=torch.Generator().manual_seed(5))
    greedy = Greedy()
    found = denoise_volume(volume, 3.0, Net(greedy), DenoiseOptions(batch_size=8))
    expected = denoise_volume(volume, 3.0, Net(Smoothing()), DenoiseOptions(batch_size=8))
    torch.testing.assert_close(found.volume, expected.volume)
    assert max(greedy.batches) == 2
    assert found.messages == (
        "Memory ran out: batches of 4 blocks from there on.",
        "Memory ran out: batches of 2 blocks from there on.",
    )


def test_a_limit_makes_batches_smaller_and_says_so() -> None:
    network = Smoothing()
    denoiser = Net(network)
    limit = working_memory.map_bytes(working_grid(32, 3.0, 3.0), 16)
    limit += 3 * working_memory.block_bytes(denoiser)
    options = DenoiseOptions(batch_size=8, memory_bytes=limit)
    found = denoise_volume(torch.randn(32, 32, 32), 3.0, denoiser, options)
    assert max(network.batches) == 3
    assert len(found.messages) == 1
    assert "batches of 3 blocks instead of 8" in found.messages[0]


def test_a_map_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working_memory, "free_bytes", lambda device: 10**6)
    with pytest.raises(SettingsError, match=r"32 voxels of 3 A .* GB are free; wanted a smaller"):
        denoise_volume(torch.randn(32, 32, 32), 3.0, Net(Identity()))


class Broken(nn.Module):
    def forward(self, density: torch.Tensor, local_std: torch.Tensor) -> BlockPrediction:
        raise RuntimeError("shapes do not fit")


def test_other_errors_are_not_taken_for_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        denoise_volume(torch.randn(32, 32, 32), 3.0, Net(Broken()), DenoiseOptions(batch_size=4))


@pytest.mark.parametrize(
    ("volume", "voxel", "options", "said"),
    [
        (torch.full((32, 32, 32), torch.nan), 3.0, {}, "not finite"),
        (torch.zeros(32, 32, 32), 0.0, {}, "voxel size of 0.0 A"),
        (torch.zeros(32, 32, 32), 3.0, {"mask": torch.zeros(16, 16, 16)}, "A mask of 16 voxels"),
        (torch.zeros(32, 32, 32), 3.0, {"stride": 13}, "A stride of 13"),
    ],
)
def test_refuses_in_a_sentence(
    volume: torch.Tensor, voxel: float, options: dict[str, torch.Tensor], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        denoise_volume(volume, voxel, Net(Identity()), DenoiseOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["stride", "batch_size", "particle_diameter", "memory_bytes"])
def test_options_are_positive(name: str) -> None:
    with pytest.raises(SettingsError, match="more than zero"):
        DenoiseOptions(**{name: 0})


def test_an_empty_map_stays_empty() -> None:
    found = denoise_volume(torch.zeros(32, 32, 32), 3.0, Net(random_network()))
    assert isinstance(found, DenoisedVolume)
    assert found.volume.abs().max() < 1e-6


@given(
    box=st.integers(32, 1024),
    voxel=st.floats(0.3, 8.0),
    target=st.sampled_from([1.5, 3.0]),
)
def test_no_other_even_grid_is_nearer(box: int, voxel: float, target: float) -> None:
    grid = working_grid(box, voxel, target)
    length = box * voxel
    assert grid.size % 2 == 0
    assert grid.working_voxel_size * grid.size == pytest.approx(length)
    here = abs(grid.working_voxel_size - target)
    for other in (grid.size - 2, grid.size + 2):
        if other > 0:
            assert here <= abs(length / other - target) + 1e-9
    assert grid.nyquist_shell == grid.size / 2


@pytest.mark.parametrize(("box", "voxel"), [(33, 2.0), (32, 2.0), (31, 4.1), (30, 4.1)])
def test_grids_agree_on_what_both_hold(box: int, voxel: float) -> None:
    finest = 2.6 * max(3.0, voxel)
    volume = low_pass(
        torch.randn(box, box, box, generator=torch.Generator().manual_seed(6)), voxel, finest
    )
    grid = working_grid(box, voxel, 3.0)
    working = grid.to_working(volume)
    torch.testing.assert_close(grid.to_map(working), volume, atol=1e-5, rtol=0)
    center = (box // 2,) * 3
    assert float(working[(grid.size // 2,) * 3]) == pytest.approx(float(volume[center]), abs=1e-5)


def test_nothing_is_finer_than_the_grid() -> None:
    volume = torch.randn(48, 48, 48, generator=torch.Generator().manual_seed(7))
    found = denoise_volume(volume, 1.5, Net(Identity()))
    spectrum = torch.fft.fftshift(torch.fft.fftn(found.volume)).abs()
    k = (torch.arange(48) - 24).abs()
    beyond = torch.maximum(torch.maximum(k[:, None, None], k[:, None]), k) > found.nyquist_shell
    assert found.nyquist_shell == 12
    assert spectrum[beyond].max() < 1e-4 * spectrum.max()


def test_drains_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    assert inference.DenoiseOptions is DenoiseOptions
    volume = torch.randn(32, 32, 32)
    steps = denoise_steps(volume, 3.0, Net(Identity()))
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            torch.testing.assert_close(
                finished.value.volume, denoise_volume(volume, 3.0, Net(Identity())).volume
            )
            break
