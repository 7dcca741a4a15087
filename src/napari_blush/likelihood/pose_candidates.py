"""Trial orientations and translations that differ from image to image."""

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_blush.numerics.orientation_grid import OrientationGrid


@dataclass(frozen=True, slots=True)
class PoseCandidates:
    """What is still in the running for each image of a batch.

    Parameters
    ----------
    orientation : (b, o) int64
        Grid indices; arbitrary where ``log_prior`` is minus infinity.
    log_prior : (b, o) float32
        Log prior of each orientation; minus infinity marks padding.
    offset : (b, t) int64
        Rows of the plan's coarse offsets.
    offset_valid : (b, t) bool
    """

    orientation: Tensor
    log_prior: Tensor
    offset: Tensor
    offset_valid: Tensor

    @property
    def counts(self) -> Tensor:
        """Number of real orientations per image."""
        return torch.isfinite(self.log_prior).sum(1)

    def rows(self, rows: Tensor) -> "PoseCandidates":
        """Return the candidates of some images, padding trimmed."""
        log_prior = self.log_prior[rows]
        valid = self.offset_valid[rows]
        o = int(torch.isfinite(log_prior).sum(1).max())
        t = int(valid.sum(1).max())
        return PoseCandidates(
            self.orientation[rows, :o], log_prior[:, :o], self.offset[rows, :t], valid[:, :t]
        )


def pad_lists(owner: Tensor, values: Tensor, n_owners: int, fill: float) -> Tensor:
    """Return a flat list sorted by owner as rows, ``(m,)`` to ``(n_owners, longest)``."""
    counts = torch.bincount(owner, minlength=n_owners)
    starts = torch.cumsum(counts, 0) - counts
    column = torch.arange(len(owner), device=owner.device) - starts[owner]
    width = max(int(counts.max()), 1)
    rows = torch.full((n_owners, width), fill, dtype=values.dtype, device=values.device)
    rows[owner, column] = values
    return rows


def candidates_from_mask(
    orientation: Tensor, log_prior: Tensor, kept: Tensor, offset: Tensor, offset_kept: Tensor
) -> PoseCandidates:
    """Return the kept part of ``(b, o)`` orientations and ``(b, t)`` offsets, left-packed."""
    b = kept.shape[0]
    owner, column = torch.nonzero(kept, as_tuple=True)
    t_owner, t_column = torch.nonzero(offset_kept, as_tuple=True)
    offsets = pad_lists(t_owner, offset[t_owner, t_column], b, 0)
    ones = torch.ones(len(t_owner), device=offset.device)
    return PoseCandidates(
        pad_lists(owner, orientation[owner, column], b, 0),
        pad_lists(owner, log_prior[owner, column], b, -torch.inf),
        offsets,
        pad_lists(t_owner, ones, b, 0) > 0,
    )


def refine_candidates(
    candidates: PoseCandidates, grid: OrientationGrid, pixel_allowed: Tensor | None
) -> PoseCandidates:
    """Return the children of every orientation on the grid one order finer.

    Parameters
    ----------
    candidates : PoseCandidates
        On ``grid``.
    grid : OrientationGrid
    pixel_allowed : (pixels of the finer grid,) bool or None
        The asymmetric unit; children outside are dropped.
    """
    finer = OrientationGrid(grid.order + 1)
    children = grid.children(candidates.orientation)
    b, o, c = children.shape
    prior = candidates.log_prior[:, :, None].expand(b, o, c).clone()
    if pixel_allowed is not None:
        prior[~pixel_allowed[finer.pixel_of(children)]] = -torch.inf
    orientation, prior = children.reshape(b, -1), prior.reshape(b, -1)
    kept = torch.isfinite(prior)
    return candidates_from_mask(
        orientation, prior, kept, candidates.offset, candidates.offset_valid
    )
