"""Searches about the orientation an image had before, under a Gaussian prior on the angle to it.

They start one order above the sampling, where the neighbourhood is a few dozen orientations seen
at half the resolution, and go down by halving cells, as global searches do.
"""

import math

import torch
from torch import Tensor

from napari_blush.likelihood.pose_candidates import PoseCandidates, pad_lists
from napari_blush.likelihood.search_plan import SearchPlan
from napari_blush.numerics.orientation_grid import neighbors_within

CUTOFF_SIGMAS = 3.0  # a local search looks this far (RELION)
CELL_REACH = 0.5  # of the first step: a cell whose middle is outside may reach inside


class LocalSearch:
    """The orientations near the old ones of a batch of images, and their prior.

    Parameters
    ----------
    plan : SearchPlan
        With ``local_sigma_deg``.
    rotations : (b, 3, 3)
        Old orientations.
    device : torch.device
        Where candidates are wanted.
    """

    def __init__(self, plan: SearchPlan, rotations: Tensor, device: torch.device) -> None:
        if plan.local_sigma_deg is None:
            raise ValueError("the plan is not of a local search")
        self.plan = plan
        self.sigma_deg = plan.local_sigma_deg
        self.rotations = rotations
        self.device = device

    def start(self) -> PoseCandidates:
        """Return the candidates of the first pass, with all coarse translations."""
        grid = self.plan.levels[0].grid
        reach = CUTOFF_SIGMAS * self.sigma_deg + CELL_REACH * grid.step_deg
        owner, index, angle = neighbors_within(
            grid, self.rotations, min(reach, 180.0), self.plan.perturbation
        )
        b = len(self.rotations)
        log_prior = self._log_prior(angle.to(torch.float32))
        offset = torch.arange(len(self.plan.offsets_px))[None].expand(b, -1)
        return PoseCandidates(
            pad_lists(owner, index, b, 0).to(self.device),
            pad_lists(owner, log_prior, b, -torch.inf).to(self.device),
            offset.to(self.device),
            torch.ones_like(offset, dtype=torch.bool).to(self.device),
        )

    def with_prior(self, candidates: PoseCandidates, number: int) -> PoseCandidates:
        """Return candidates on the grid of pass ``number`` with the prior of their own angle."""
        grid = self.plan.levels[number].grid
        index = candidates.orientation.cpu()
        rotations = grid.rotations(index.reshape(-1), self.plan.perturbation)
        rotations = rotations.reshape(*index.shape, 3, 3)
        apart = rotations - self.rotations[:, None].to(rotations)
        # |R1 - R2| = 2 sqrt(2) sin(angle / 2), which keeps the digits of small angles.
        chord = torch.linalg.vector_norm(apart, dim=(-2, -1)) / (2 * math.sqrt(2))
        angle_deg = torch.rad2deg(2 * torch.asin(chord.clamp(max=1.0))).to(self.device)
        valid = torch.isfinite(candidates.log_prior)
        log_prior = torch.where(valid, self._log_prior(angle_deg), -torch.inf)
        return PoseCandidates(
            candidates.orientation, log_prior, candidates.offset, candidates.offset_valid
        )

    def _log_prior(self, angle_deg: Tensor) -> Tensor:
        return -angle_deg.square() / (2 * self.sigma_deg**2)
