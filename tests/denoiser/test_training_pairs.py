"""Pairs to train on: checks as sentences, standardization, and equation 2 before the filter."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_blush.denoiser.training.pairs import PairInfo, prepare_pair, read_pairs
from napari_blush.errors import TrainingError
from napari_blush.numerics.masks import soft_sphere

INFO = PairInfo("first", 3.0, "c", "train")
N = 24


def maps(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    signal = soft_sphere(N, 5, 3)
    first, second = (signal + 0.3 * torch.randn(N, N, N, generator=generator) for _ in range(2))
    return 3 * first + 5, 0.2 * second - 1, soft_sphere(N, 6, 3)


def test_halves_have_unit_deviation_in_the_mask_and_solvent_at_zero(
    generator: torch.Generator,
) -> None:
    half1, half2, mask = maps(generator)
    pair = prepare_pair(INFO, half1, half2, mask)
    for half in pair.halves.float():
        assert float(half[mask > 0.5].std()) == pytest.approx(1, abs=1e-3)
        solvent = float((half * (1 - mask)).sum() / (1 - mask).sum())
        assert solvent == pytest.approx(0, abs=1e-3)


def test_scale_and_offset_of_a_half_do_not_matter(generator: torch.Generator) -> None:
    half1, half2, mask = maps(generator)
    pair = prepare_pair(INFO, half1, half2, mask)
    other = prepare_pair(INFO, 7 * half1 - 4, half2, mask)
    assert torch.allclose(pair.halves.float(), other.halves.float(), atol=5e-3)


def test_targets_are_the_map_inside_and_its_low_pass_outside(generator: torch.Generator) -> None:
    half1, half2, mask = maps(generator)
    pair = prepare_pair(INFO, half1, half2, mask)
    k = np.fft.fftfreq(N, 3.0)
    radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)
    # A cosine edge, two Fourier voxels wide, with one half at 15 A.
    t = np.clip((radius * N * 3.0 - N * 3.0 / 15.0) / 2 + 0.5, 0, 1)
    transfer = 0.5 + 0.5 * np.cos(np.pi * t)
    for half, target in zip(pair.halves.double(), pair.targets.double(), strict=True):
        smooth = np.fft.ifftn(np.fft.fftn(half.numpy()) * transfer).real
        m = mask.double().numpy()
        expected = half.numpy() * m + smooth * (1 - m)
        assert np.abs(target.numpy() - expected).max() < 0.01


def test_places_are_the_voxels_of_the_mask(generator: torch.Generator) -> None:
    half1, half2, mask = maps(generator)
    pair = prepare_pair(INFO, half1, half2, mask)
    z, y, x = pair.inside.unbind(1)
    assert bool((mask[z, y, x] > 0.5).all())
    assert len(pair.inside) == int((mask > 0.5).sum())
    assert 6 <= pair.reach <= 8


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda a, b, m: (a[:20, :20, :20], b, m), "20 x 20 x 20 and 24 x 24 x 24"),
        (lambda a, b, m: (a, b, m[:20, :20, :20]), "mask of 20 x 20 x 20"),
        (lambda a, b, m: (a[:, :, :20], b[:, :, :20], m[:, :, :20]), "not even cubes"),
        (lambda a, b, m: (a, a.clone(), m), "identical"),
        (lambda a, b, m: (a / 0, b, m), "not finite"),
        (lambda a, b, m: (a, b, 0 * m), "mask of fewer"),
        (lambda a, b, m: (0 * a + 1, b, m), "constant"),
    ],
)
def test_what_cannot_be_trained_on_is_named(
    spoil: object, words: str, generator: torch.Generator
) -> None:
    assert callable(spoil)
    with pytest.raises(TrainingError, match="Entry first") as caught:
        prepare_pair(INFO, *spoil(*maps(generator)))
    assert words in str(caught.value)


class _Source:
    def __init__(self, entries: Sequence[PairInfo], given: tuple[Tensor, Tensor, Tensor]) -> None:
        self.entries, self._given = entries, given

    def read(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        return self._given


def test_only_the_split_is_read(generator: torch.Generator) -> None:
    entries = [INFO, PairInfo("second", 3.0, "d", "validation"), PairInfo("x", 3.0, "e", "test")]
    found = [pair.info.name for pair in read_pairs(_Source(entries, maps(generator)), "train")]
    assert found == ["first"]


def test_voxel_sizes_must_agree(generator: torch.Generator) -> None:
    entries = [INFO, PairInfo("second", 2.0, "d", "train")]
    with pytest.raises(TrainingError, match="second has a voxel size of 2 A"):
        list(read_pairs(_Source(entries, maps(generator)), "train"))
