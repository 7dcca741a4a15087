"""What a training says, in the order in which it says it.

``TrainingStarted``, then a ``TrainingStep`` per step, now and then a ``ValidationResult``, and a
``CheckpointDue`` when the state is to be kept; at the end ``TrainingFinished``.
"""

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from napari_blush.denoiser.training.checkpoint import TrainingState


@dataclass(frozen=True, slots=True)
class TrainingStarted:
    """A training begins, or goes on after ``first_step - 1``."""

    n_training: int
    n_validation: int
    n_parameters: int
    first_step: int
    steps: int
    device: str
    precision: str


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """One step of the optimizer.

    Parameters
    ----------
    step : int
        Counted from 1.
    loss, mask_loss : float
        Of the density, and of the predicted mask.
    identity_loss : float
        The density's loss if nothing were done to the input.
    recycled : int
    learning_rate, gradient_norm : float
    seconds : float
        Of the whole step.
    preparing_seconds : float
        Of that, until the blocks were there.
    """

    step: int
    loss: float
    mask_loss: float
    identity_loss: float
    recycled: int
    learning_rate: float
    gradient_norm: float
    seconds: float
    preparing_seconds: float


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """How the running mean of the weights does on pairs that are not trained on.

    Parameters
    ----------
    step : int
    loss, identity_loss : float
        On the same augmented blocks every time.
    raw_fsc, denoised_fsc : Tensor
        ``(shells,)``: correlation within the mask of half 1, raw or denoised, with the other
        half, which stays raw; the same with the halves exchanged, pooled over all blocks.
    shell_width : float
        Of these curves, in 1/angstrom.
    solvent_power : float
        Power outside the mask after denoising by that before.
    example : Tensor
        ``(3, d, d)``: a section of a raw block, the same denoised, and of the other half.
    """

    step: int
    loss: float
    identity_loss: float
    raw_fsc: Tensor
    denoised_fsc: Tensor
    shell_width: float
    solvent_power: float
    example: Tensor


@dataclass(frozen=True, slots=True)
class CheckpointDue:
    """The state to go on from."""

    state: TrainingState


@dataclass(frozen=True, slots=True)
class StepsReplanned:
    """The time allowed is enough for ``steps`` in all; the learning rate falls from here on."""

    steps: int


@dataclass(frozen=True, slots=True)
class TrainingFinished:
    """All steps are done."""

    step: int


TrainingEvent: TypeAlias = (
    TrainingStarted
    | TrainingStep
    | ValidationResult
    | CheckpointDue
    | StepsReplanned
    | TrainingFinished
)
