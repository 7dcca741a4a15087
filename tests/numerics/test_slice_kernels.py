"""The compiled kernels against the plain ones, and what only the compiled ones must keep."""

import importlib
import threading
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_blush.numerics import slice_backends, slice_kernels_torch
from napari_blush.numerics.packing import packed_coordinates
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import random_rotations
from napari_blush.numerics.slice_extraction import CentralSlices
from napari_blush.numerics.slice_insertion import SliceAccumulator

needs_numba = pytest.mark.skipif(
    slice_backends.slice_backend("cpu") != "numba", reason="numba is not installed"
)


@pytest.fixture
def compiled() -> ModuleType:
    return importlib.import_module("napari_blush.numerics.slice_kernels_numba")


@pytest.fixture
def restored_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _relative(ours: Tensor, reference: Tensor) -> float:
    return float((ours - reference).norm() / reference.norm())


def _slices(n: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    values = torch.randn(n, count, dtype=torch.complex64, generator=generator)
    return values, torch.rand(n, count, generator=generator)


def _closed_sums(box: int, generator: torch.Generator) -> SliceAccumulator:
    coordinates = packed_coordinates(box, box // 2)
    sums = SliceAccumulator(box, r_max=box // 2)
    sums.insert(
        random_rotations(30, generator), *_slices(30, len(coordinates), generator), coordinates
    )
    sums.enforce_hermitian()
    return sums


@needs_numba
@settings(deadline=None, max_examples=15)
@given(
    st.integers(4, 20).map(lambda half: 2 * half),
    st.integers(1, 3),
    st.integers(0, 5),
    st.floats(0.8, 1.3),
    st.data(),
)
def test_backends_agree(
    box: int, padding: int, n_poses: int, stretch: float, data: st.DataObject
) -> None:
    r_max = data.draw(st.integers(1, box // 2))
    generator = torch.Generator().manual_seed(box + 100 * padding)
    compiled = slice_backends.slice_kernels("cpu")
    coordinates = packed_coordinates(box, r_max)
    count = coordinates.count(data.draw(st.integers(1, r_max)))
    rotations = random_rotations(n_poses, generator).float()
    rotations = rotations * torch.tensor([1.0, stretch, 1.0])
    volume = torch.randn(box, box, box, generator=generator)
    transform = CentralSlices(volume, r_max=r_max, padding=padding).transform

    read = [torch.empty(n_poses, count, dtype=torch.complex64) for _ in range(2)]
    compiled.extract(transform, rotations, coordinates, padding, read[0])
    slice_kernels_torch.extract(transform, rotations, coordinates, padding, read[1])
    torch.testing.assert_close(read[0], read[1], atol=2e-5 * float(transform.abs().max()), rtol=0)

    values, weights = _slices(n_poses, count, generator)
    sums = [(torch.zeros_like(transform), torch.zeros_like(transform.real)) for _ in range(2)]
    compiled.insert(sums[0], rotations, coordinates, padding, values, weights)
    slice_kernels_torch.insert(sums[1], rotations, coordinates, padding, values, weights)
    for ours, reference in zip(*sums, strict=True):
        torch.testing.assert_close(ours, reference, atol=2e-5, rtol=1e-5)


@needs_numba
def test_backends_agree_to_a_hundred_thousandth(generator: torch.Generator) -> None:
    box = 40
    coordinates = packed_coordinates(box, box // 2)
    rotations = random_rotations(20, generator).float()
    transform = CentralSlices(
        torch.randn(box, box, box, generator=generator), r_max=box // 2
    ).transform
    values, weights = _slices(20, len(coordinates), generator)
    results = []
    for kernels in (slice_backends.slice_kernels("cpu"), slice_kernels_torch):
        read = torch.empty_like(values)
        kernels.extract(transform, rotations, coordinates, 2, read)
        sums = (torch.zeros_like(transform), torch.zeros_like(transform.real))
        kernels.insert(sums, rotations, coordinates, 2, values, weights)
        results.append((read, *sums))
    for ours, reference in zip(*results, strict=True):
        assert _relative(ours, reference) < 1e-5


@needs_numba
@pytest.mark.parametrize("symbol", ["C3", "D2", "T"])
def test_backends_symmetrize_alike(symbol: str, generator: torch.Generator) -> None:
    sums = _closed_sums(12, generator)
    operators = symmetry_operators(symbol)
    compiled = slice_backends.slice_kernels("cpu")
    ours = compiled.symmetrize((sums.data, sums.weight), operators)
    reference = slice_kernels_torch.symmetrize((sums.data, sums.weight), operators)
    for mine, plain in zip(ours, reference, strict=True):
        assert _relative(mine, plain) < 1e-5


@needs_numba
def test_many_poses_and_threads_change_no_bit(
    generator: torch.Generator, restored_threads: None
) -> None:
    box, n_poses = 24, 1100  # more than one task even on one thread
    coordinates = packed_coordinates(box, box // 2)
    rotations = random_rotations(n_poses, generator)
    slices = CentralSlices(torch.randn(box, box, box, generator=generator), r_max=box // 2)
    values, weights = _slices(n_poses, len(coordinates), generator)
    results = []
    for n_threads in (1, 2, 3, 3):
        torch.set_num_threads(n_threads)
        sums = SliceAccumulator(box, r_max=box // 2)
        sums.insert(rotations, values, weights, coordinates)
        opened = sums.clone()
        sums.enforce_hermitian()
        sums.symmetrize(symmetry_operators("C3"))
        read = slices.extract(rotations, coordinates)
        results.append((read, opened.data, opened.weight, sums.data, sums.weight))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@needs_numba
@settings(deadline=None, max_examples=30)
@given(
    st.integers(4, 40).map(lambda half: 2 * half),
    st.integers(1, 3),
    st.floats(0.7, 1.4),
    st.integers(0, 1000),
)
def test_groups_of_one_parity_share_no_voxel(
    box: int, padding: int, stretch: float, seed: int
) -> None:
    """The promise that lets threads insert side by side, checked voxel by voxel."""
    compiled = importlib.import_module("napari_blush.numerics.slice_kernels_numba")
    coordinates = packed_coordinates(box, box // 2)
    rotations = random_rotations(3, torch.Generator().manual_seed(seed)).float()
    rotations = rotations * torch.tensor([1.0, stretch, 1.0])
    gap = compiled._least_ring_gap(rotations, box // 2, padding)
    groups = compiled._ring_groups(coordinates, len(coordinates), gap)
    assert [first for first, _ in groups] == [0, *(last for _, last in groups[:-1])]
    assert groups[-1][1] == len(coordinates)
    center = padding * (box // 2) + 1
    owner = torch.full((2, (2 * center + 1) ** 2 * (center + 1)), -1)
    for number, (first, last) in enumerate(groups):
        sums = (
            torch.zeros(2 * center + 1, 2 * center + 1, center + 1, dtype=torch.complex64),
            torch.zeros(2 * center + 1, 2 * center + 1, center + 1),
        )
        weights = torch.zeros(3, last)
        weights[:, first:] = 1
        slice_kernels_torch.insert(
            sums, rotations, coordinates, padding, weights.to(torch.complex64), weights
        )
        touched = torch.nonzero(sums[1].flatten()).flatten()
        assert (owner[number % 2, touched] == -1).all()
        owner[number % 2, touched] = number


@needs_numba
def test_survives_callers_on_several_threads(
    generator: torch.Generator, restored_threads: None
) -> None:
    box = 16
    torch.set_num_threads(2)
    coordinates = packed_coordinates(box, 8)
    slices = CentralSlices(torch.randn(box, box, box, generator=generator), r_max=8)
    rotations = random_rotations(600, generator)
    expected = slices.extract(rotations, coordinates)
    results: list[Tensor] = []

    def caller() -> None:
        results.append(slices.extract(rotations, coordinates))

    callers = [threading.Thread(target=caller) for _ in range(5)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(60)
    assert len(results) == 5 and all(torch.equal(result, expected) for result in results)


@needs_numba
def test_poses_that_are_not_numbers_touch_nothing_else(
    generator: torch.Generator, restored_threads: None
) -> None:
    box = 16
    coordinates = packed_coordinates(box, 8)
    slices = CentralSlices(torch.randn(box, box, box, generator=generator), r_max=8)
    rotations = random_rotations(3, generator)
    good = slices.extract(rotations, coordinates)
    generic = rotations[1].clone()
    for bad in (torch.nan, torch.inf, 1e30):
        rotations[1] = bad * generic
        read = slices.extract(rotations, coordinates)
        assert torch.equal(read[[0, 2]], good[[0, 2]])
        assert (read[1] == 0).all()


def test_without_numba_torch_takes_over(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    box = 12
    coordinates = packed_coordinates(box, 6)
    slices = CentralSlices(torch.randn(box, box, box, generator=generator), r_max=6)
    rotations = random_rotations(4, generator)
    expected = slices.extract(rotations, coordinates)

    def refuse(name: str) -> ModuleType:
        raise ImportError(name)

    slice_backends._numba_kernels.cache_clear()
    monkeypatch.setattr(slice_backends.importlib, "import_module", refuse)
    try:
        assert slice_backends.slice_backend("cpu") == "torch"
        torch.testing.assert_close(
            slices.extract(rotations, coordinates), expected, atol=1e-3, rtol=1e-5
        )
    finally:
        monkeypatch.undo()
        slice_backends._numba_kernels.cache_clear()


@pytest.mark.cuda
def test_on_the_device_as_on_the_host(generator: torch.Generator) -> None:
    box = 32
    coordinates = packed_coordinates(box, 16)
    volume = torch.randn(box, box, box, generator=generator)
    rotations = random_rotations(40, generator)
    values, weights = _slices(40, len(coordinates), generator)
    read, sums = [], []
    for device in ("cpu", "cuda", "cuda"):
        slices = CentralSlices(volume.to(device), r_max=16)
        read.append(slices.extract(rotations, coordinates.to(device)).cpu())
        accumulator = SliceAccumulator(box, r_max=16, device=device)
        accumulator.insert(rotations, values, weights, coordinates)
        accumulator.enforce_hermitian()
        accumulator.symmetrize(symmetry_operators("C3"))
        sums.append(accumulator.data.cpu())
    assert _relative(read[1], read[0]) < 1e-5
    assert _relative(sums[1], sums[0]) < 1e-5
    assert torch.equal(read[1], read[2]) and torch.equal(sums[1], sums[2])
