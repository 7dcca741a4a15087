"""Everything a run can say, in the order in which it says it.

``RunStarted``, then for each iteration ``IterationStarted``, ``ExpectationProgress`` after each
particle batch, ``HalfMapsReconstructed``, ``RegularizationStep`` as often as the regularizer has
something to say, ``ReferencesRegularized``, ``IterationFinished``; at the end ``RunFinished``. The
last iteration regularizes nothing. ``Message`` may come anywhere.
"""

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.results import (
    Accuracy,
    FscCurves,
    IterationResult,
    RefinementResult,
    SamplingState,
)
from napari_blush.refine.state import RefinementState


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins, or goes on after ``first_iteration - 1``.

    ``regularizer`` is what makes its references: a name, and weights with their checksum.
    """

    n_particles: int
    n_per_half: tuple[int, int]
    box_size: int
    pixel_size: float
    first_iteration: int
    device: str
    backend: str
    regularizer: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """Something a person should know; ``warning`` when it may change what they do."""

    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class IterationStarted:
    """An iteration begins with this sampling; ``final`` when it is the one on all data.

    ``changed`` is what a person asked for and takes effect in it, in words.
    """

    iteration: int
    sampling: SamplingState
    accuracy: Accuracy | None
    current_size: int
    final: bool
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExpectationProgress:
    """``done`` of ``total`` particles of the iteration are compared, both halves together.

    ``half`` is the one (1 or 2) that the latest batch belongs to.
    """

    iteration: int
    half: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class HalfMapsReconstructed:
    """Unfiltered half-maps and their FSC, before any regularisation."""

    iteration: int
    half_maps: HalfMaps
    fsc: FscCurves
    resolution_angstrom: float


@dataclass(frozen=True, slots=True)
class RegularizationStep:
    """The regularizer is on its way: ``done`` from 0 to 1, and what it is doing, in words."""

    iteration: int
    what: str
    done: float


@dataclass(frozen=True, slots=True)
class ReferencesRegularized:
    """References for the next iteration; shells as in ``regularization.Regularized``."""

    iteration: int
    references: tuple[Tensor, Tensor]
    cutoff_shell: int | None
    automatic_cutoff_shell: int | None = None
    denoiser_nyquist_shell: float | None = None


@dataclass(frozen=True, slots=True)
class IterationFinished:
    """An iteration is whole; ``state`` continues the run from here."""

    result: IterationResult
    state: RefinementState


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run is over."""

    result: RefinementResult


RefinementEvent: TypeAlias = (
    RunStarted
    | Message
    | IterationStarted
    | ExpectationProgress
    | HalfMapsReconstructed
    | RegularizationStep
    | ReferencesRegularized
    | IterationFinished
    | RunFinished
)
