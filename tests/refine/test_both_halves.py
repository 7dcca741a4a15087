"""Two halves in turn or side by side: the same results, a short leash, and a clean end."""

import threading
import time

import pytest
import torch

from napari_blush.likelihood.weighted_sums import WeightedSums
from napari_blush.numerics.slice_insertion import SliceAccumulator
from napari_blush.refine.both_halves import run_in_turn, run_side_by_side
from napari_blush.refine.events import HalfMapsReconstructed
from napari_blush.refine.run import run

BATCHES = 20


class Half:
    """A made-up half: counts its batches, and says whether it was closed."""

    def __init__(self, number: int, fails_at: int | None = None, seconds: float = 0.0) -> None:
        self.number = number
        self.fails_at = fails_at
        self.seconds = seconds
        self.done = 0
        self.closed = False
        self.gradients: set[bool] = set()

    def run(self):
        try:
            for batch in range(1, BATCHES + 1):
                if batch == self.fails_at:
                    raise ValueError(f"half {self.number} failed")
                time.sleep(self.seconds)
                self.done = batch
                self.gradients.add(torch.is_grad_enabled())
                yield batch
            return sums_of(self.number)
        finally:
            self.closed = True


def sums_of(number: int) -> WeightedSums:
    accumulator = SliceAccumulator(8, r_max=2)
    nothing = torch.zeros(1, dtype=torch.float64)
    return WeightedSums(accumulator, nothing, nothing, float(number), nothing, nothing, nothing)


def drained(events):
    said = []
    while True:
        try:
            said.append(next(events))
        except StopIteration as finished:
            return said, finished.value


def side_by_side(halves):
    return run_side_by_side([half.run() for half in halves], 2)


def in_turn(halves):
    return run_in_turn([half.run() for half in halves])


def half_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("half ")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = torch.get_num_threads()
    yield
    assert half_threads() == []
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("driver", [in_turn, side_by_side])
def test_every_batch_is_told_and_the_sums_come_in_order(driver) -> None:
    said, sums = drained(driver([Half(1), Half(2)]))
    for half in (0, 1):
        assert [done for which, done in said if which == half] == list(range(1, BATCHES + 1))
    assert [each.offset_squared for each in sums] == [1.0, 2.0]


def test_one_after_the_other_is_one_after_the_other() -> None:
    said, _ = drained(in_turn([Half(1), Half(2)]))
    assert [half for half, _ in said] == [0] * BATCHES + [1] * BATCHES


def test_a_paused_run_goes_on_for_a_batch_or_two_and_waits() -> None:
    halves = [Half(1), Half(2)]
    events = side_by_side(halves)
    next(events)
    time.sleep(0.2)
    ahead = sum(half.done for half in halves)
    # One was told, two may be waiting to be told, and each half has one in its hands.
    assert ahead <= 1 + 2 + 2
    time.sleep(0.1)
    assert sum(half.done for half in halves) == ahead
    events.close()


@pytest.mark.parametrize("driver", [in_turn, side_by_side])
def test_closing_ends_within_a_batch(driver) -> None:
    halves = [Half(1), Half(2)]
    events = driver(halves)
    next(events)
    started = time.perf_counter()
    events.close()
    assert time.perf_counter() - started < 2.0
    assert max(half.done for half in halves) <= 4
    # A half that had not begun has nothing to close.
    assert all(half.closed or half.done == 0 for half in halves)


def test_closing_closes_both_halves() -> None:
    halves = [Half(1), Half(2)]
    events = side_by_side(halves)
    for _ in range(6):
        next(events)
    events.close()
    assert [half.closed for half in halves] == [True, True]


@pytest.mark.parametrize("driver", [in_turn, side_by_side])
@pytest.mark.parametrize("failing", [1, 2])
def test_an_error_comes_out_and_stops_the_other_half(driver, failing: int) -> None:
    halves = [Half(n, fails_at=3) if n == failing else Half(n, seconds=0.02) for n in (1, 2)]
    with pytest.raises(ValueError, match=f"half {failing} failed"):
        drained(driver(halves))
    other = halves[2 - failing]
    if driver is side_by_side:
        assert other.done < BATCHES


def test_workers_compute_without_gradients() -> None:
    halves = [Half(1), Half(2)]
    assert torch.is_grad_enabled()
    drained(side_by_side(halves))
    assert halves[0].gradients == halves[1].gradients == {False}
    assert torch.is_grad_enabled()


def test_halves_share_the_threads() -> None:
    events = run_side_by_side([Half(1).run(), Half(2).run()], 6)
    next(events)
    assert torch.get_num_threads() == 3
    events.close()


def test_a_run_on_two_threads_finds_what_one_on_one_thread_finds(tiny, settings_for) -> None:
    def maps(threads: int):
        settings = settings_for(threads=threads, first_iteration_cc=False)
        events = run(settings, tiny.particles, tiny.start)
        found = next(event for event in events if isinstance(event, HalfMapsReconstructed))
        events.close()
        return found.half_maps

    one, two, again = maps(1), maps(2), maps(2)
    scale = float(one.half1.std())
    for half in ("half1", "half2"):
        # Transforms of the start map round differently with other threads, the halves do not.
        assert torch.allclose(getattr(one, half), getattr(two, half), rtol=0, atol=1e-4 * scale)
        assert torch.equal(getattr(two, half), getattr(again, half))
