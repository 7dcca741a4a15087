"""How far a pose can be wrong before an image would notice."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_blush.data_model.results import Accuracy
from napari_blush.likelihood.half_model import HalfModel
from napari_blush.likelihood.prepared_images import ImagePreparer
from napari_blush.numerics.packing import shift_phases
from napari_blush.numerics.rotations import axis_angle_to_matrix
from napari_blush.numerics.slice_extraction import CentralSlices

EVIDENCE = 4.60517  # log-likelihood difference at which a wrong pose is excluded with P = 0.01
N_PARTICLES = 100  # enough for the mean; the same number as in RELION
ROTATION_STEPS_DEG = (
    (0.2, 0.05),
    (1.0, 0.1),
    (2.0, 0.2),
    (5.0, 0.5),
    (10.0, 1.0),
    (20.0, 2.0),
    (30.0, 5.0),
)
SHIFT_STEPS_PX = ((1.0, 0.1), (2.0, 0.2), (5.0, 0.5), (10.0, 1.0))


@dataclass(frozen=True, slots=True)
class AccuracyProblem:
    """Poses whose accuracy is estimated.

    ``index (m,)`` rows of the particle table, ``rotations (m, 3, 3)``, ``r_max`` the Fourier radius
    compared, ``generator`` chooses the axis of each error.
    """

    index: Tensor
    rotations: Tensor
    r_max: int
    generator: torch.Generator


def estimate_accuracy(
    problem: AccuracyProblem, model: HalfModel, preparer: ImagePreparer, projector: CentralSlices
) -> Accuracy:
    """Return the mean error that changes the log-likelihood by ``EVIDENCE``.

    Each pose is turned about one of the image's axes (or moved along one), further and further,
    until ``sum |C P - C P'|^2 / (2 sigma^2)`` exceeds the limit.
    """
    coordinates = preparer.coordinates
    count = coordinates.count(problem.r_max)
    m = len(problem.index)
    images = preparer.prepare(
        problem.index, torch.zeros(m, 2), torch.full((m,), model.average_norm), model, count
    )
    rotations = problem.rotations.to(preparer.device, torch.float32)
    slices = projector.extract(rotations, coordinates, count)
    axes = torch.eye(3)[torch.randint(3, (m,), generator=problem.generator)]

    def rotation_evidence(error: float) -> Tensor:
        turn = axis_angle_to_matrix(axes.double(), torch.full((m,), error).double()).to(rotations)
        turned = projector.extract(rotations @ turn, coordinates, count)
        return _evidence(slices - turned, images.ctf)

    along = torch.eye(2)[torch.randint(2, (m,), generator=problem.generator)].to(preparer.device)

    def shift_evidence(error: float) -> Tensor:
        phases = shift_phases(along * error, coordinates, count)
        return _evidence(slices - slices * phases, images.ctf)

    return Accuracy(
        _mean_limit(rotation_evidence, m, ROTATION_STEPS_DEG),
        _mean_limit(shift_evidence, m, SHIFT_STEPS_PX) * preparer.pixel_size,
    )


def _evidence(difference: Tensor, ctf: Tensor) -> Tensor:
    parts = torch.view_as_real(difference)
    return ((parts**2).sum(-1) * ctf**2).sum(1) / 2


def _mean_limit(
    evidence: Callable[[float], Tensor], n: int, steps: tuple[tuple[float, float], ...]
) -> float:
    """Return the mean of the smallest error of each particle with enough evidence."""
    limit = torch.full((n,), steps[-1][0])
    found = torch.zeros(n, dtype=torch.bool)
    error = 0.0
    for end, step in steps:
        while error < end - 1e-9 and not bool(found.all()):
            error += step
            enough = evidence(error).cpu() > EVIDENCE
            limit[enough & ~found] = error
            found |= enough
    return float(limit.mean())
