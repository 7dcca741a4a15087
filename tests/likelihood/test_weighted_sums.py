"""Sums of two parts are the sums of both."""

from dataclasses import fields

import pytest
import torch

from napari_blush.errors import SettingsError
from napari_blush.likelihood.weighted_sums import ImageOutcomes, WeightedSums
from napari_blush.numerics.slice_insertion import SliceAccumulator

BOX, SHELLS = 8, 5


def drawn(generator: torch.Generator, r_max: int = 3) -> WeightedSums:
    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    accumulator = SliceAccumulator(BOX, r_max=r_max)
    accumulator.data += torch.randn(accumulator.shape, generator=generator, dtype=torch.complex64)
    accumulator.weight += torch.rand(accumulator.shape, generator=generator)
    return WeightedSums(
        accumulator, noise(2, SHELLS), noise(2), float(noise(1)), noise(12), noise(3), noise(3)
    )


def test_every_field_is_added(generator: torch.Generator) -> None:
    first, second = drawn(generator), drawn(generator)
    data = first.accumulator.data + second.accumulator.data
    weight = first.accumulator.weight + second.accumulator.weight
    names = [field.name for field in fields(WeightedSums) if field.name != "accumulator"]
    wanted = {name: getattr(first, name) + getattr(second, name) for name in names}
    kept = {name: getattr(second, name) + 0.0 for name in names}
    first.add(second)
    assert torch.equal(first.accumulator.data, data)
    assert torch.equal(first.accumulator.weight, weight)
    for name in names:
        torch.testing.assert_close(getattr(first, name), wanted[name], rtol=0, atol=0)
        torch.testing.assert_close(getattr(second, name), kept[name], rtol=0, atol=0)


def test_the_order_of_parts_does_not_matter(generator: torch.Generator) -> None:
    state = generator.get_state()
    first, second = drawn(generator), drawn(generator)
    first.add(second)
    generator.set_state(state)
    other, another = drawn(generator), drawn(generator)
    another.add(other)
    torch.testing.assert_close(first.residual, another.residual)
    torch.testing.assert_close(first.accumulator.data, another.accumulator.data)
    assert first.offset_squared == pytest.approx(another.offset_squared)


def test_parts_of_different_sizes_are_refused(generator: torch.Generator) -> None:
    with pytest.raises(SettingsError, match="given to add"):
        drawn(generator).add(drawn(generator, r_max=2))


def test_empty_outcomes_have_a_row_for_each_image() -> None:
    outcomes = ImageOutcomes.empty(5)
    shapes = {
        "rotations": (5, 3, 3),
        "shifts_px": (5, 2),
        "p_max": (5,),
        "log_likelihood": (5,),
        "n_significant": (5,),
        "residual_power": (5,),
    }
    assert {field.name for field in fields(ImageOutcomes)} == set(shapes)
    for name, shape in shapes.items():
        values = getattr(outcomes, name)
        assert tuple(values.shape) == shape
        assert int(values.count_nonzero()) == 0
    assert outcomes.rotations.dtype == outcomes.shifts_px.dtype == torch.float64
