"""Maps of past iterations: within a budget in memory, beyond it mapped from the run folder."""

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_blush.io.mrc import write_map
from napari_blush.io.run_state import state_path
from napari_blush.plugin.iteration_store import (
    ITERATION_FILES,
    IterationSeries,
    IterationStore,
    whole_iterations,
)

N, VOXEL = 6, 2.0
ONE_MAP = N**3 * 4
PLENTY = 100 * ONE_MAP


def volume(iteration: int, role: str = "reference") -> np.ndarray:
    generator = np.random.default_rng((iteration, len(role)))
    return generator.normal(size=(N,) * 3).astype(np.float32)


def write_iteration(folder: Path, iteration: int, roles=tuple(ITERATION_FILES)) -> None:
    """Write the maps of an iteration, and an empty file in the place of its checkpoint."""
    for role in roles:
        path = folder / ITERATION_FILES[role].format(iteration)
        write_map(path, torch.from_numpy(volume(iteration, role)), VOXEL)
    state_path(folder, iteration).touch()


def test_what_fits_is_kept_as_it_was_given() -> None:
    store, values = IterationStore(PLENTY), volume(1)
    store.keep("reference", 1, values)
    assert store.find("reference", 1) is values
    assert store.find("half1", 1) is None
    assert store.find("reference", 2) is None
    assert (store.iterations, store.latest, store.n_bytes) == ((1,), 1, ONE_MAP)
    store.keep("reference", 1, 2 * values)
    assert np.array_equal(store.find("reference", 1), 2 * values)
    assert store.n_bytes == ONE_MAP


def test_beyond_the_budget_maps_come_from_the_folder(tmp_path) -> None:
    store = IterationStore(3 * ONE_MAP, tmp_path)
    for iteration in range(1, 9):
        for role in ("half1", "reference"):
            store.keep(role, iteration, volume(iteration, role))
        write_iteration(tmp_path, iteration)
    store.keep("half1", 9, volume(9, "half1"))
    assert store.n_bytes <= 3 * ONE_MAP
    assert store.iterations == tuple(range(1, 10))
    for iteration in range(1, 9):
        found = store.find("reference", iteration)
        assert np.array_equal(found, volume(iteration))
    assert isinstance(store.find("reference", 2), np.memmap)
    assert not isinstance(store.find("half1", 9), np.memmap)


def test_what_is_not_on_disk_yet_is_not_given_up(tmp_path) -> None:
    store = IterationStore(ONE_MAP, tmp_path)
    for iteration in (1, 2, 3):
        store.keep("half1", iteration, volume(iteration))
    assert store.n_bytes == 3 * ONE_MAP
    path = tmp_path / ITERATION_FILES["half1"].format(1)
    write_map(path, torch.from_numpy(volume(1)), VOXEL)
    store.keep("half1", 4, volume(4))  # without its checkpoint an iteration is not whole
    assert store.n_bytes == 4 * ONE_MAP
    state_path(tmp_path, 1).touch()
    store.keep("half1", 5, volume(5))
    assert store.n_bytes == 4 * ONE_MAP
    assert np.array_equal(store.find("half1", 1), volume(1))


def test_without_a_folder_memory_stays_flat_and_the_newest_remains() -> None:
    store = IterationStore(4 * ONE_MAP)
    for iteration in range(1, 501):
        store.keep("half1", iteration, volume(iteration % 7))
        assert store.n_bytes <= 4 * ONE_MAP
    assert store.iterations == (497, 498, 499, 500)
    small = IterationStore(0)
    small.keep("half1", 1, volume(1))
    assert small.find("half1", 1) is not None


def test_a_resumed_run_has_its_past_and_no_more(tmp_path) -> None:
    for iteration in (1, 2, 3, 4):
        write_iteration(tmp_path, iteration, ("reference", "half1"))
    store = IterationStore(PLENTY, tmp_path)
    store.begin_at(4)
    assert store.iterations == (1, 2, 3)
    assert store.find("denoised1", 2) is None
    assert np.array_equal(store.find("half1", 3), volume(3, "half1"))
    store.keep("half1", 4, volume(9))
    store.begin_at(3)
    assert store.iterations == (1, 2)
    store.begin_at(1)
    assert store.latest is None
    assert whole_iterations(tmp_path) == (1, 2, 3, 4)
    assert whole_iterations(tmp_path / "nowhere") == ()


def test_a_file_that_was_deleted_is_no_map(tmp_path) -> None:
    write_iteration(tmp_path, 1)
    store = IterationStore(PLENTY, tmp_path)
    store.begin_at(2)
    (tmp_path / ITERATION_FILES["reference"].format(1)).unlink()
    assert store.find("reference", 1) is None
    assert not IterationSeries(store, "reference", N)[1].any()


def test_newest_looks_back_and_never_ahead() -> None:
    store = IterationStore(PLENTY)
    for iteration in (2, 5):
        store.keep("reference", iteration, volume(iteration))
    found = [store.newest("reference", number) for number in (1, 2, 4, 5, 9)]
    assert found == [None, 2, 2, 5, 5]


@pytest.fixture
def series(tmp_path) -> IterationSeries:
    for iteration in (3, 4, 5):
        write_iteration(tmp_path, iteration)
    store = IterationStore(PLENTY, tmp_path)
    store.begin_at(6)
    store.keep("reference", 6, volume(6))
    store.keep("half1", 7, volume(7))  # the reference of iteration 7 is still to come
    return IterationSeries(store, "reference", N)


@pytest.mark.parametrize(
    "key",
    [
        0, -1, 4, (5, 2), (slice(1, 6), 4), (slice(None), slice(None), 2, slice(1, 5, 2)),
        (Ellipsis, 3), (6, Ellipsis), slice(0, 0), slice(None, None, 2), (np.int64(3), 0, 0, 0),
    ],
)  # fmt: skip
def test_a_series_is_indexed_like_an_array(series, key) -> None:
    nothing = np.zeros((N,) * 3, np.float32)
    whole = np.stack([nothing] * 3 + [volume(number) for number in (3, 4, 5, 6, 6)])
    assert np.array_equal(series[key], whole[key])
    assert series.shape == whole.shape == np.asarray(series).shape
    assert (series.size, series.nbytes, len(series)) == (whole.size, whole.nbytes, 8)


def test_a_series_ends(series) -> None:
    with pytest.raises(IndexError):
        series[8]
    assert len(list(series)) == 8
