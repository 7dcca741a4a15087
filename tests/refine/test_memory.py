"""Memory: planned within the limit, told where it costs speed, and given back when it runs out."""

from dataclasses import dataclass, replace

import pytest
import torch

from napari_blush.errors import RefinementError
from napari_blush.numerics.slice_insertion import SliceAccumulator
from napari_blush.refine.events import ExpectationProgress, HalfMapsReconstructed, Message
from napari_blush.refine.memory import GIBI, memory_limit_bytes, padded_map_bytes, plan_memory
from napari_blush.refine.run import run
from napari_blush.refine.schedule import Geometry

CPU = torch.device("cpu")


@dataclass
class NarrowImages:
    """Images that do not fit into memory more than a few at a time, once ``limit`` is set."""

    source: object
    limit: int = 1000
    error: type[BaseException] = MemoryError

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: torch.Tensor) -> torch.Tensor:
        if len(indices) > self.limit:
            raise self.error("not enough memory: too many images")
        return self.source.read(indices)


def test_the_memory_limit_is_in_gigabytes(settings_for) -> None:
    assert memory_limit_bytes(settings_for(memory_limit=1.5), CPU) == 3 * 2**29
    assert memory_limit_bytes(settings_for(), CPU) > 2**20


@pytest.mark.parametrize(("box", "padding"), [(24, 2), (32, 1), (64, 2)])
def test_padded_maps_take_at_least_what_the_sums_take(box: int, padding: int) -> None:
    sums = SliceAccumulator(box, r_max=box // 2, padding=padding)
    of_sums = sums.data.nbytes + sums.weight.nbytes
    assert of_sums < padded_map_bytes(box, padding) < 2 * of_sums


@pytest.mark.parametrize(
    ("limit", "words"), [(0.001, "The maps alone take"), (1.5, "allows batches of"), (8.0, None)]
)
def test_what_a_small_limit_costs_is_told(settings_for, limit: float, words: str | None) -> None:
    geometry = Geometry(200, 1.5, 250.0)
    budget, messages = plan_memory(settings_for(memory_limit=limit), geometry, CPU, 2)
    assert budget.particle_batch >= 1
    if words is None:
        assert messages == []
        assert budget.particle_batch == 32
    else:
        (message,) = messages
        assert message.warning
        assert words in message.text
        assert budget.particle_batch < 32
        assert f"{limit * 2**30 / GIBI:.1f} GB" in message.text


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
def test_a_run_out_of_memory_goes_on_with_smaller_batches(tiny, settings_for, error) -> None:
    settings = settings_for(threads=1, first_iteration_cc=False)
    images = NarrowImages(tiny.particles.images, error=error)
    events = run(settings, replace(tiny.particles, images=images), tiny.start)
    next(events)
    images.limit = 10
    said = []
    for event in events:
        said.append(event)
        if isinstance(event, HalfMapsReconstructed):
            break
    events.close()
    notes = [
        event for event in said if isinstance(event, Message) and "Memory ran out" in event.text
    ]
    # 32, 16 and 8 images: two shrinkings.
    assert [note.warning for note in notes] == [True, True]
    assert "batches of 8 images" in notes[-1].text
    assert [event.done for event in said if isinstance(event, ExpectationProgress)][-1] == 70
    wanted = run(settings, tiny.particles, tiny.start)
    maps = next(event for event in wanted if isinstance(event, HalfMapsReconstructed)).half_maps
    wanted.close()
    scale = float(maps.half1.std())
    for half in ("half1", "half2"):
        found = getattr(said[-1].half_maps, half)
        assert torch.allclose(found, getattr(maps, half), rtol=0, atol=1e-3 * scale)


def test_when_nothing_fits_it_is_said_in_words(tiny, settings_for) -> None:
    images = NarrowImages(tiny.particles.images)
    events = run(settings_for(), replace(tiny.particles, images=images), tiny.start)
    next(events)
    images.limit = 0
    with pytest.raises(RefinementError, match="Memory ran out with the smallest batches"):
        list(events)


def test_other_errors_are_not_taken_for_want_of_memory(tiny, settings_for) -> None:
    images = NarrowImages(tiny.particles.images, error=ZeroDivisionError)
    events = run(settings_for(), replace(tiny.particles, images=images), tiny.start)
    next(events)
    images.limit = 10
    with pytest.raises(ZeroDivisionError):
        list(events)
