"""The gold standard: what happens to one half of the images cannot reach the other half's map."""

from dataclasses import replace

import pytest
import torch

from napari_blush.data_model.particles import ImagesInMemory
from napari_blush.refine.events import HalfMapsReconstructed, IterationFinished
from napari_blush.refine.run import run
from napari_blush.refine.state import random_halves

NOTHING_JOINED = 1e6  # angstrom: coarser than any shell


def poisoned(particles, half: int, subset):
    """The particles with the images of one half replaced by noise and stripes of the same power."""
    stack = particles.images.stack.clone()
    rows = torch.nonzero(subset == half).flatten()
    noise = torch.randn(stack[rows].shape, generator=torch.Generator().manual_seed(1))
    stack[rows] = noise + 2 * torch.sin(torch.arange(stack.shape[-1]) * 0.9)
    return replace(particles, images=ImagesInMemory(stack), random_subset=subset)


def first_maps(events) -> HalfMapsReconstructed:
    maps = next(event for event in events if isinstance(event, HalfMapsReconstructed))
    events.close()
    return maps


@pytest.mark.parametrize("cross_correlation", [True, False])
@pytest.mark.parametrize("half", [1, 2])
def test_the_first_iteration(tiny, settings_for, half: int, cross_correlation: bool) -> None:
    settings = settings_for(
        low_resolution_join=NOTHING_JOINED,
        initial_low_pass=None,
        first_iteration_cc=cross_correlation,
    )
    subset = random_halves(70, seed=3)
    clean = replace(tiny.particles, random_subset=subset)
    bad = poisoned(tiny.particles, half, subset)
    good = first_maps(run(settings, clean, tiny.start)).half_maps
    evil = first_maps(run(settings, bad, tiny.start)).half_maps
    untouched, touched = ("half2", "half1") if half == 1 else ("half1", "half2")
    assert torch.equal(getattr(good, untouched), getattr(evil, untouched))
    assert not torch.equal(getattr(good, touched), getattr(evil, touched))


def test_a_later_iteration_and_what_the_next_one_aligns_to(tiny, settings_for) -> None:
    settings = settings_for(
        max_iterations=5, low_resolution_join=NOTHING_JOINED, first_iteration_cc=False
    )
    events = run(settings, tiny.particles, tiny.start)
    states = [event.state for event in events if isinstance(event, IterationFinished)]
    state = states[1]
    bad = poisoned(tiny.particles, 2, state.random_subset)
    runs = [
        run(settings, particles, tiny.start, resume_from=state)
        for particles in (replace(tiny.particles, random_subset=state.random_subset), bad)
    ]
    good, evil = (
        next(event for event in events if isinstance(event, IterationFinished)) for events in runs
    )
    for events in runs:
        events.close()
    assert torch.equal(good.result.half_maps.half1, evil.result.half_maps.half1)
    assert not torch.equal(good.result.half_maps.half2, evil.result.half_maps.half2)
    mine = torch.nonzero(state.random_subset == 1).flatten()
    for name in ("rotations", "shifts_angstrom"):
        assert torch.equal(
            getattr(good.result.poses, name)[mine], getattr(evil.result.poses, name)[mine]
        )
    for name in ("sigma2_noise", "pdf_direction", "group_scale"):
        assert torch.equal(getattr(good.state.models[0], name), getattr(evil.state.models[0], name))
    assert torch.equal(good.state.norm[mine], evil.state.norm[mine])


def test_the_final_half_maps(tiny, settings_for) -> None:
    settings = settings_for(max_iterations=1, first_iteration_cc=False)
    events = run(settings, tiny.particles, tiny.start)
    state = next(event for event in events if isinstance(event, IterationFinished)).state
    events.close()
    clean = replace(tiny.particles, random_subset=state.random_subset)
    bad = poisoned(tiny.particles, 2, state.random_subset)
    good, evil = (
        first_maps(run(settings, particles, tiny.start, resume_from=state)).half_maps
        for particles in (clean, bad)
    )
    # With the default join: the last iteration joins nothing.
    assert torch.equal(good.half1, evil.half1)
    assert not torch.equal(good.half2, evil.half2)


def test_what_is_joined_is_joined(tiny, settings_for) -> None:
    """The join is what the tests above switch off: with it, poison does reach the other half."""
    settings = settings_for(low_resolution_join=60.0, first_iteration_cc=False)
    subset = random_halves(70, seed=3)
    clean = replace(tiny.particles, random_subset=subset)
    good = first_maps(run(settings, clean, tiny.start)).half_maps
    evil = first_maps(run(settings, poisoned(tiny.particles, 2, subset), tiny.start)).half_maps
    assert not torch.equal(good.half1, evil.half1)
