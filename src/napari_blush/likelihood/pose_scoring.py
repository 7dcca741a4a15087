"""Compares images with trial poses of their own, and knows the priors of translations."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_blush.likelihood.half_model import HalfModel
from napari_blush.likelihood.pose_candidates import PoseCandidates
from napari_blush.likelihood.posterior_sums import TrialPoses
from napari_blush.likelihood.prepared_images import ImagePreparer, PreparedImages
from napari_blush.likelihood.search_plan import SearchPlan
from napari_blush.likelihood.slice_bank import SliceBank
from napari_blush.likelihood.squared_difference import (
    correlation_from_terms,
    gathered_log_likelihood,
    gathered_power,
    shifted_images,
    squared_parts,
)
from napari_blush.numerics.packing import shift_phases


@dataclass(frozen=True, slots=True)
class ExpectationOptions:
    """What kind of comparison is made.

    Parameters
    ----------
    adaptive_fraction : float
        Posterior mass kept between passes, and of the last pass.
    cross_correlation : bool
        Align by correlation, winner takes all.
    signal_r_max : int
        Fourier radius beyond which the reference holds nothing to compare with.
    insert_r_max : int
        Fourier radius up to which images are back-projected.
    precision : str
        Arithmetic of the exhaustive pass, see ``squared_difference.matrix_product``.
    """

    adaptive_fraction: float
    cross_correlation: bool
    signal_r_max: int
    insert_r_max: int
    precision: str = "float32"


class PoseScorer:
    """Log-weights of images over poses that differ from image to image.

    Parameters
    ----------
    model : HalfModel
    plan : SearchPlan
    preparer : ImagePreparer
    banks : sequence of SliceBank
        One per level of ``plan``.
    options : ExpectationOptions
    phase_count : int
        Coefficients that translations are prepared for.
    """

    def __init__(
        self,
        model: HalfModel,
        plan: SearchPlan,
        preparer: ImagePreparer,
        banks: Sequence[SliceBank],
        options: ExpectationOptions,
        phase_count: int,
    ) -> None:
        self.model = model
        self.plan = plan
        self.banks = banks
        self.options = options
        self.pixel_size = preparer.pixel_size
        self.device = preparer.device
        self.offsets_px = plan.offsets_px.to(self.device)
        self.fine_offsets_px = plan.fine_offsets_px.to(self.device)
        coordinates = preparer.coordinates
        fine = self.fine_offsets_px.reshape(-1, 2)
        self.coarse_phases = shift_phases(self.offsets_px, coordinates, phase_count)
        self.fine_phases = shift_phases(fine, coordinates, phase_count)

    def offset_log_prior(self, images: PreparedImages, offset_px: Tensor) -> Tensor:
        """Return the log prior of origins, ``(t, 2)`` or ``(b, t, 2)`` to ``(b, t)``."""
        if self.options.cross_correlation:
            return torch.zeros(len(images), offset_px.shape[-2], device=self.device)
        origin = (images.base_shift_px[:, None] + offset_px) * self.pixel_size
        prior: Tensor = -(origin**2).sum(-1) / (2 * self.model.sigma_offset_angstrom**2)
        return prior

    def score(
        self, images: PreparedImages, own: PoseCandidates, number: int
    ) -> tuple[Tensor, Tensor, TrialPoses]:
        """Return log-weights ``(b, t, o)``, slices, and poses of a pass."""
        level, bank = self.plan.levels[number], self.banks[number]
        count = bank.count
        slices = bank.lookup(own.orientation)
        squares = squared_parts(slices)
        if level.fine_offsets:
            offset_px = self.fine_offsets_px[own.offset].flatten(1, 2)
            children = self.fine_offsets_px.shape[1]
            number_of = torch.arange(children, device=self.device)
            fine = (own.offset[:, :, None] * children + number_of).flatten(1)
            valid = own.offset_valid.repeat_interleave(children, 1)
            phases = self.fine_phases[fine]
        else:
            offset_px, valid = self.offsets_px[own.offset], own.offset_valid
            phases = self.coarse_phases[own.offset]
        weighted = images.masked[:, :count] * images.ctf[:, :count]
        moved = shifted_images(weighted, phases[..., :count])
        ctf_power = images.ctf[:, :count] ** 2
        scores = gathered_log_likelihood(moved, ctf_power, slices, squares)
        if self.options.cross_correlation:
            power = gathered_power(ctf_power, squares)
            scores = correlation_from_terms(scores + 0.5 * power, power)
            scores = scores + torch.where(torch.isfinite(own.log_prior), 0.0, -torch.inf)[:, None]
        else:
            scores += own.log_prior[:, None]
        prior = self.offset_log_prior(images, offset_px)
        scores += torch.where(valid, prior, -torch.inf)[:, :, None]
        trial = TrialPoses(bank, own.orientation, offset_px, phases)
        return scores, slices, trial
