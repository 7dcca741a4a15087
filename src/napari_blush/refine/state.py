"""Everything the next iteration needs, and nothing else: saving it is saving the run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from napari_blush.data_model.poses import Poses
from napari_blush.data_model.results import Accuracy, SamplingState
from napari_blush.likelihood.half_model import HalfModel


@dataclass(frozen=True, slots=True)
class Progress:
    """What automatic sampling and convergence remember between iterations.

    ``best_resolution`` is in reciprocal angstrom. ``fine_enough`` says that the angular step is
    below what the accuracy can use.
    """

    iterations_without_gain: int = 0
    iterations_without_change: int = 0
    best_resolution: float = 0.0
    smallest_change_rotation_deg: float = 999.0
    smallest_change_offset_angstrom: float = 999.0
    change_rotation_deg: float = 999.0
    change_offset_angstrom: float = 999.0
    high_fsc_at_limit: bool = False
    increment_size: int = 10
    average_p_max: float = 0.0
    fine_enough: bool = False
    resolution_shell: int = 0


@dataclass(frozen=True, slots=True)
class RefinementState:
    """A run after ``iteration`` whole iterations (0: none yet).

    Parameters
    ----------
    iteration : int
    models : two HalfModel
    poses : Poses
        Of all particles.
    norm : (particles,) float64
    random_subset : (particles,) int64
        1 or 2.
    sampling : SamplingState
    accuracy : Accuracy or None
    progress : Progress
    regularized_by : str
        What made the references of the models: a regularizer and its weights.
    """

    iteration: int
    models: tuple[HalfModel, HalfModel]
    poses: Poses
    norm: Tensor
    random_subset: Tensor
    sampling: SamplingState
    accuracy: Accuracy | None
    progress: Progress
    regularized_by: str = ""


_MODEL_TENSORS = (
    "reference",
    "sigma2_noise",
    "pdf_direction",
    "group_scale",
    "data_vs_prior",
    "tau2",
)
_MODEL_NUMBERS = ("sigma_offset_angstrom", "pdf_order", "average_norm")


def state_to_plain(state: RefinementState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and JSON-able numbers that hold a state exactly."""
    tensors = {
        "poses.rotations": state.poses.rotations,
        "poses.shifts_angstrom": state.poses.shifts_angstrom,
        "norm": state.norm,
        "random_subset": state.random_subset,
    }
    numbers: dict[str, Any] = {
        "iteration": state.iteration,
        "sampling": asdict(state.sampling),
        "accuracy": None if state.accuracy is None else asdict(state.accuracy),
        "progress": asdict(state.progress),
        "regularized_by": state.regularized_by,
    }
    for half, model in enumerate(state.models, start=1):
        for name in _MODEL_TENSORS:
            tensors[f"half{half}.{name}"] = getattr(model, name)
        numbers[f"half{half}"] = {name: getattr(model, name) for name in _MODEL_NUMBERS}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, numbers


def state_from_plain(tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> RefinementState:
    """Return the state that ``state_to_plain`` took apart."""
    models = tuple(
        _model_from_plain(tensors, numbers[f"half{half}"], f"half{half}.") for half in (1, 2)
    )
    accuracy = numbers["accuracy"]
    return RefinementState(
        iteration=int(numbers["iteration"]),
        models=(models[0], models[1]),
        poses=Poses(tensors["poses.rotations"], tensors["poses.shifts_angstrom"]),
        norm=tensors["norm"],
        random_subset=tensors["random_subset"],
        sampling=SamplingState(**numbers["sampling"]),
        accuracy=None if accuracy is None else Accuracy(**accuracy),
        progress=Progress(**numbers["progress"]),
        regularized_by=str(numbers.get("regularized_by", "")),
    )


def _model_from_plain(
    tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], prefix: str
) -> HalfModel:
    fields: dict[str, Any] = {name: tensors[prefix + name] for name in _MODEL_TENSORS}
    return HalfModel(**fields, **numbers)


def random_halves(n: int, seed: int) -> Tensor:
    """Return 1 or 2 for each of ``n`` particles, as many of each as can be."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    subset = torch.ones(n, dtype=torch.int64)
    subset[order[: n // 2]] = 2
    return subset
