"""Amplitudes and phases of denoised maps against raw ones, held to what was done to them."""

import math

import numpy as np
import pytest
import torch

from napari_blush.numerics.fft import irfftn_centered, rfftn_centered
from napari_blush.numerics.filters import apply_spectrum
from napari_blush.plugin.touched import TouchedByDenoiser, touched_steps

N = 24


def compare(raw: list[torch.Tensor], denoised: list[torch.Tensor]) -> TouchedByDenoiser:
    steps = touched_steps(raw, denoised, 1.5, iteration=3, cutoff_shell=7)
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            return finished.value


@pytest.fixture
def halves() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(N, N, N, generator=generator) for _ in range(2)]


def test_an_untouched_map_is_untouched(halves) -> None:
    found = compare(halves, [half.clone() for half in halves])
    assert found.amplitude_ratio == pytest.approx([1.0] * (N // 2 + 1), abs=1e-5)
    assert found.phase_change_deg == pytest.approx([0.0] * (N // 2 + 1), abs=1e-3)
    assert (found.iteration, found.voxel_size, found.cutoff_shell) == (3, 1.5, 7)


def test_shells_that_were_scaled_have_that_amplitude_and_their_phases(halves) -> None:
    gain = torch.linspace(1.2, 0.05, N // 2 + 1)
    found = compare(halves, [apply_spectrum(half, gain) for half in halves])
    assert found.amplitude_ratio == pytest.approx(gain.tolist(), rel=1e-4)
    assert found.phase_change_deg == pytest.approx([0.0] * (N // 2 + 1), abs=0.05)


@pytest.mark.parametrize("angle", [10.0, 60.0, 135.0])
def test_phases_that_were_turned_are_turned_by_so_much(halves, angle) -> None:
    turned = []
    for half in halves:
        transform = rfftn_centered(half)
        # The planes that hold both members of a pair cannot be turned as one: they are emptied.
        transform[..., 0] = transform[..., -1] = 0
        back = irfftn_centered(transform, N)
        phase = complex(math.cos(math.radians(angle)), -math.sin(math.radians(angle)))
        turned.append((back, irfftn_centered(transform * phase, N)))
    found = compare([a for a, _ in turned], [b for _, b in turned])
    assert found.phase_change_deg[1:] == pytest.approx([angle] * (N // 2), abs=0.05)
    assert found.amplitude_ratio[1:] == pytest.approx([1.0] * (N // 2), abs=1e-4)


def test_maps_without_relation_differ_by_a_right_angle(halves) -> None:
    found = compare(halves, halves[::-1])
    assert np.mean(found.phase_change_deg[6:]) == pytest.approx(90, abs=2)


def test_where_the_denoiser_left_nothing_there_is_no_phase(halves) -> None:
    gain = torch.ones(N // 2 + 1)
    gain[9:] = 0
    found = compare(halves, [apply_spectrum(half, gain) for half in halves])
    assert found.amplitude_ratio[9:] == pytest.approx([0.0] * (N // 2 - 8), abs=1e-5)
    assert all(math.isnan(value) for value in found.phase_change_deg[9:])
    assert not any(math.isnan(value) for value in found.phase_change_deg[:9])


def test_both_halves_count(halves) -> None:
    found = compare(halves, [halves[0], 3 * halves[1]])
    assert found.amplitude_ratio[5:] == pytest.approx([math.sqrt(5)] * (N // 2 - 4), rel=0.15)
