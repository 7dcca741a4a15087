import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_blush.numerics.wrapped_phase import WrappedPhase, split_heads

CPU = torch.device("cpu")


def largest_error(turns: torch.Tensor, expected: torch.Tensor) -> float:
    """On the circle, in turns."""
    difference = turns.double() - expected
    return float((difference - difference.round()).abs().max())


@pytest.mark.parametrize(("arithmetic", "allowed"), [("double", 1e-11), ("split", 1e-6)])
@pytest.mark.parametrize("size", [1.0, 1e2, 3e3])
def test_keeps_the_fraction_of_many_turns(
    arithmetic: Any, allowed: float, size: float, generator: torch.Generator
) -> None:
    terms = torch.rand(4, 500, generator=generator, dtype=torch.float64)
    coefficients = size * (torch.rand(20, 4, generator=generator, dtype=torch.float64) - 0.5)
    offset = torch.rand(20, 1, generator=generator, dtype=torch.float64)
    found = WrappedPhase(terms, CPU, arithmetic).turns(coefficients, offset, 300)
    assert found.shape == (20, 300)
    assert found.abs().max() < 6
    expected = (coefficients[:, :, None] * terms[None]).sum(1) + offset
    assert largest_error(found, expected[:, :300]) < allowed


def test_plain_float32_would_not(generator: torch.Generator) -> None:
    terms = torch.rand(4, 500, generator=generator, dtype=torch.float64)
    coefficients = 3e3 * (torch.rand(20, 4, generator=generator, dtype=torch.float64) - 0.5)
    assert largest_error(coefficients.float() @ terms.float(), coefficients @ terms) > 1e-4


def test_takes_the_arithmetic_of_the_device() -> None:
    terms = torch.ones(1, 3, dtype=torch.float64)
    assert WrappedPhase(terms, CPU).arithmetic == "double"


@given(st.floats(-1e30, 1e30).filter(lambda value: value == 0 or abs(value) > 1e-30))
def test_heads_multiply_exactly_in_float32(value: float) -> None:
    head, tail = split_heads(torch.tensor([value], dtype=torch.float64))
    assert float(head + tail) == value
    assert abs(float(tail)) <= abs(value) * 2.0**-12
    mantissa, _ = math.frexp(float(head))
    assert (mantissa * 2**12).is_integer()
