"""The state of a training, on disk: tensors and plain values only, nothing that runs when read.

All randomness of a step follows from the seed and the number of the step, so that no state of a
random generator has to be kept.
"""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_blush.errors import TrainingError

_FORMAT = "napari-blush training 1"


@dataclass(frozen=True, slots=True)
class TrainingState:
    """What a training goes on from.

    Parameters
    ----------
    step : int
        Steps done.
    network, mean_network : dict of str to Tensor
        The weights, and their running mean.
    optimizer : dict
        ``state_dict`` of the optimizer: tensors, numbers, lists and dicts.
    settings : dict
        As plain values.
    voxel_size : float
        Angstrom.
    """

    step: int
    network: dict[str, Tensor]
    mean_network: dict[str, Tensor]
    optimizer: dict[str, Any]
    settings: dict[str, Any]
    voxel_size: float


def write_state(path: Path, state: TrainingState) -> None:
    """Write a state whole or not at all.

    Raises
    ------
    TrainingError
        When the disk refuses; an older file stays as it was.
    """
    content = {name: getattr(state, name) for name in TrainingState.__slots__}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as handle:
            torch.save({"format": _FORMAT, **content}, handle)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as problem:
        raise TrainingError(
            f"The checkpoint {path} cannot be written ({problem.strerror or problem}); free some "
            "space or choose another folder."
        ) from problem
    finally:
        temporary.unlink(missing_ok=True)


def read_state(path: Path) -> TrainingState:
    """Read a state; nothing in the file is executed.

    Raises
    ------
    TrainingError
        When there is none, or the file is not one of ours.
    """
    if not path.is_file():
        raise TrainingError(f"There is no checkpoint {path} to go on from; start without --resume.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content.pop("format") != _FORMAT:
            raise ValueError("another format")
        return TrainingState(**content)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError,
            AttributeError) as problem:  # fmt: skip
        raise TrainingError(
            f"{path} is not a whole checkpoint of a training; wanted one that napari-blush train "
            "wrote; start without --resume."
        ) from problem
