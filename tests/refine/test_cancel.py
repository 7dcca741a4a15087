"""Pausing is not asking; cancelling is closing: at once, and nothing stays behind."""

import gc
import threading
import time
import weakref
from dataclasses import dataclass, replace

import pytest
import torch

from napari_blush.likelihood.weighted_sums import WeightedSums
from napari_blush.numerics.slice_extraction import CentralSlices
from napari_blush.numerics.slice_insertion import SliceAccumulator
from napari_blush.refine.context import RefinementContext
from napari_blush.refine.events import (
    ExpectationProgress,
    HalfMapsReconstructed,
    IterationStarted,
    RunStarted,
)
from napari_blush.refine.run import run
from napari_blush.regularization.regularizer import Regularized

LARGE_THINGS = (SliceAccumulator, WeightedSums, CentralSlices, RefinementContext)


@dataclass
class WatchedImages:
    """Images that count how many were read."""

    source: object
    read_so_far: int = 0

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: torch.Tensor) -> torch.Tensor:
        self.read_so_far += len(indices)
        return self.source.read(indices)


class PlainRegularizer:
    """A regularizer that can be watched."""

    name = "plain"

    def regularize(self, given):
        yield from ()
        return Regularized((given.wiener.half1, given.wiener.half2))


def alive() -> dict[str, int]:
    gc.collect()
    # By type, not isinstance: proxies of other libraries answer to that with their own code.
    found = [type(thing) for thing in gc.get_objects()]
    return {kind.__name__: found.count(kind) for kind in LARGE_THINGS if kind in found}


@pytest.fixture
def watched(tiny):
    images = WatchedImages(tiny.particles.images)
    return images, replace(tiny.particles, images=images)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("stop_at", [IterationStarted, ExpectationProgress, HalfMapsReconstructed])
def test_closing_frees_everything(tiny, settings_for, threads: int, stop_at) -> None:
    assert alive() == {}
    regularizer = PlainRegularizer()
    gone = weakref.ref(regularizer)
    events = run(
        settings_for(threads=threads, first_iteration_cc=False),
        tiny.particles,
        tiny.start,
        regularizer=regularizer,
    )
    seen = next(event for event in events if isinstance(event, stop_at))
    assert "RefinementContext" in alive()
    del regularizer, seen
    events.close()
    assert alive() == {}
    del events
    gc.collect()
    assert gone() is None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("half ")]


@pytest.mark.parametrize("threads", [1, 2])
def test_closing_in_the_middle_of_a_comparison_reads_no_further(
    tiny, settings_for, watched, threads: int
) -> None:
    images, particles = watched
    events = run(settings_for(threads=threads), particles, tiny.start)
    next(event for event in events if isinstance(event, ExpectationProgress))
    before = images.read_so_far
    events.close()
    # Side by side, each half may have been in the middle of a batch of 32.
    assert images.read_so_far - before <= (0 if threads == 1 else 64)
    after = images.read_so_far
    time.sleep(0.05)
    assert images.read_so_far == after


def test_pausing_is_not_asking_for_the_next_event(tiny, settings_for, watched) -> None:
    images, particles = watched
    events = run(settings_for(threads=1), particles, tiny.start)
    for event in events:
        if isinstance(event, ExpectationProgress):
            break
    before = images.read_so_far
    time.sleep(0.1)
    assert images.read_so_far == before
    event = next(events)
    assert isinstance(event, ExpectationProgress)
    assert images.read_so_far > before
    events.close()


def test_a_run_that_is_never_started_computes_nothing(tiny, settings_for, watched) -> None:
    images, particles = watched
    events = run(settings_for(), particles, tiny.start)
    events.close()
    assert images.read_so_far == 0


def test_a_closed_run_says_nothing_more(tiny, settings_for) -> None:
    events = run(settings_for(), tiny.particles, tiny.start)
    assert isinstance(next(events), RunStarted)
    events.close()
    with pytest.raises(StopIteration):
        next(events)


def test_a_run_that_ended_leaves_only_its_result(tiny, settings_for, drain) -> None:
    _, result = drain(run(settings_for(max_iterations=1), tiny.particles, tiny.start))
    assert alive() == {}
    assert result.final_map.shape == (24, 24, 24)
