"""Where blocks lie and how they come together again."""

from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_blush.denoiser.patches import (
    Blend,
    body_centered_origins,
    cut_blocks,
    even_starts,
    grid_origins,
    squared_cosine_window,
)
from napari_blush.denoiser.release_recipe import LEAST_WEIGHT, release_starts, release_window


@given(
    begin=st.integers(0, 50),
    length=st.integers(1, 300),
    block=st.sampled_from([16, 32, 64]),
    stride_16ths=st.integers(1, 16),
)
def test_blocks_cover_and_neighbours_are_near(
    begin: int, length: int, block: int, stride_16ths: int
) -> None:
    stride = block * stride_16ths // 16
    starts = even_starts(begin, begin + length, block, stride)
    assert starts[0] <= begin
    assert starts[-1] + block >= begin + length
    steps = [after - before for before, after in pairwise(starts)]
    assert all(0 < step <= stride for step in steps)
    # What sticks out at either end is the same, but for rounding.
    assert abs((begin - starts[0]) - (starts[-1] + block - begin - length)) <= 1


def test_a_body_centered_lattice_is_a_grid_and_the_middles_of_its_cells() -> None:
    starts = [[-3, 5, 13], [0, 10], [7]]
    origins = body_centered_origins(starts)
    corners = {tuple(one) for one in grid_origins(starts).tolist()}
    assert corners == set(product(*starts))
    middles = {tuple(one) for one in origins.tolist()} - corners
    assert middles == {(1, 5, 7), (9, 5, 7)}
    assert len(origins) == len(corners) + len(middles)


def test_a_body_centered_lattice_leaves_nothing_far_from_every_block() -> None:
    # 35 blocks beside the 64 of a grid over the same box.
    axis = even_starts(0, 64, 32, 16)
    middle = body_centered_origins([axis] * 3).float() + 16
    grid = even_starts(0, 64, 32, 11)
    places = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) * 32 + 16
    farthest = torch.cdist(places, middle).amin(dim=1).max()
    of_grid = torch.cdist(places, grid_origins([grid] * 3).float() + 16).amin(dim=1).max()
    assert (len(middle), len(grid) ** 3) == (35, 64)
    assert float(farthest) < 1.02 * float(of_grid)


@given(
    span=st.integers(64, 400),
    stride=st.integers(1, 46),
)
def test_release_covers_to_the_end(span: int, stride: int) -> None:
    starts = release_starts(span, 64, stride)
    assert starts[0] == 0
    assert starts[-1] == span - 64
    assert starts == sorted(set(starts))
    assert max((b - a for a, b in pairwise(starts)), default=0) <= stride


@pytest.mark.parametrize("block", [16, 32])
def test_windows_half_a_block_apart_sum_to_one(block: int) -> None:
    window = squared_cosine_window(block)
    line = torch.zeros(3 * block)
    axis = window[block // 2, block // 2] / window.max() ** (2 / 3)
    for start in range(0, 2 * block + 1, block // 2):
        line[start : start + block] += axis
    inside = slice(block // 2, -block // 2)
    torch.testing.assert_close(line[inside], torch.ones_like(line[inside]))
    assert window.min() > 0
    torch.testing.assert_close(window, window.permute(2, 0, 1))
    torch.testing.assert_close(window, window.flip(1))


def test_release_window_is_the_published_one() -> None:
    window = release_window(64, 10)
    assert window[8].max() == window[:, 9].max() == pytest.approx(1e-6)
    assert float(window[31, 32, 31]) == pytest.approx(
        float(torch.cos(torch.tensor(torch.pi / 2 * 0.5 / 22.5))), abs=1e-6
    )
    assert float(window[20, 30, 30]) == pytest.approx(
        float(torch.cos(torch.tensor(torch.pi / 2 * 11.5 / 22.5))), abs=1e-6
    )


@settings(max_examples=10, deadline=None)
@given(
    size=st.integers(16, 40),
    stride=st.integers(5, 12),
    batch=st.integers(1, 7),
    data=st.data(),
)
def test_what_is_cut_comes_together(
    size: int, stride: int, batch: int, data: st.DataObject
) -> None:
    seed = data.draw(st.integers(0, 1000))
    volume = torch.randn(size, size, size, generator=torch.Generator().manual_seed(seed))
    axis = torch.tensor(release_starts(size, 16, stride))
    origins = torch.cartesian_prod(axis, axis, axis)
    blend = Blend(size, squared_cosine_window(16), 2)
    for some in origins.split(batch):
        blocks = cut_blocks(volume, some, 16)
        blend.add(some, blocks, 2 * blocks)
    once, twice = blend.mean(1e-20)
    torch.testing.assert_close(once, volume, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(twice, 2 * once)


def test_what_no_block_covers_is_zero() -> None:
    blend = Blend(24, torch.ones(16, 16, 16), 1)
    blend.add(torch.tensor([[8, 8, 8]]), torch.ones(1, 16, 16, 16))
    (mean,) = blend.mean(0.1)
    assert float(mean.sum()) == 16**3
    assert mean[:8].abs().max() == 0


def test_release_leaves_no_holes_at_the_largest_stride() -> None:
    block, stride = 32, 20
    axis = torch.tensor(release_starts(72, block, stride))
    blend = Blend(72, release_window(block, 5), 1)
    for origin in torch.cartesian_prod(axis, axis, axis):
        blend.add(origin[None], torch.ones(1, block, block, block))
    (mean,) = blend.mean(LEAST_WEIGHT)
    assert mean[5:-5, 5:-5, 5:-5].min() == pytest.approx(1)
