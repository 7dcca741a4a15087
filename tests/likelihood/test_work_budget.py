"""Sizes of batches stay within the memory that is given."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_blush.likelihood.work_budget import BudgetInUse, WorkBudget

GIB = 2**30


@given(entries=st.integers(1, 2**28), rows=st.integers(0, 10**6))
def test_a_tile_holds_as_many_orientations_as_fit(entries: int, rows: int) -> None:
    budget = WorkBudget(1, entries, 1, 1)
    tile = budget.dense_tile(rows)
    assert tile >= 64
    assert tile == 64 or tile * max(rows, 1) <= entries
    assert (tile + 1) * max(rows, 1) > entries or tile == 64


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("memory", [GIB, 16 * GIB, 256 * GIB])
def test_budget_of_a_device_is_within_its_memory(device: str, memory: int) -> None:
    budget = WorkBudget.for_device(device, memory)
    scores = 4 * budget.tile_entries if device == "cpu" else 0
    assert budget.gather_bytes + budget.table_bytes + scores <= memory
    assert budget.particle_batch >= 1


def test_half_a_budget_is_half_of_everything_down_to_a_floor() -> None:
    budget = WorkBudget(32, 2**20, 2**25, 2**30)
    assert budget.halved() == WorkBudget(16, 2**19, 2**24, 2**29)
    smallest = budget
    for _ in range(40):
        smallest = smallest.halved()
    assert smallest == WorkBudget(1, 4096, 2**20, 0)
    assert WorkBudget(32, 2**20, 2**25, 2**30) == budget


@given(memory=st.integers(2**20, 2**40), image=st.integers(1, 2**34))
def test_a_batch_of_large_images_is_small(memory: int, image: int) -> None:
    for device in ("cpu", "cuda"):
        batch = WorkBudget.for_device(device, memory, bytes_per_image=image).particle_batch
        assert 1 <= batch <= WorkBudget.default_batch(device)
        assert batch == 1 or batch * image <= memory // 8


def test_a_budget_shrinks_until_it_cannot() -> None:
    budget = BudgetInUse(WorkBudget(4, 2**20, 2**22, 2**20))
    seen = [budget.current]
    while budget.shrink():
        seen.append(budget.current)
        assert len(seen) < 50
    assert budget.current.particle_batch == 1
    assert budget.current.gather_bytes == 2**20
    assert not budget.shrink()
    assert budget.current == seen[-1]
    assert all(b == a.halved() for a, b in pairwise(seen))
