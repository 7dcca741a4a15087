"""What stays the same from iteration to iteration, made once from settings and particles."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from napari_blush.data_model.particles import Particles
from napari_blush.data_model.results import AppliedChange
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.likelihood.work_budget import BudgetInUse
from napari_blush.numerics.helix import Helix
from napari_blush.numerics.packing import PackedCoordinates
from napari_blush.refine.schedule import Geometry
from napari_blush.refine.work_clock import WorkClock
from napari_blush.regularization.regularizer import Regularizer


@dataclass(frozen=True, slots=True)
class RefinementContext:
    """The fixed part of a run.

    Parameters
    ----------
    settings : RefinementSettings
    particles : Particles
    geometry : Geometry
    coordinates : PackedCoordinates
        Up to Nyquist, on ``device``.
    solvent : (n, n, n) float32
        What references are multiplied by: the user's mask or a soft sphere.
    mask : (n, n, n) float32 or None
        The user's mask.
    operators : (g, 3, 3) float64
    regularizer : Regularizer
    device : torch.device
    budget : BudgetInUse
    normalize_background : bool
        Images are not normalised on disk.
    clock : WorkClock
    changes : tuple of AppliedChange
        What takes effect in the next iteration.
    helix : Helix or None
        Screw axis along z.
    """

    settings: RefinementSettings
    particles: Particles
    geometry: Geometry
    coordinates: PackedCoordinates
    solvent: Tensor
    mask: Tensor | None
    operators: Tensor
    regularizer: Regularizer
    device: torch.device
    budget: BudgetInUse
    normalize_background: bool
    clock: WorkClock = field(default_factory=WorkClock)
    changes: tuple[AppliedChange, ...] = ()
    helix: Helix | None = None
