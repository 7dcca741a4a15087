"""Where blocks lie and how they come together again."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_blush.denoiser.patches import Blend, cut_blocks, even_starts, squared_cosine_window
from napari_blush.denoiser.release_recipe import LEAST_WEIGHT, release_starts, release_window


@given(
    begin=st.integers(0, 50),
    length=st.integers(1, 300),
    block=st.sampled_from([16, 32, 64]),
    stride_16ths=st.integers(1, 12),
    margin=st.integers(0, 2),
)
def test_cores_cover_and_neighbours_overlap(
    begin: int, length: int, block: int, stride_16ths: int, margin: int
) -> None:
    stride = max(1, block * stride_16ths // 16 - 2 * margin)
    starts = even_starts(begin, begin + length, block, stride, margin)
    cores = [(start + margin, start + block - margin) for start in starts]
    assert cores[0][0] <= begin
    assert cores[-1][1] >= begin + length
    steps = [after - before for before, after in pairwise(starts)]
    assert all(0 < step <= stride for step in steps)
    # What sticks out at either end is the same, but for rounding.
    assert abs((begin - cores[0][0]) - (cores[-1][1] - begin - length)) <= 1


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


@pytest.mark.parametrize(("block", "margin", "ramp"), [(16, 2, 6), (16, 0, 8), (32, 4, 5)])
def test_windows_that_overlap_by_a_ramp_sum_to_one(block: int, margin: int, ramp: int) -> None:
    window = squared_cosine_window(block, margin, ramp)
    step = block - 2 * margin - ramp
    line = torch.zeros(block + 3 * step)
    axis = window[block // 2, block // 2] / window.max() ** (2 / 3)
    for start in range(0, 4 * step, step):
        line[start : start + block] += axis
    inside = slice(margin + ramp, -(margin + ramp))
    torch.testing.assert_close(line[inside], torch.ones_like(line[inside]))
    assert window.min() >= 0
    assert margin == 0 or window[margin - 1].max() == 0
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
    blend = Blend(size, squared_cosine_window(16, 0, 8), 2)
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
