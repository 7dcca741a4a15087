import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_blush.errors import SettingsError
from napari_blush.numerics.packing import (
    pack,
    packed_coordinates,
    packed_shell_sum,
    shift_phases,
    unpack,
)

boxes = st.integers(2, 20).map(lambda half: 2 * half)


def _pairs(box_size: int, r_max: int) -> set[tuple[int, int]]:
    """All coefficients of the full transform with |k| <= r_max, one per pair, by brute force."""
    kept: set[tuple[int, int]] = set()
    for ky in range(-box_size // 2, box_size // 2):
        for kx in range(-box_size // 2, box_size // 2):
            is_own_mate = kx == -box_size // 2 or ky == -box_size // 2 or (kx, ky) == (0, 0)
            if not is_own_mate and kx**2 + ky**2 <= r_max**2 and (-kx, -ky) not in kept:
                kept.add((kx, ky))
    return kept


@settings(deadline=None, max_examples=25)
@given(boxes, st.data())
def test_holds_one_of_every_pair(box_size: int, data: st.DataObject) -> None:
    r_max = data.draw(st.integers(1, box_size // 2))
    coordinates = packed_coordinates(box_size, r_max)
    packed = list(zip(coordinates.kx.tolist(), coordinates.ky.tolist(), strict=True))
    assert len(set(packed)) == len(packed) == len(coordinates)
    assert all(kx > 0 or (kx == 0 and ky > 0) for kx, ky in packed)
    whole = _pairs(box_size, r_max)
    assert {pair if pair in whole else (-pair[0], -pair[1]) for pair in packed} == whole


@settings(deadline=None, max_examples=25)
@given(boxes, st.data())
def test_every_smaller_radius_is_a_prefix(box_size: int, data: st.DataObject) -> None:
    r_max = data.draw(st.integers(1, box_size // 2))
    r = data.draw(st.integers(0, box_size))
    coordinates = packed_coordinates(box_size, r_max)
    inside = coordinates.kx**2 + coordinates.ky**2 <= min(r, r_max) ** 2
    count = coordinates.count(r)
    assert inside[:count].all() and not inside[count:].any()


def test_neighbours_in_the_row_are_neighbours_in_the_transform() -> None:
    coordinates = packed_coordinates(64, 32)
    step = torch.hypot(
        coordinates.kx.diff().to(torch.float64), coordinates.ky.diff().to(torch.float64)
    )
    starts = torch.tensor([coordinates.count(r) - 1 for r in range(1, 32)])
    along_rings = torch.ones(len(step), dtype=torch.bool).index_fill(0, starts, False)
    assert step[along_rings].max() <= 2.5


def test_shell_is_the_rounded_radius() -> None:
    coordinates = packed_coordinates(32, 16)
    for kx, ky, shell in zip(coordinates.kx, coordinates.ky, coordinates.shell, strict=True):
        assert abs(math.hypot(kx, ky) - shell) <= 0.5


def test_pack_takes_the_coefficient_at_kx_ky() -> None:
    n = 12
    images = torch.randn(3, n, n, generator=torch.Generator().manual_seed(0))
    coordinates = packed_coordinates(n, n // 2)
    packed = pack(torch.fft.rfft2(images), coordinates)
    y, x = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    for position in (0, 7, len(coordinates) - 1):
        kx, ky = coordinates.kx[position], coordinates.ky[position]
        wave = torch.exp(-2j * torch.pi * (kx * x + ky * y) / n)
        torch.testing.assert_close(
            packed[:, position], (images * wave).sum((-2, -1)), atol=1e-4, rtol=1e-4
        )


@settings(deadline=None, max_examples=20)
@given(boxes, st.data())
def test_unpack_undoes_pack_and_transforms_to_a_real_image(
    box_size: int, data: st.DataObject
) -> None:
    r_max = data.draw(st.integers(1, box_size // 2))
    coordinates = packed_coordinates(box_size, r_max)
    count = coordinates.count(data.draw(st.integers(1, r_max)))
    generator = torch.Generator().manual_seed(count)
    packed = torch.randn(2, count, dtype=torch.complex64, generator=generator)
    transform = unpack(packed, coordinates)
    assert torch.equal(pack(transform, coordinates)[:, :count], packed)
    assert pack(transform, coordinates)[:, count:].abs().sum() == 0
    # The round trip through real space loses whatever is not Hermitian.
    again = torch.fft.rfft2(torch.fft.irfft2(transform, s=(box_size, box_size)))
    torch.testing.assert_close(again, transform, atol=1e-5, rtol=1e-5)


@settings(deadline=None, max_examples=20)
@given(boxes, st.integers(1, 25))
def test_shell_sum_is_the_loop_over_coefficients(box_size: int, n_shells: int) -> None:
    coordinates = packed_coordinates(box_size, box_size // 2)
    values = torch.rand(2, 3, len(coordinates), dtype=torch.float64)
    sums = packed_shell_sum(values, coordinates.shell, n_shells)
    expected = torch.zeros(2, 3, n_shells, dtype=torch.float64)
    for position, shell in enumerate(coordinates.shell.tolist()):
        if shell < n_shells:
            expected[..., shell] += values[..., position]
    torch.testing.assert_close(sums, expected)


def test_shell_sum_has_the_energy_of_the_image() -> None:
    n = 24
    image = torch.randn(1, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    transform = torch.fft.rfft2(image)
    coordinates = packed_coordinates(n, n // 2)
    kept = unpack(pack(transform, coordinates), coordinates)
    power = packed_shell_sum(pack(kept, coordinates).abs() ** 2, coordinates.shell, n // 2 + 1)
    energy = torch.fft.irfft2(kept, s=(n, n)).square().sum() * n**2
    torch.testing.assert_close(2 * power.sum(), energy)


def test_shift_phases_roll_an_image() -> None:
    n = 16
    generator = torch.Generator().manual_seed(2)
    coordinates = packed_coordinates(n, n // 2)
    image = torch.randn(1, n, n, generator=generator)
    packed = pack(torch.fft.rfft2(image), coordinates)
    shifts = torch.tensor([[3.0, 0.0], [0.0, -2.0], [5.0, 1.0]])
    phases = shift_phases(shifts, coordinates, len(coordinates))
    for (x, y), phase in zip(shifts.int().tolist(), phases, strict=True):
        rolled = pack(torch.fft.rfft2(image.roll((y, x), (-2, -1))), coordinates)
        torch.testing.assert_close(packed * phase, rolled, atol=2e-5, rtol=1e-5)


def test_shift_phases_of_fractional_shifts_are_the_formula() -> None:
    coordinates = packed_coordinates(64, 20)
    count = coordinates.count(11)
    shifts = torch.tensor([[0.37, -8.21], [-11.5, 4.004]])
    wide = shifts.double()
    waves = wide[:, :1] * coordinates.kx[:count] + wide[:, 1:] * coordinates.ky[:count]
    expected = torch.exp(-2j * torch.pi * waves / 64)
    phases = shift_phases(shifts, coordinates, count)
    assert phases.dtype == torch.complex64
    torch.testing.assert_close(phases.to(torch.complex128), expected, atol=5e-7, rtol=0)


@pytest.mark.parametrize(("box_size", "r_max"), [(15, 4), (2, 1), (16, 0), (16, 9)])
def test_impossible_layouts_are_refused(box_size: int, r_max: int) -> None:
    with pytest.raises(SettingsError, match="wanted"):
        packed_coordinates(box_size, r_max)


def test_images_of_another_box_are_refused() -> None:
    with pytest.raises(SettingsError, match="wanted"):
        pack(torch.zeros(1, 8, 5, dtype=torch.complex64), packed_coordinates(16, 4))


def test_coordinates_are_made_once() -> None:
    assert packed_coordinates(16, 4) is packed_coordinates(16, 4)
    assert packed_coordinates(16, 4).to("cpu") is packed_coordinates(16, 4)
