"""Adds the posterior of a batch of images to the sums that the M-step needs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_blush.data_model.particles import Particles
from napari_blush.likelihood.half_model import HalfModel
from napari_blush.likelihood.posterior import PosteriorWeights
from napari_blush.likelihood.prepared_images import PreparedImages
from napari_blush.likelihood.slice_bank import SliceBank
from napari_blush.likelihood.squared_difference import (
    as_real_rows,
    shifted_images,
    squared_parts,
)
from napari_blush.likelihood.weighted_sums import ImageOutcomes, WeightedSums
from napari_blush.numerics.packing import PackedCoordinates, packed_shell_sum

STRONG_SHELL = 3.0  # data_vs_prior above which a shell speaks about the signal's scale (RELION)


@dataclass(frozen=True, slots=True)
class TrialPoses:
    """The poses a posterior was computed over.

    ``orientation (b, o)`` indexes ``bank.grid``; ``offset_px (b, t, 2)`` are translations added
    to each image's ``base_shift_px``, and ``phases (b, t, k)`` or ``(t, k)`` apply them to at least
    as many coefficients as are inserted.
    """

    bank: SliceBank
    orientation: Tensor
    offset_px: Tensor
    phases: Tensor


def significant_part(
    trial: TrialPoses, slices: Tensor, weights: Tensor
) -> tuple[TrialPoses, Tensor, Tensor]:
    """Return trial poses, slices and weights without rows and columns of zero weight.

    As many are kept as the image with the most has; those of the others are padded with poses of
    no weight.

    Parameters
    ----------
    trial : TrialPoses
    slices : (b, o, k) complex64
    weights : (b, t, o)
    """
    first = torch.arange(len(weights), device=weights.device)[:, None]
    phases, offset_px, orientation = trial.phases, trial.offset_px, trial.orientation
    kept = _heaviest(weights.sum(1))
    if kept.shape[1] < weights.shape[2]:
        weights, slices = weights.mT[first, kept].mT, slices[first, kept]
        orientation = orientation[first, kept]
    kept = _heaviest(weights.sum(2))
    if kept.shape[1] < weights.shape[1]:
        weights, offset_px = weights[first, kept], offset_px[first, kept]
        phases = phases[kept] if phases.ndim == 2 else phases[first, kept]
    return TrialPoses(trial.bank, orientation, offset_px, phases), slices, weights


def _heaviest(weights: Tensor) -> Tensor:
    """Return which columns of ``(b, m)`` have weight, the longest row deciding how many."""
    most = int((weights > 0).sum(1).max())
    return weights.topk(max(most, 1), dim=1).indices


class PosteriorSums:
    """Accumulates ``WeightedSums`` and ``ImageOutcomes`` of one half.

    Parameters
    ----------
    sums : WeightedSums
    outcomes : ImageOutcomes
    particles : Particles
    model : HalfModel
    coordinates : PackedCoordinates
    insert_count, compare_count : int
        Coefficients that are back-projected, and that the residual is computed from; beyond the
        latter the reference holds nothing and the residual is the image itself.
    """

    def __init__(
        self,
        sums: WeightedSums,
        outcomes: ImageOutcomes,
        particles: Particles,
        model: HalfModel,
        coordinates: PackedCoordinates,
        insert_count: int,
    ) -> None:
        self.sums = sums
        self.outcomes = outcomes
        self.particles = particles
        self.model = model
        self.coordinates = coordinates
        self.insert_count = insert_count
        self.pixel_size = particles.optics_groups[0].pixel_size
        self.shells = coordinates.box_size // 2 + 1

    def add_gathered(
        self,
        images: PreparedImages,
        rows: Tensor,
        trial: TrialPoses,
        slices: Tensor,
        posterior: PosteriorWeights,
    ) -> None:
        """Add images whose trial orientations are their own.

        Parameters
        ----------
        images : PreparedImages
            ``b`` images.
        rows : (b,) int64
            Their rows in ``outcomes``.
        trial : TrialPoses
        slices : (b, o, k) complex64
            Slices of the trial orientations.
        posterior : PosteriorWeights
        """
        self._best(images, rows, trial, posterior)
        trial, slices, weights = significant_part(trial, slices, posterior.weights)
        by_orientation = weights.sum(1)
        self._insert(images, trial, weights, by_orientation)
        k = slices.shape[-1]
        expected = torch.bmm(weights, as_real_rows(slices))
        expected = torch.view_as_complex(expected.reshape(*expected.shape[:2], k, 2))
        phases = trial.phases[..., :k]
        moved = images.masked[:, None, :k] * phases
        cross = (moved * expected.conj()).real.sum(1) * images.ctf[:, :k]
        power = torch.bmm(by_orientation[:, None], squared_parts(slices))[:, 0]
        power = power.view(len(power), k, 2).sum(-1)
        self._residuals(images, rows, cross, power * images.ctf[:, :k] ** 2)
        self._offsets(images, trial.offset_px, weights.sum(2))
        self._directions(trial, by_orientation)

    def add_dense_statistics(
        self,
        images: PreparedImages,
        rows: Tensor,
        expected: Tensor,
        power: Tensor,
        offset_px: Tensor,
        offset_weights: Tensor,
        phases: Tensor,
    ) -> None:
        """Add residuals and offsets of images compared with a shared grid.

        Parameters
        ----------
        images, rows
            As in ``add_gathered``.
        expected : (b, t, k) complex64
            ``sum_o w(t, o) P_o``.
        power : (b, k) float32
            ``sum w(t, o) |P_o|^2``.
        offset_px : (t, 2)
        offset_weights : (b, t)
        phases : (t, k) complex64
        """
        k = expected.shape[-1]
        moved = images.masked[:, None, :k] * phases[:, :k]
        cross = (moved * expected.conj()).real.sum(1) * images.ctf[:, :k]
        self._residuals(images, rows, cross, power * images.ctf[:, :k] ** 2)
        b = len(images)
        self._offsets(images, offset_px[None].expand(b, -1, -1), offset_weights)

    def _insert(
        self, images: PreparedImages, trial: TrialPoses, weights: Tensor, by_orientation: Tensor
    ) -> None:
        """Back-project each significant orientation once."""
        k = self.insert_count
        image, orientation = torch.nonzero(by_orientation, as_tuple=True)
        weighted = images.unmasked[:, :k] * images.ctf[:, :k]
        moved = shifted_images(weighted, trial.phases[..., :k])
        if weights.shape[0] == 1:
            kept = weights[0, :, orientation]
            values = kept.T.contiguous() @ as_real_rows(moved[0])
        else:
            summed = torch.bmm(weights.transpose(1, 2), as_real_rows(moved))
            values = summed[image, orientation]
        values = torch.view_as_complex(values.reshape(-1, k, 2))
        ctf_power = images.ctf[:, :k] ** 2
        insert_weights = by_orientation[image, orientation][:, None] * ctf_power[image]
        rotations = trial.bank.rotations(trial.orientation[image, orientation])
        if trial.bank.slice_matrix is not None:
            rotations = rotations @ trial.bank.slice_matrix.to(rotations)
        self.sums.accumulator.insert(rotations, values, insert_weights, self.coordinates)

    def _residuals(
        self, images: PreparedImages, rows: Tensor, cross: Tensor, power: Tensor
    ) -> None:
        """Add ``w |X - C P|^2`` by shell and by image, and the sums for the group scale."""
        k = cross.shape[-1]
        shell = self.coordinates.shell[:k]
        both = packed_shell_sum(torch.stack([cross, power]), shell, self.shells)
        cross_shell, power_shell = both[0], both[1]
        residual = images.power + images.sigma2 * (power_shell - 2 * cross_shell)
        # Long sums are kept on the CPU in double precision, which not every device has.
        residual, cross_shell, power_shell = (
            values.cpu().double() for values in (residual, cross_shell, power_shell)
        )
        groups = self.particles.optics_group_index[images.index]
        self.sums.residual.index_add_(0, groups, residual)
        self.sums.n_images.index_add_(0, groups, torch.ones(len(images), dtype=torch.float64))
        self.outcomes.residual_power[rows] = residual.sum(1)
        strong = self.model.data_vs_prior.cpu() > STRONG_SHELL
        group = self.particles.group_index[images.index]
        scale = self.model.group_scale.cpu()[group]
        cross_sum = (cross_shell * strong).sum(1) / scale
        power_sum = (power_shell * strong).sum(1) / scale**2
        self.sums.scale_cross.index_add_(0, group, cross_sum)
        self.sums.scale_power.index_add_(0, group, power_sum)

    def _offsets(self, images: PreparedImages, offset_px: Tensor, weights: Tensor) -> None:
        """Add the squared origins, ``offset_px (b, t, 2)`` weighted by ``(b, t)``."""
        total = (images.base_shift_px[:, None] + offset_px) * self.pixel_size
        self.sums.offset_squared += float(((total**2).sum(-1) * weights).sum())

    def _directions(self, trial: TrialPoses, by_orientation: Tensor) -> None:
        """Add the weight of each viewing direction, on the pixels of ``pdf_order``."""
        pixel = trial.bank.grid.pixel_of(trial.orientation)
        coarser = 4 ** max(trial.bank.grid.order - self.model.pdf_order, 0)
        pixel = torch.div(pixel, coarser, rounding_mode="floor").reshape(-1)
        weight = by_orientation.reshape(-1).cpu().double()
        self.sums.direction.index_add_(0, pixel.cpu(), weight)

    def _best(
        self,
        images: PreparedImages,
        rows: Tensor,
        trial: TrialPoses,
        posterior: PosteriorWeights,
    ) -> None:
        """Note the most probable pose of each image."""
        n_orientations = posterior.weights.shape[2]
        offset = torch.div(posterior.best, n_orientations, rounding_mode="floor")
        orientation = posterior.best % n_orientations
        first = torch.arange(len(images), device=offset.device)
        self.note_best(
            images,
            rows,
            trial.bank,
            trial.orientation[first, orientation],
            trial.offset_px[first, offset],
            posterior,
        )

    def note_best(
        self,
        images: PreparedImages,
        rows: Tensor,
        bank: SliceBank,
        orientation: Tensor,
        offset_px: Tensor,
        posterior: PosteriorWeights,
    ) -> None:
        """Store poses and posterior figures of a batch."""
        outcomes = self.outcomes
        outcomes.rotations[rows] = bank.rotations(orientation).double().cpu()
        outcomes.shifts_px[rows] = (images.base_shift_px + offset_px).double().cpu()
        outcomes.p_max[rows] = posterior.p_max.float().cpu()
        outcomes.log_likelihood[rows] = posterior.log_evidence.double().cpu()
        outcomes.n_significant[rows] = posterior.n_significant.cpu()
