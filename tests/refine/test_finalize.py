"""The maps a person keeps are made of the data and their poses, whatever the regularizer did."""

from dataclasses import dataclass, field, replace

import pytest
import torch

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.results import Outcome
from napari_blush.data_model.tool_settings import ReconstructionSettings
from napari_blush.errors import RefinementError
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.refine.events import (
    HalfMapsReconstructed,
    IterationFinished,
    IterationStarted,
    Message,
    ReferencesRegularized,
)
from napari_blush.refine.known_poses import reconstruct_known_poses
from napari_blush.refine.run import run
from napari_blush.regularization.regularizer import Regularized


@dataclass
class Garbage:
    """Returns the mirror image of the truth, twice as dense, and something that nobody has."""

    truth: torch.Tensor
    calls: list[HalfMaps] = field(default_factory=list)
    name: str = "garbage"

    def regularize(self, given):
        yield from ()
        self.calls.append(given.unfiltered)
        reference = 2 * self.truth.flip(0)
        reference[4:7, 4:7, 4:7] += 3 * float(self.truth.max())
        return Regularized((reference, reference), cutoff_shell=4, messages=("This is garbage.",))


@pytest.fixture(scope="module")
def spoiled(asymmetric, settings_for, drain):
    """A run whose references are garbage: (regularizer, events, result)."""
    regularizer = Garbage(asymmetric.density)
    settings = settings_for(initial_low_pass=16.0, healpix_order=2, exhaustive_order=2)
    events, result = drain(
        run(settings, asymmetric.particles, asymmetric.start, regularizer=regularizer)
    )
    return regularizer, events, result


def test_the_regularizer_is_not_asked_in_the_last_iteration(spoiled) -> None:
    regularizer, events, _ = spoiled
    assert len(regularizer.calls) == 2
    assert [event.iteration for event in events if isinstance(event, ReferencesRegularized)] == [
        1,
        2,
    ]
    assert [event.final for event in events if isinstance(event, IterationStarted)] == [
        False,
        False,
        True,
    ]


def test_what_the_regularizer_says_is_passed_on(spoiled) -> None:
    _, events, result = spoiled
    assert [e.text for e in events if isinstance(e, Message)].count("This is garbage.") == 2
    regularized = [event for event in events if isinstance(event, ReferencesRegularized)]
    assert [event.cutoff_shell for event in regularized] == [4, 4]
    finished = [event.result for event in events if isinstance(event, IterationFinished)]
    assert [each.messages for each in finished] == [("This is garbage.",)] * 2 + [()]
    assert [each.cutoff_shell for each in finished] == [4, 4, None]
    assert result.last_iteration.cutoff_shell is None


def test_the_regularizer_sees_the_half_maps_that_were_told(spoiled) -> None:
    regularizer, events, _ = spoiled
    told = [event.half_maps for event in events if isinstance(event, HalfMapsReconstructed)]
    for seen, said in zip(regularizer.calls, told[:2], strict=True):
        assert torch.equal(seen.half1, said.half1)
        assert torch.equal(seen.half2, said.half2)


def test_the_final_map_is_the_half_maps_and_nothing_else(spoiled) -> None:
    _, _, result = spoiled
    mean = result.half_maps.mean()
    fsc = fourier_shell_correlation(result.final_map, mean)
    # Two averages of the halves, by weight and plain: as far as there is signal they are one.
    assert float(fsc[:8].min()) > 0.85
    # What the regularizer made up is in neither.
    corner = (slice(4, 7),) * 3
    made_up = 3 * float(spoiled[0].truth.max())
    for volume in (result.half_maps.half1, result.half_maps.half2, result.final_map):
        assert float(volume[corner].mean()) < 0.1 * made_up


def test_the_final_half_maps_are_reconstructions_from_the_recorded_poses(
    asymmetric, spoiled
) -> None:
    _, events, result = spoiled
    state = [event.state for event in events if isinstance(event, IterationFinished)][-1]
    posed = replace(
        asymmetric.particles,
        poses=result.last_iteration.poses,
        has_poses=True,
        random_subset=state.random_subset,
    )
    steps = reconstruct_known_poses(posed, ReconstructionSettings(device="cpu"))
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            maps = finished.value
            break
    # Refinement spreads each image over a posterior and weights it by its noise; as far as the
    # poses are sure, the maps are the same.
    for mine, other in (
        (result.half_maps.half1, maps.halves.half1),
        (result.half_maps.half2, maps.halves.half2),
        (result.half_maps.mean(), maps.full),
    ):
        fsc = fourier_shell_correlation(mine, other)
        assert float(fsc[:6].min()) > 0.95
        assert float(fsc[6:13].mean()) > 0.5
    crossed = fourier_shell_correlation(result.half_maps.half1, maps.halves.half2)
    same = fourier_shell_correlation(result.half_maps.half1, maps.halves.half1)
    assert float(same[8:13].mean()) > float(crossed[8:13].mean()) + 0.3


def test_the_last_iteration_does_not_depend_on_the_regularizer(
    tiny, settings_for, drain, whole_run
) -> None:
    state = [event.state for event in whole_run if isinstance(event, IterationFinished)][1]
    settings = settings_for(max_iterations=2)
    maps = [
        drain(
            run(settings, tiny.particles, tiny.start, resume_from=state, regularizer=regularizer)
        )[1]
        for regularizer in (None, Garbage(tiny.density))
    ]
    assert torch.equal(maps[0].final_map, maps[1].final_map)
    assert torch.equal(maps[0].half_maps.half1, maps[1].half_maps.half1)
    assert torch.equal(maps[0].sharpened_map, maps[1].sharpened_map)


def test_the_result_is_whole(spoiled) -> None:
    _, events, result = spoiled
    assert result.outcome is Outcome.MAX_ITERATIONS
    last = result.last_iteration
    assert last.iteration == 3
    assert last.current_size == 32
    assert torch.equal(last.half_maps.half1, result.half_maps.half1)
    told = [event for event in events if isinstance(event, HalfMapsReconstructed)][-1]
    assert torch.equal(told.half_maps.half2, result.half_maps.half2)
    assert told.resolution_angstrom == result.resolution_angstrom == last.resolution_angstrom


def test_a_regularizer_that_fails_its_duty_stops_the_run_by_name(tiny, settings_for) -> None:
    class Careless:
        name = "careless"

        def regularize(self, given):
            yield from ()
            return Regularized((given.wiener.half1[:10], given.wiener.half2))

    events = run(settings_for(), tiny.particles, tiny.start, regularizer=Careless())
    with pytest.raises(RefinementError, match="'careless'"):
        list(events)
