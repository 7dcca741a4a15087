"""Devices that are not there, and the ways of saying that memory ran out."""

import pytest
import torch

from napari_blush.errors import RefinementError, TrainingError
from napari_blush.numerics.devices import chosen_device, is_out_of_memory


@pytest.mark.parametrize("kind", [RefinementError, TrainingError])
def test_a_device_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, kind: type[RefinementError]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(kind, match="'cuda' was asked for"):
        chosen_device("cuda", kind)
    assert chosen_device("auto", kind).type == "cpu"


def test_auto_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert chosen_device("auto", RefinementError).type == "cuda"
    assert chosen_device("cpu", RefinementError).type == "cpu"


def test_a_lack_of_memory_is_known_for_what_it_is() -> None:
    with pytest.raises(RuntimeError) as torch_says:
        torch.empty(2**60)
    assert is_out_of_memory(torch_says.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert not is_out_of_memory(RuntimeError("sizes do not match"))
    assert not is_out_of_memory(ValueError("not enough memory"))
