"""What a regularizer may give back, and the baseline that gives back what it was given."""

from dataclasses import replace

import pytest
import torch

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.errors import RefinementError
from napari_blush.regularization.guard import regularized
from napari_blush.regularization.regularizer import (
    RegularizationInput,
    RegularizationProgress,
    Regularized,
    origin,
)
from napari_blush.regularization.smoothness import SmoothnessRegularizer


@pytest.fixture
def given(generator: torch.Generator) -> RegularizationInput:
    maps = torch.randn(4, 8, 8, 8, generator=generator)
    return RegularizationInput(
        unfiltered=HalfMaps(maps[0], maps[1], 2.0),
        wiener=HalfMaps(maps[2], maps[3], 2.0),
        fsc=torch.ones(5),
        mask=None,
        particle_diameter=12.0,
        symmetry_operators=torch.eye(3, dtype=torch.float64)[None],
    )


def drained(steps):
    """All progress of a regularizer, and what it returns."""
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as finished:
            return seen, finished.value


def guarded(regularizer, given) -> Regularized:
    """What the guard lets through."""
    return drained(regularized(regularizer, given))[1]


class Returning:
    """A regularizer that returns what it was made with."""

    name = "returning"

    def __init__(self, made: Regularized) -> None:
        self.made = made

    def regularize(self, given):
        yield from ()
        return self.made


def test_the_baseline_takes_the_wiener_maps_as_they_are(given) -> None:
    progress, made = drained(SmoothnessRegularizer().regularize(given))
    assert progress == []
    assert torch.equal(made.references[0], given.wiener.half1)
    assert torch.equal(made.references[1], given.wiener.half2)
    assert (made.cutoff_shell, made.denoised, made.messages) == (None, None, ())


def test_good_references_pass_with_all_that_comes_with_them(given) -> None:
    maps = given.unfiltered.half1, given.unfiltered.half2
    made = Regularized(maps, cutoff_shell=3, denoised=maps, messages=("Careful.",))
    passed = guarded(Returning(made), given)
    assert torch.equal(passed.references[0], maps[0])
    assert torch.equal(passed.references[1], maps[1])
    assert replace(passed, references=made.references) == made


def test_other_number_types_are_brought_to_float32(given) -> None:
    doubles = given.wiener.half1.double(), given.wiener.half2.double()
    passed = guarded(Returning(Regularized(doubles)), given)
    assert {reference.dtype for reference in passed.references} == {torch.float32}


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("wrong", ["size", "dimensions", "nan", "inf"])
def test_bad_references_are_refused_by_name(given, half: int, wrong: str) -> None:
    maps = [given.wiener.half1.clone(), given.wiener.half2.clone()]
    if wrong == "size":
        maps[half] = torch.zeros(10, 10, 10)
    elif wrong == "dimensions":
        maps[half] = torch.zeros(8, 8)
    else:
        maps[half][1, 2, 3] = float(wrong)
    with pytest.raises(RefinementError, match="'returning' returned a reference"):
        guarded(Returning(Regularized((maps[0], maps[1]))), given)


def test_progress_is_passed_on_and_closing_reaches_the_regularizer(given) -> None:
    closed = []

    class Slow:
        name = "slow"

        def regularize(self, given):
            try:
                yield RegularizationProgress(0.5, "halfway")
                yield RegularizationProgress(1.0, "done")
            finally:
                closed.append(True)
            return Regularized((given.wiener.half1, given.wiener.half2))

    progress, _ = drained(regularized(Slow(), given))
    assert [step.what for step in progress] == ["halfway", "done"]
    steps = regularized(Slow(), given)
    assert next(steps).done == 0.5
    assert closed == [True]
    steps.close()
    assert closed == [True, True]


def test_one_that_is_no_generator_is_told_what_is_wanted(given) -> None:
    class Hasty:
        name = "hasty"

        def regularize(self, given):
            return Regularized((given.wiener.half1, given.wiener.half2))

    with pytest.raises(RefinementError, match=r"'hasty' returned a Regularized.*yield"):
        guarded(Hasty(), given)


@pytest.mark.parametrize("maps", ["unfiltered", "wiener"])
def test_one_that_writes_into_what_it_is_given_is_refused(given, maps: str) -> None:
    class Vandal:
        name = "vandal"

        def regularize(self, given):
            yield from ()
            getattr(given, maps).half2.mul_(2)
            return Regularized((given.wiener.half1, given.wiener.half2))

    with pytest.raises(RefinementError, match="'vandal' changed the maps"):
        guarded(Vandal(), given)


def test_where_references_come_from_is_said_by_those_who_know(given) -> None:
    regularizer = Returning(Regularized((given.wiener.half1, given.wiener.half2)))
    assert origin(regularizer) == "returning"
    regularizer.provenance = "weights 1"
    assert origin(regularizer) == "returning (weights 1)"
