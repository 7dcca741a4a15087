"""Exact checkpoints: one file per iteration, and that file is the mark of a whole iteration.

``run_it003_state.safetensors`` holds tensors bit for bit and, in its header, numbers as JSON. It is
written last of an iteration's files, under a temporary name, and renamed: a process killed at any
moment leaves the last whole iteration to go on from. What the tensors mean is the business of
whoever saves and loads them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from napari_blush.errors import RunFolderError
from napari_blush.io.atomic import write_bytes
from napari_blush.io.whole_iterations import last_whole_iteration as last_whole_iteration
from napari_blush.io.whole_iterations import state_path as state_path
from napari_blush.io.whole_iterations import whole_iterations


def save_state(
    folder: Path,
    iteration: int,
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, Any] | None = None,
) -> None:
    """Write the checkpoint of an iteration, which makes the iteration count as whole.

    Parameters
    ----------
    folder : Path
    iteration : int
    tensors : mapping of str to tensor
        Any shape and dtype; copied to the CPU.
    numbers : mapping, optional
        Whatever JSON can hold; floats come back bit for bit.

    Raises
    ------
    RunFolderError
        When the disk refuses; an older checkpoint of that iteration stays as it was.
    """
    # Tensors that share memory, or are not contiguous, cannot be stored as they are.
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    content = save(copies, metadata={"numbers": json.dumps(dict(numbers or {}))})
    write_bytes(state_path(folder, iteration), content, RunFolderError)


def load_state(
    folder: str | Path, iteration: int | None = None
) -> tuple[int, dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint.

    Parameters
    ----------
    folder : path
    iteration : int, optional
        The last whole one by default.

    Returns
    -------
    iteration, tensors, numbers

    Raises
    ------
    RunFolderError
        When there is none, or it cannot be read.
    """
    folder = Path(folder)
    last = last_whole_iteration(folder)
    if last is None:
        raise RunFolderError(
            f"Run folder {folder} holds no whole iteration (run_it..._state.safetensors); wanted "
            "one to go on from; start the run anew."
        )
    iteration = last if iteration is None else iteration
    path = state_path(folder, iteration)
    if not path.is_file():
        raise RunFolderError(
            f"Run folder {folder} holds no whole iteration {iteration}; the last is {last}; choose "
            "one that is there."
        )
    try:
        with safe_open(path, framework="pt") as handle:
            numbers = json.loads((handle.metadata() or {}).get("numbers", "{}"))
            tensors: dict[str, Tensor] = {
                name: handle.get_tensor(name).clone() for name in handle.keys()
            }
    except (SafetensorError, OSError, ValueError) as problem:
        raise RunFolderError(
            f"Checkpoint {path} cannot be read ({problem}); delete it to go on from the iteration "
            "before."
        ) from problem
    return iteration, tensors, numbers


def remove_states_from(folder: Path, iteration: int) -> None:
    """Remove the checkpoints of an iteration and all later ones."""
    for number in whole_iterations(folder):
        if number >= iteration:
            state_path(folder, number).unlink(missing_ok=True)
