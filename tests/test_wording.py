"""Times and errors as people read them."""

import pytest

from napari_blush.errors import SettingsError
from napari_blush.numerics.devices import is_out_of_memory
from napari_blush.wording import duration, in_words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0:00"), (5, "0:05"), (59.6, "1:00"), (61.0, "1:01"), (3661.0, "1:01:01")],
)
def test_durations_read_as_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "MPS backend out of memory",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes",
    ],
)
def test_what_torch_says_of_memory_is_known_to_all_rooms(said: str) -> None:
    assert in_words(RuntimeError(said)).startswith("Memory ran out")
    assert is_out_of_memory(RuntimeError(said))


def test_other_errors_are_no_lack_of_memory() -> None:
    other = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert in_words(other).startswith("The computation failed (RuntimeError: mat1")
    assert not is_out_of_memory(other)
    assert not is_out_of_memory(ValueError("out of memory"))


def test_our_own_errors_are_sentences_already() -> None:
    assert in_words(SettingsError("Given this; wanted that.")) == "Given this; wanted that."
