import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_blush.errors import RunFolderError
from napari_blush.io.run_state import (
    last_whole_iteration,
    load_state,
    remove_states_from,
    save_state,
    state_path,
)


@settings(max_examples=30, deadline=None)
@given(
    shapes=st.dictionaries(
        st.text("abc.12", min_size=1, max_size=6),
        st.tuples(
            st.lists(st.integers(0, 3), max_size=3),
            st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool]),
        ),
        max_size=4,
    ),
    numbers=st.dictionaries(
        st.text(max_size=5),
        st.floats() | st.integers() | st.none() | st.text(max_size=5) | st.lists(st.floats()),
        max_size=4,
    ),
    iteration=st.integers(0, 2000),
)
def test_a_state_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    shapes: dict[str, tuple[list[int], torch.dtype]],
    numbers: dict[str, object],
    iteration: int,
) -> None:
    folder = tmp_path_factory.mktemp("state")
    generator = torch.Generator().manual_seed(iteration)
    tensors = {
        name: (100 * torch.randn(shape, generator=generator)).to(dtype)
        for name, (shape, dtype) in shapes.items()
    }
    save_state(folder, iteration, tensors, numbers)
    number, again, plain = load_state(folder)
    assert number == iteration
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert again[name].dtype == tensor.dtype
        assert torch.equal(again[name], tensor)
    assert repr(plain) == repr(numbers)  # NaN is not equal to itself, but prints alike


def test_views_and_shared_memory(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    save_state(tmp_path, 1, {"a": base, "b": base.T, "c": base[1]})
    _, tensors, _ = load_state(tmp_path)
    assert torch.equal(tensors["b"], base.T)
    assert torch.equal(tensors["c"], base[1])


def test_the_last_whole_iteration_is_found(tmp_path: Path) -> None:
    assert last_whole_iteration(tmp_path) is None
    assert last_whole_iteration(tmp_path / "nowhere") is None
    for iteration in (1, 2, 10):
        save_state(tmp_path, iteration, {"x": torch.tensor([float(iteration)])})
    (tmp_path / "run_it011_data.star").write_text("of an iteration cut short")
    (tmp_path / ".run_it012_state.safetensors.77.part").write_text("half")
    assert last_whole_iteration(tmp_path) == 10
    assert load_state(tmp_path)[1]["x"] == 10
    assert load_state(tmp_path, 2)[1]["x"] == 2
    remove_states_from(tmp_path, 2)
    assert last_whole_iteration(tmp_path) == 1


def test_states_that_are_not_there_or_broken(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no whole iteration"):
        load_state(tmp_path)
    save_state(tmp_path, 3, {"x": torch.ones(100)})
    with pytest.raises(RunFolderError, match="no whole iteration 2; the last is 3"):
        load_state(tmp_path, 2)
    path = state_path(tmp_path, 3)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(RunFolderError, match="cannot be read"):
        load_state(tmp_path)


def test_killed_at_any_moment(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, torch\n"
        "from napari_blush.io.run_state import save_state\n"
        "for i in range(1, 100000):\n"
        "    x = torch.full((200_000,), float(i))\n"
        "    save_state(pathlib.Path(sys.argv[1]), i, {'x': x})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    while last_whole_iteration(tmp_path) is None and process.poll() is None:
        time.sleep(0.002)
    time.sleep(0.05)
    process.kill()
    process.wait()
    last = last_whole_iteration(tmp_path)
    assert last is not None
    for iteration in range(1, last + 1):
        assert bool((load_state(tmp_path, iteration)[1]["x"] == iteration).all())
