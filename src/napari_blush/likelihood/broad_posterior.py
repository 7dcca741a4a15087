"""Images whose posterior covers much of the first grid: their sums as matrix products.

Such an image would need thousands of slices of its own. Instead its posterior is computed again
tile by tile, and everything that depends on orientations is a product with the shared table:
weighted image sums per orientation are collected over all images and inserted once at the end.
"""

import torch
from torch import Tensor

from napari_blush.likelihood.dense_pass import DenseProblem, score_tiles
from napari_blush.likelihood.posterior import PosteriorWeights, log_sum_exp, relative_weights_
from napari_blush.likelihood.posterior_sums import PosteriorSums
from napari_blush.likelihood.prepared_images import PreparedImages
from napari_blush.likelihood.slice_bank import SliceBank
from napari_blush.likelihood.squared_difference import as_real_rows, shifted_images

INSERT_BLOCK = 2048  # orientations inserted at a time


class BroadPosteriorSums:
    """Collects per-orientation sums over the kept slices of one bank.

    The number of significant poses noted for such an image is that of its orientations.

    Parameters
    ----------
    sums : PosteriorSums
        Where statistics go now and the collected images go in ``insert``.
    bank : SliceBank
        The exhaustive grid.
    insert_count : int
        Coefficients that are back-projected.
    """

    def __init__(self, sums: PosteriorSums, bank: SliceBank, insert_count: int) -> None:
        self.sums = sums
        self.bank = bank
        self.insert_count = insert_count
        self._data: Tensor | None = None
        self._weight: Tensor | None = None

    def add(
        self,
        images: PreparedImages,
        rows: Tensor,
        problem: DenseProblem,
        log_orientation: Tensor,
        kept: Tensor,
        offsets_px: Tensor,
        phases: Tensor,
    ) -> None:
        """Add a batch.

        Parameters
        ----------
        images : PreparedImages
            ``b`` images.
        rows : (b,) int64
            Their rows in the outcomes.
        problem : DenseProblem
            What their posterior was computed from.
        log_orientation : (b, o)
            Log marginal of each kept orientation, unnormalised.
        kept : (b, o) bool
            Significant orientations; the others get no weight.
        offsets_px : (t, 2)
        phases : (t, insert_count) complex64
        """
        b, t, k = problem.images.shape
        log_evidence = log_sum_exp(log_orientation, 1)
        mass = torch.where(kept, torch.exp(log_orientation - log_evidence[:, None]), 0).sum(1)
        normalizer = log_evidence + torch.log(mass)
        data, weight = self._collected()
        moved = shifted_images(
            images.unmasked[:, : self.insert_count] * images.ctf[:, : self.insert_count], phases
        )
        moved_rows = as_real_rows(moved).reshape(b * t, -1)
        ctf_power = images.ctf[:, : self.insert_count] ** 2
        expected = torch.zeros(b * t, 2 * k, device=moved.device)
        power = torch.zeros(b, k, device=moved.device)
        offset_weights = torch.zeros(b, t, device=moved.device)
        best = torch.full((b,), -1.0, device=moved.device)
        best_orientation = torch.zeros(b, dtype=torch.int64, device=moved.device)
        best_offset = torch.zeros(b, dtype=torch.int64, device=moved.device)
        for part, tile in score_tiles(problem, self.bank):
            slices, slices_power = self.bank.tile(part)
            tile += problem.offset_log_prior[:, :, None] - normalizer[:, None, None]
            weights = relative_weights_(tile)
            weights *= kept[:, None, part]
            by_orientation = weights.sum(1)
            flat = weights.reshape(b * t, -1)
            expected.addmm_(flat, as_real_rows(slices))
            power.addmm_(by_orientation, slices_power)
            as_real_rows(data)[part].addmm_(flat.T, moved_rows)
            weight[part].addmm_(by_orientation.T, ctf_power)
            self._add_directions(part, by_orientation)
            offset_weights += weights.sum(2)
            top, where = weights.reshape(b, -1).max(1)
            better = top > best
            width = weights.shape[2]
            best = torch.where(better, top, best)
            best_orientation = torch.where(better, where % width + part.start, best_orientation)
            best_offset = torch.where(
                better, torch.div(where, width, rounding_mode="floor"), best_offset
            )
        self.sums.add_dense_statistics(
            images,
            rows,
            torch.view_as_complex(expected.view(b, t, k, 2)),
            power,
            offsets_px,
            offset_weights,
            phases,
        )
        posterior = PosteriorWeights(weights, log_evidence, best * mass, best_offset, kept.sum(1))
        self.sums.note_best(
            images,
            rows,
            self.bank,
            self.bank.covered[best_orientation],
            offsets_px[best_offset],
            posterior,
        )

    def insert(self) -> None:
        """Back-project what was collected, each orientation once, and forget it."""
        if self._data is None or self._weight is None:
            return
        accumulator, coordinates = self.sums.sums.accumulator, self.sums.coordinates
        for start in range(0, len(self._data), INSERT_BLOCK):
            part = slice(start, start + INSERT_BLOCK)
            rotations = self.bank.rotations(self.bank.covered[part])
            if self.bank.slice_matrix is not None:
                rotations = rotations @ self.bank.slice_matrix.to(rotations)
            accumulator.insert(rotations, self._data[part], self._weight[part], coordinates)
        self._data = self._weight = None

    def _collected(self) -> tuple[Tensor, Tensor]:
        """Return the collecting tables, made on first use."""
        if self._data is None or self._weight is None:
            shape = (len(self.bank.covered), self.insert_count)
            device = self.bank.covered.device
            self._data = torch.zeros(shape, dtype=torch.complex64, device=device)
            self._weight = torch.zeros(shape, dtype=torch.float32, device=device)
        return self._data, self._weight

    def _add_directions(self, part: slice, by_orientation: Tensor) -> None:
        """Add the weight of viewing directions of one tile."""
        model_order = self.sums.model.pdf_order
        pixel = self.bank.grid.pixel_of(self.bank.covered[part]).cpu()
        weight = by_orientation.sum(0).cpu().double()
        direction = self.sums.sums.direction
        if model_order <= self.bank.grid.order:
            pixel = torch.div(
                pixel, 4 ** (self.bank.grid.order - model_order), rounding_mode="floor"
            )
            direction.index_add_(0, pixel, weight)
            return
        children = 4 ** (model_order - self.bank.grid.order)
        finer = (pixel[:, None] * children + torch.arange(children, device=pixel.device)).flatten()
        direction.index_add_(0, finer, (weight / children).repeat_interleave(children))
