import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_blush.errors import RefinementError, SettingsError
from napari_blush.numerics.packing import PackedCoordinates, packed_coordinates
from napari_blush.numerics.padded_transform import padded_transform
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import random_rotations
from napari_blush.numerics.slice_backends import slice_kernels
from napari_blush.numerics.slice_extraction import CentralSlices
from napari_blush.numerics.slice_insertion import SliceAccumulator


def _random_slices(
    n: int, coordinates: PackedCoordinates, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    values = torch.randn(n, len(coordinates), dtype=torch.complex64, generator=generator)
    return values, torch.rand(n, len(coordinates), generator=generator)


def _inside(sums: SliceAccumulator) -> Tensor:
    """Voxels no further from the origin than the outermost coefficients."""
    center = sums.shape[0] // 2
    axis = torch.arange(-center, center + 1)
    squared = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis[center:] ** 2
    return squared <= (sums.padding * sums.r_max) ** 2


def _relative(ours: Tensor, reference: Tensor) -> float:
    return float((ours - reference).norm() / reference.norm())


def test_is_the_loop_over_corners_of_the_whole_sphere(generator: torch.Generator) -> None:
    """Insert every coefficient and its mate one by one into a full cube, in float64."""
    box, r_max, padding = 8, 4, 2
    coordinates = packed_coordinates(box, r_max)
    rotations = random_rotations(3, generator)
    values, weights = _random_slices(3, coordinates, generator)
    sums = SliceAccumulator(box, r_max=r_max, padding=padding)
    sums.insert(rotations, values, weights, coordinates)
    sums.enforce_hermitian()

    center = sums.shape[0] // 2
    data = torch.zeros(*[2 * center + 1] * 3, dtype=torch.complex128)
    weight = torch.zeros(*[2 * center + 1] * 3, dtype=torch.float64)
    for pose, k in itertools.product(range(3), range(len(coordinates))):
        frequency = coordinates.frequencies[:, k].double()
        for sign in (1.0, -1.0):
            point = sign * padding * (rotations[pose, :, :2] @ frequency)
            value = values[pose, k] if sign > 0 else values[pose, k].conj()
            first = point.floor()
            for corner in itertools.product((0, 1), repeat=3):
                voxel = first + torch.tensor(corner)
                share = (1 - (point - voxel).abs()).prod()
                x, y, z = (voxel.long() + center).tolist()
                data[z, y, x] += share * value
                weight[z, y, x] += share * weights[pose, k]
    torch.testing.assert_close(
        sums.data.to(torch.complex128), data[:, :, center:], atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(sums.weight.double(), weight[:, :, center:], atol=1e-5, rtol=1e-5)


@settings(deadline=None, max_examples=15)
@given(st.integers(3, 16).map(lambda half: 2 * half), st.integers(1, 3), st.integers(0, 10**6))
def test_is_the_adjoint_of_extraction(box: int, padding: int, seed: int) -> None:
    """``<P v, y> = <v, P* y>`` over whole spheres, the stored half standing for both."""
    generator = torch.Generator().manual_seed(seed)
    coordinates = packed_coordinates(box, box // 2)
    rotations = random_rotations(4, generator)
    values, weights = _random_slices(4, coordinates, generator)
    volume = torch.randn(box, box, box, generator=generator)
    transform = padded_transform(volume, padding=padding, reach=padding * (box // 2) + 1)
    read = torch.empty_like(values)
    slice_kernels("cpu").extract(transform, rotations.float(), coordinates, padding, read)

    sums = SliceAccumulator(box, r_max=box // 2, padding=padding)
    sums.insert(rotations, values, weights, coordinates)
    sums.enforce_hermitian()
    times = torch.full((sums.shape[2],), 2.0, dtype=torch.float64)
    times[0] = 1
    in_slices = 2 * (read.to(torch.complex128).conj() * values).real.sum()
    product = transform.to(torch.complex128).conj() * sums.data
    in_volume = (product.real * times).sum()
    scale = read.abs().double().norm()
    assert abs(in_slices - in_volume) < 1e-5 * scale * values.abs().double().norm()


def test_shares_add_up_to_the_weights(generator: torch.Generator) -> None:
    coordinates = packed_coordinates(20, 10)
    values, weights = _random_slices(7, coordinates, generator)
    sums = SliceAccumulator(20, r_max=10)
    sums.insert(random_rotations(7, generator), values, weights, coordinates)
    torch.testing.assert_close(
        sums.weight.double().sum(), weights.double().sum(), rtol=1e-6, atol=0
    )


def test_the_plane_is_hermitian_only_once_completed(generator: torch.Generator) -> None:
    coordinates = packed_coordinates(16, 8)
    values, weights = _random_slices(5, coordinates, generator)
    sums = SliceAccumulator(16, r_max=8)
    sums.insert(random_rotations(5, generator), values, weights, coordinates)
    before = sums.clone()
    sums.enforce_hermitian()
    plane, weight = sums.data[:, :, 0], sums.weight[:, :, 0]
    assert not torch.equal(before.data[:, :, 0], before.data[:, :, 0].flip(0, 1).conj())
    assert torch.equal(plane, plane.flip(0, 1).conj())
    assert torch.equal(weight, weight.flip(0, 1))
    assert torch.equal(sums.data[:, :, 1:], before.data[:, :, 1:])
    once = plane.clone()
    sums.enforce_hermitian()
    assert torch.equal(sums.data[:, :, 0], once)


@pytest.mark.parametrize("symbol", ["C2", "C4", "D2", "D4", "O"])
def test_symmetrizing_is_inserting_every_mate(symbol: str, generator: torch.Generator) -> None:
    """Exact for operators that carry the grid into itself."""
    box = 14
    operators = symmetry_operators(symbol)
    coordinates = packed_coordinates(box, box // 2)
    rotations = random_rotations(4, generator)
    values, weights = _random_slices(4, coordinates, generator)
    sums = SliceAccumulator(box, r_max=box // 2)
    sums.insert(rotations, values, weights, coordinates)
    sums.enforce_hermitian()
    sums.symmetrize(operators)
    mates = SliceAccumulator(box, r_max=box // 2)
    for operator in operators:
        mates.insert(operator @ rotations, values, weights, coordinates)
    mates.enforce_hermitian()
    inside = _inside(sums)
    assert _relative(sums.data[inside], mates.data[inside]) < 2e-6
    assert _relative(sums.weight[inside], mates.weight[inside]) < 2e-6


@pytest.mark.parametrize("symbol", ["C3", "C5", "T", "I2"])
def test_symmetrizing_is_inserting_every_mate_up_to_interpolation(
    symbol: str, generator: torch.Generator
) -> None:
    """Where the grid is not carried into itself, on slices of a map that is smooth in Fourier."""
    box, r_max = 32, 8
    operators = symmetry_operators(symbol)
    coordinates = packed_coordinates(box, r_max)
    volume = torch.zeros(box, box, box)
    volume[14:18, 15:18, 13:17] = torch.rand(4, 3, 4, generator=generator)
    rotations = random_rotations(3000, generator)
    values = CentralSlices(volume, r_max=r_max, padding=2).extract(rotations, coordinates)
    weights = torch.ones_like(values.real)
    sums = SliceAccumulator(box, r_max=r_max)
    sums.insert(rotations, values, weights, coordinates)
    sums.enforce_hermitian()
    single = sums.clone()
    sums.symmetrize(operators)
    mates = SliceAccumulator(box, r_max=r_max)
    for operator in operators:
        mates.insert(operator @ rotations, values, weights, coordinates)
    mates.enforce_hermitian()
    inside = _inside(sums) & (mates.weight > 0)
    ours = sums.data[inside] / sums.weight[inside]
    reference = mates.data[inside] / mates.weight[inside]
    assert _relative(ours, reference) < 0.05
    assert _relative(single.data[inside] / single.weight[inside], reference) > 0.2
    assert abs(sums.weight.sum() / mates.weight.sum() - 1) < 0.03


def test_no_symmetry_changes_nothing(generator: torch.Generator) -> None:
    coordinates = packed_coordinates(12, 6)
    sums = SliceAccumulator(12, r_max=6)
    sums.insert(
        random_rotations(3, generator), *_random_slices(3, coordinates, generator), coordinates
    )
    sums.enforce_hermitian()
    before = sums.clone()
    sums.symmetrize(symmetry_operators("C1"))
    assert torch.equal(sums.data, before.data)


def test_parts_add_up_to_the_whole(generator: torch.Generator) -> None:
    coordinates = packed_coordinates(16, 8)
    rotations = random_rotations(6, generator)
    values, weights = _random_slices(6, coordinates, generator)
    count = coordinates.count(5)
    whole, part = SliceAccumulator(16, r_max=8), SliceAccumulator(16, r_max=8)
    whole.insert(rotations[:2], values[:2], weights[:2], coordinates)
    part.insert(rotations[2:], values[2:, :count], weights[2:, :count], coordinates)
    snapshot = whole.clone()
    whole.add(part)
    one = SliceAccumulator(16, r_max=8)
    cut_values, cut_weights = values.clone(), weights.clone()
    cut_values[2:, count:], cut_weights[2:, count:] = 0, 0
    one.insert(rotations, cut_values, cut_weights, coordinates)
    torch.testing.assert_close(whole.data, one.data, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(whole.weight, one.weight, atol=1e-5, rtol=1e-5)
    assert not torch.equal(snapshot.data, whole.data)
    assert whole.state["data"] is whole.data and whole.state["weight"] is whole.weight


def test_rotations_of_any_type_are_taken(generator: torch.Generator) -> None:
    coordinates = packed_coordinates(12, 6)
    rotations = random_rotations(3, generator)
    values, weights = _random_slices(3, coordinates, generator)
    sums = [SliceAccumulator(12, r_max=6) for _ in range(3)]
    sums[0].insert(rotations, values, weights, coordinates)
    sums[1].insert(rotations.float(), values, weights, coordinates)
    turned = rotations.mT.contiguous().mT
    sums[2].insert(turned, values.conj().resolve_conj().conj(), weights.mT.clone().mT, coordinates)
    assert torch.equal(sums[0].data, sums[1].data) and torch.equal(sums[0].data, sums[2].data)


def test_no_slice_adds_nothing() -> None:
    coordinates = packed_coordinates(12, 6)
    sums = SliceAccumulator(12, r_max=6)
    empty = torch.zeros(0, len(coordinates))
    sums.insert(torch.zeros(0, 3, 3), empty.to(torch.complex64), empty, coordinates)
    assert sums.weight.abs().sum() == 0


def test_closed_sums_take_no_more(generator: torch.Generator) -> None:
    coordinates = packed_coordinates(12, 6)
    slices = _random_slices(2, coordinates, generator)
    rotations = random_rotations(2, generator)
    sums = SliceAccumulator(12, r_max=6)
    with pytest.raises(RefinementError, match="enforce_hermitian first"):
        sums.symmetrize(symmetry_operators("C2"))
    sums.enforce_hermitian()
    with pytest.raises(RefinementError, match="before enforce_hermitian"):
        sums.insert(rotations, *slices, coordinates)
    with pytest.raises(SettingsError, match="wanted equal ones"):
        sums.add(SliceAccumulator(12, r_max=6))


def test_slices_that_do_not_fit_are_refused(generator: torch.Generator) -> None:
    coordinates = packed_coordinates(12, 6)
    slices = _random_slices(2, coordinates, generator)
    sums = SliceAccumulator(12, r_max=6)
    with pytest.raises(SettingsError, match="as many slices as"):
        sums.insert(random_rotations(3, generator), *slices, coordinates)
    with pytest.raises(SettingsError, match="of one box"):
        SliceAccumulator(16, r_max=6).insert(random_rotations(2, generator), *slices, coordinates)
    with pytest.raises(SettingsError, match="wanted"):
        SliceAccumulator(16, r_max=9)
    with pytest.raises(SettingsError, match="wanted equal ones"):
        sums.add(SliceAccumulator(12, r_max=5))
