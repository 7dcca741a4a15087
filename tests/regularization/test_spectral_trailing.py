"""The cut-off and its filter, against loops over shells and voxels that can be read at a glance."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_blush.regularization.spectral_trailing import (
    LEAST_AGREEMENT,
    SpectralLimit,
    Trailing,
    cutoff_shell,
    has_agreement,
    limited,
    nyquist_limit,
    spectral_limit,
)

CURVES = st.lists(st.floats(-1, 1, width=32), min_size=12, max_size=40).map(
    lambda values: torch.tensor([1.0, *values[1:]])
)


def first_below(fsc: torch.Tensor) -> int:
    """The first shell below 0.143, or the number of shells."""
    for shell in range(1, len(fsc)):
        if float(fsc[shell]) < 0.143:
            return shell
    return len(fsc)


def filter_by_voxel(n: int, cutoff: int) -> np.ndarray:
    """1 before ``cutoff - 1``, a cosine to ``cutoff + 1``, then 0; over the full transform."""
    gain = np.zeros((n, n, n))
    frequency = np.fft.fftfreq(n, 1 / n)
    for i, kz in enumerate(frequency):
        for j, ky in enumerate(frequency):
            for k, kx in enumerate(frequency):
                r = math.sqrt(kx * kx + ky * ky + kz * kz)
                if r < cutoff - 1:
                    gain[i, j, k] = 1
                elif r <= cutoff + 1:
                    gain[i, j, k] = 0.5 + 0.5 * math.cos(math.pi * (r - cutoff + 1) / 2)
    return gain


def falling_at(shell: int, n_shells: int = 17) -> torch.Tensor:
    """A curve that is below the threshold from ``shell`` on."""
    return (torch.arange(n_shells) < shell).float()


@given(fsc=CURVES)
def test_the_cutoff_is_two_short_of_the_first_shell_that_disagrees(fsc: torch.Tensor) -> None:
    first = max(first_below(fsc), LEAST_AGREEMENT + 1)
    assert cutoff_shell(fsc) == first - 2


@given(fsc=CURVES, shared=st.integers(-1, 8))
def test_shells_that_the_halves_share_agree(fsc: torch.Tensor, shared: int) -> None:
    assert cutoff_shell(fsc, shared) == max(cutoff_shell(fsc), shared - 1)
    assert has_agreement(fsc, shared) == (first_below(fsc) - 1 > max(shared, LEAST_AGREEMENT))


def test_a_curve_that_never_falls_ends_two_shells_before_its_end() -> None:
    assert cutoff_shell(torch.ones(17)) == 15


def test_a_curve_that_rises_again_counts_for_nothing() -> None:
    fsc = falling_at(9)
    fsc[12:] = 0.9
    assert cutoff_shell(fsc) == 7


@pytest.mark.parametrize(("value", "cutoff"), [(0.1429, 7), (0.1431, 8)])
def test_the_threshold_is_that_of_the_paper(value: float, cutoff: int) -> None:
    """0.143, where the release takes 1 / 7 = 0.142857: a shell at 0.1429 disagrees here."""
    fsc = falling_at(10)
    fsc[9] = value
    assert cutoff_shell(fsc) == cutoff


def test_holes_in_a_curve_are_no_agreement() -> None:
    fsc = torch.ones(17)
    fsc[8] = float("nan")
    assert cutoff_shell(fsc) == 6


@given(fsc=CURVES, covered=st.integers(8, 16))
def test_nothing_passes_beyond_what_was_compared(fsc: torch.Tensor, covered: int) -> None:
    fsc = fsc.clone()
    fsc[covered + 1 :] = 0
    if covered < len(fsc) - 1:
        assert cutoff_shell(fsc) + 1 <= covered


@pytest.mark.parametrize("cutoff", [1, 4, 7])
def test_the_filter_voxel_by_voxel(cutoff: int, generator) -> None:
    n = 12
    denoised = torch.randn(n, n, n, generator=generator, dtype=torch.float64)
    wiener = torch.randn(n, n, n, generator=generator, dtype=torch.float64)
    gain = filter_by_voxel(n, cutoff)
    low = np.fft.fftn(denoised.numpy()) * gain
    alone = limited(denoised, wiener, SpectralLimit(cutoff))
    assert np.allclose(alone, np.fft.ifftn(low).real, atol=1e-6)
    high = np.fft.fftn(wiener.numpy()) * (1 - gain)
    filled = limited(denoised, wiener, SpectralLimit(cutoff, is_filled=True))
    assert np.allclose(filled, np.fft.ifftn(low + high).real, atol=1e-6)


def test_two_equal_maps_cross_over_without_a_seam(generator) -> None:
    volume = torch.randn(12, 12, 12, generator=generator, dtype=torch.float64)
    assert torch.allclose(limited(volume, volume, SpectralLimit(4, is_filled=True)), volume)


def test_without_a_limit_the_map_stays() -> None:
    volume = torch.randn(8, 8, 8)
    assert limited(volume, volume, SpectralLimit(None)) is volume


@pytest.mark.parametrize(
    ("first", "nyquist", "trailing", "expected"),
    [
        (10, 16.0, True, SpectralLimit(8)),
        (10, 40.0, True, SpectralLimit(8)),  # a denoiser finer than the map
        (10, 10.0, True, SpectralLimit(8)),  # exactly two shells before its Nyquist frequency
        (11, 10.0, True, SpectralLimit(8, is_filled=True)),
        (17, 10.6, True, SpectralLimit(8, is_filled=True)),
        (10, 16.0, False, SpectralLimit(None)),
        (11, 10.0, False, SpectralLimit(8, is_filled=True)),
        (17, 60.0, False, SpectralLimit(None)),
        (2, 16.0, True, SpectralLimit(4)),  # no signal: as much as the halves share
    ],
)
def test_limits(first: int, nyquist: float, trailing: bool, expected: SpectralLimit) -> None:
    assert spectral_limit(falling_at(first), nyquist, 4, trailing=trailing) == expected


def test_a_class_crosses_over_one_shell_before_the_nyquist_frequency() -> None:
    assert nyquist_limit(10.0) == SpectralLimit(9, is_filled=True)
    assert nyquist_limit(1.0) == SpectralLimit(1, is_filled=True)


@given(fsc=CURVES, short=st.integers(0, 20), shared=st.integers(-1, 8))
def test_another_distance_from_where_the_halves_agree(
    fsc: torch.Tensor, short: int, shared: int
) -> None:
    first = max(first_below(fsc), shared + 1, LEAST_AGREEMENT + 1)
    assert cutoff_shell(fsc, shared, short) == min(max(first - short, 4), len(fsc) - 1)


@pytest.mark.parametrize(
    ("first", "nyquist", "trailing", "at_most", "expected"),
    [
        (10, 16.0, True, 6, SpectralLimit(6)),  # lower than the FSC asks for
        (10, 16.0, True, 9, SpectralLimit(8)),  # higher: without effect
        (10, 16.0, False, 9, SpectralLimit(9)),  # higher, and trailing is off
        (17, 10.0, True, 7, SpectralLimit(7)),  # before the denoiser's end nothing is filled in
        (17, 10.0, True, 8, SpectralLimit(8, is_filled=True)),
        (17, 10.0, True, 12, SpectralLimit(8, is_filled=True)),
        (17, 10.0, False, 7, SpectralLimit(7)),
    ],
)
def test_a_limit_that_a_person_set(first, nyquist, trailing, at_most, expected) -> None:
    limit = spectral_limit(falling_at(first), nyquist, trailing=trailing, at_most=at_most)
    assert limit == expected


@pytest.mark.parametrize(
    ("angstrom", "shell"), [(16.0, 8), (15.9, 8), (16.1, 7), (128 / 11, 11), (500.0, 4)]
)
def test_a_limit_in_angstrom_is_never_passed(angstrom: float, shell: int) -> None:
    """32 voxels of 4 A: shell s lies at 128 / s; four shells are always left."""
    trailing = Trailing(limit_angstrom=angstrom)
    assert trailing.limit_shell(32, 4.0) == shell
    wide = trailing.limit_of(torch.ones(17), 40.0, -1, 4.0)
    assert wide == SpectralLimit(min(shell, 15))
    assert Trailing().limit_shell(32, 4.0) is None
