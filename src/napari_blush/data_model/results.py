"""What a run says and leaves behind; all tensors on the CPU, float32 unless said otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from torch import Tensor

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.poses import Poses


class Outcome(StrEnum):
    """How a run ended."""

    CONVERGED = "converged"
    MAX_ITERATIONS = "max_iterations"
    FINISHED_EARLY = "finished_early"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FscCurves:
    """Fourier shell correlations between two half-maps, each ``(n // 2 + 1,)``.

    ``masked``, ``phase_randomized`` and ``corrected`` are those of the solvent mask (given or
    automatic); ``randomized_from_shell`` is the first shell whose phases were randomised, or None
    when the unmasked curve never fell below the threshold and no correction was possible.
    """

    unmasked: Tensor
    masked: Tensor
    phase_randomized: Tensor
    corrected: Tensor
    randomized_from_shell: int | None


@dataclass(frozen=True, slots=True)
class SamplingState:
    """How finely poses were searched in an iteration."""

    healpix_order: int
    adaptive_oversampling: int
    offset_range_angstrom: float
    offset_step_angstrom: float
    local_search_sigma_deg: float | None
    perturbation: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Estimated errors of alignment (degrees, angstrom), 99 % confidence per particle."""

    rotation_deg: float
    translation_angstrom: float


@dataclass(frozen=True, slots=True)
class PoseStatistics:
    """Per-particle outcome of the E-step, each ``(n,)``."""

    p_max: Tensor
    log_likelihood: Tensor
    n_significant: Tensor
    norm_correction: Tensor


@dataclass(frozen=True, slots=True)
class AppliedChange:
    """Something that a person changed in a run that was going on.

    Parameters
    ----------
    what : str
        In words.
    time : str
        When the run took it: UTC, ISO 8601.
    values : mapping
        Settings by name, to go on with the same.
    mask : (n, n, n) float32 or None
        The solvent mask, where that was changed; ``values`` says when there is none any more.
    """

    what: str
    time: str
    values: Mapping[str, Any] = field(default_factory=dict)
    mask: Tensor | None = None


@dataclass(frozen=True, slots=True)
class IterationResult:
    """One finished iteration.

    ``half_maps`` are unfiltered reconstructions (the low-resolution join apart); ``references``
    are what the next iteration aligns to (regularised, masked, perhaps denoised); the shells of
    ``tau2`` and ``sigma2_noise`` are those of the unpadded box, in the units of ``likelihood``.
    ``denoised_maps`` are what a denoiser made of the half-maps, before anything was cut off or
    masked: to look at and to align to, never a result. ``regularized_by`` names the regularizer
    and its weights. ``automatic_cutoff_shell`` is where the FSC alone would have them end, and
    ``denoiser_nyquist_shell`` how far the denoiser can see. ``seconds`` leave out the time in which
    nobody asked for the next event. ``changes`` took effect in this iteration.
    """

    iteration: int
    half_maps: HalfMaps
    references: tuple[Tensor, Tensor]
    wiener_maps: HalfMaps
    fsc: FscCurves
    resolution_angstrom: float
    cutoff_shell: int | None
    tau2: tuple[Tensor, Tensor]
    data_vs_prior: Tensor
    sigma2_noise: tuple[Tensor, Tensor]
    sigma_offset_angstrom: tuple[float, float]
    poses: Poses
    pose_statistics: PoseStatistics
    pdf_direction: tuple[Tensor, Tensor]
    group_scale: tuple[Tensor, Tensor]
    sampling: SamplingState
    accuracy: Accuracy
    changes_rotation_deg: float
    changes_offset_angstrom: float
    average_p_max: float
    current_size: int
    coarse_size: int
    seconds: float
    stage_seconds: dict[str, float] = field(default_factory=dict)
    messages: tuple[str, ...] = ()
    denoised_maps: HalfMaps | None = None
    regularized_by: str = ""
    changes: tuple[AppliedChange, ...] = ()
    automatic_cutoff_shell: int | None = None
    denoiser_nyquist_shell: float | None = None


@dataclass(frozen=True, slots=True)
class RefinementResult:
    """The end of a run: maps to trust, and why it stopped.

    ``final_map`` is the Wiener map of all data, never denoised; ``half_maps`` are the unfiltered
    halves; ``sharpened_map`` is the final map with ``b_factor`` undone and the FSC weight applied.
    """

    last_iteration: IterationResult
    half_maps: HalfMaps
    final_map: Tensor
    sharpened_map: Tensor
    b_factor: float | None
    fsc: FscCurves
    resolution_angstrom: float
    outcome: Outcome
    reason: str
