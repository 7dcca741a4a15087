"""The steps of an iteration between the E-step and the next references."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from napari_blush.data_model.particles import ImagesInMemory
from napari_blush.likelihood.weighted_sums import WeightedSums
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.packing import packed_coordinates
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.slice_insertion import SliceAccumulator
from napari_blush.refine.events import HalfMapsReconstructed, IterationFinished, IterationStarted
from napari_blush.refine.iteration import flatten_solvent, half_maps_of, symmetrize
from napari_blush.refine.run import prepared_run, run


def context_of(problem, settings):
    return prepared_run(settings, problem.particles, problem.start, None, None, None)[0]


def sums_of_slices(generator: torch.Generator) -> WeightedSums:
    """Sums of a few random slices of 24 px."""
    coordinates = packed_coordinates(24, 12, torch.device("cpu"))
    count = len(coordinates)
    accumulator = SliceAccumulator(24, r_max=12)
    values = torch.randn(3, count, dtype=torch.complex64, generator=generator)
    frames = torch.linalg.qr(torch.randn(3, 3, 3, generator=generator))[0]
    frames = frames * torch.linalg.det(frames)[:, None, None]
    accumulator.insert(frames, values, torch.ones(3, count), coordinates)
    nothing = torch.zeros(1, dtype=torch.float64)
    return WeightedSums(accumulator, nothing, nothing, 0.0, nothing, nothing, nothing)


@pytest.mark.parametrize("symmetry", ["C1", "D2"])
def test_sums_are_completed_by_their_mates(tiny, settings_for, generator, symmetry: str) -> None:
    context = context_of(tiny, settings_for(symmetry=symmetry))
    halves = sums_of_slices(generator), sums_of_slices(generator)
    symmetrize(context, halves)
    for half in halves:
        assert half.accumulator.is_hermitian
        plane = half.accumulator.data[:, :, 0]
        mate = plane.flip(0, 1).conj()
        assert float((plane - mate).abs().max()) < 1e-4 * float(plane.abs().max())
    maps = half_maps_of(context, halves, None)
    for volume in (maps.half1, maps.half2):
        turned = volume.flip(1, 2).roll((1, 1), (1, 2))  # half a turn about z
        fsc = fourier_shell_correlation(volume, turned)
        assert (float(fsc[1:10].min()) > 0.9) is (symmetry == "D2")
    assert len(symmetry_operators(symmetry)) == (4 if symmetry == "D2" else 1)


def test_references_are_masked_and_low_passed_only_after_correlation(tiny, settings_for) -> None:
    context = context_of(tiny, settings_for(initial_low_pass=30.0))
    masks = torch.zeros(24, 24, 24), torch.ones(24, 24, 24)
    masks[0][8:16, 8:16, 8:16] = 1.0
    sharp = (tiny.density, tiny.density)
    first = flatten_solvent(context, sharp, masks, 1)
    later = flatten_solvent(context, sharp, masks, 2)
    assert torch.equal(later[0], tiny.density * masks[0])
    assert torch.equal(later[1], tiny.density)
    power = torch.fft.rfftn(first[1]).abs()
    assert float(power[12, 12, 12]) < 1e-4 * float(power.max())
    assert not torch.equal(first[1], later[1])


def test_halves_are_joined_no_further_than_the_resolution_of_the_last_iteration(
    tiny, settings_for, whole_run
) -> None:
    state = next(event.state for event in whole_run if isinstance(event, IterationFinished))
    stack = tiny.particles.images.stack.clone()
    rows = torch.nonzero(state.random_subset == 2).flatten()
    stack[rows] = torch.randn(stack[rows].shape, generator=torch.Generator().manual_seed(5))
    poisoned = replace(
        tiny.particles, images=ImagesInMemory(stack), random_subset=state.random_subset
    )
    # 12 A is shell 12 of 144 A: all would be joined, had the run got there.
    settings = settings_for(low_resolution_join=12.0)
    for reached in (2, 6):
        known = replace(state, progress=replace(state.progress, resolution_shell=reached))
        events = run(settings, poisoned, tiny.start, resume_from=known)
        told = next(event for event in events if isinstance(event, HalfMapsReconstructed))
        events.close()
        curve = told.fsc.unmasked
        # Windows in real space blur the border by a shell. Noise aligned to a reference looks
        # like it (0.73 at worst), but not as what is joined does.
        assert float(curve[1:reached].min()) > 0.98
        assert float(curve[reached + 2 :].max()) < 0.85


def test_every_iteration_has_its_own_perturbation(whole_run) -> None:
    seen = [
        event.sampling.perturbation for event in whole_run if isinstance(event, IterationStarted)
    ]
    steps = {round((b - a) % 1.0, 9) for a, b in pairwise(seen)}
    assert len(steps) == len(seen) - 1
    assert all(0.25 <= step <= 0.5 for step in steps)
