"""The E-step of one half: every image against every pose worth trying, batch by batch.

One batch runs through the passes of a ``SearchPlan``. A global search starts with the exhaustive
pass (``dense_pass``); what holds ``adaptive_fraction`` of the posterior goes on to the next, finer
pass, gathered image by image; the last pass also halves the translation steps. An image whose
posterior is so broad that finer steps would only sample the same smooth function more densely
stops early and enters the sums at the grid of that pass.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from napari_blush.data_model.poses import Poses
from napari_blush.likelihood.broad_posterior import BroadPosteriorSums
from napari_blush.likelihood.dense_pass import (
    DenseProblem,
    Marginals,
    dense_correlation_maxima,
    dense_marginals,
)
from napari_blush.likelihood.half_model import HalfModel
from napari_blush.likelihood.local_search import LocalSearch
from napari_blush.likelihood.pose_candidates import (
    PoseCandidates,
    candidates_from_mask,
    refine_candidates,
)
from napari_blush.likelihood.pose_scoring import ExpectationOptions, PoseScorer
from napari_blush.likelihood.posterior import (
    log_sum_exp,
    posterior_weights,
    significant,
    winner_takes_all,
)
from napari_blush.likelihood.posterior_sums import PosteriorSums
from napari_blush.likelihood.prepared_images import ImagePreparer, PreparedImages
from napari_blush.likelihood.search_plan import SearchPlan
from napari_blush.likelihood.slice_bank import SliceBank
from napari_blush.likelihood.squared_difference import shifted_images
from napari_blush.likelihood.work_budget import WorkBudget
from napari_blush.numerics.packing import PackedCoordinates

BROAD_FRACTION = 0.03  # an exhaustive pass with more of its grid significant is broad
PRELIMINARY_TAIL = 1e-3  # of what else is dropped: cells wider than the posterior misjudge it
CC_ORIENTATIONS, CC_OFFSETS = 16, 6  # kept between passes of alignment by cross-correlation


class Expectation:
    """One E-step of one half.

    Parameters
    ----------
    model : HalfModel
    plan : SearchPlan
    preparer : ImagePreparer
    banks : sequence of SliceBank
        One per level of ``plan``, slices of ``model.reference``; the first one of a global search
        must be kept.
    direction_log_priors : sequence of (pixels,) float32
        One per level: log prior of each pixel, minus infinity outside the asymmetric unit.
    sums : PosteriorSums
    coordinates : PackedCoordinates
    options : ExpectationOptions
    budget : WorkBudget
    """

    def __init__(
        self,
        model: HalfModel,
        plan: SearchPlan,
        preparer: ImagePreparer,
        banks: Sequence[SliceBank],
        direction_log_priors: Sequence[Tensor],
        sums: PosteriorSums,
        options: ExpectationOptions,
        budget: WorkBudget,
    ) -> None:
        self.model = model
        self.plan = plan
        self.preparer = preparer
        self.coordinates: PackedCoordinates = preparer.coordinates
        self.banks = banks
        self.direction_log_priors = direction_log_priors
        self.sums = sums
        self.options = options
        self.budget = budget
        self.device = preparer.device
        self.insert_count = self.coordinates.count(options.insert_r_max)
        self.scorer = PoseScorer(model, plan, preparer, banks, options, self.insert_count)
        self.offsets_px = self.scorer.offsets_px
        self.broad = BroadPosteriorSums(sums, banks[0], self.insert_count)

    def run(self, index: Tensor, rows: Tensor, poses: Poses, norm: Tensor) -> Iterator[int]:
        """Process images, yielding how many are done after each batch.

        Parameters
        ----------
        index : (m,) int64
            Rows of the particle table.
        rows : (m,) int64
            Rows in the outcomes of this half.
        poses : Poses
            Old poses of all particles.
        norm : (particles,) float64
            Old norm corrections of all particles.
        """
        done = 0
        for start in range(0, len(index), self.budget.particle_batch):
            part = slice(start, start + self.budget.particle_batch)
            chosen = index[part]
            shifts_px = poses.shifts_angstrom[chosen] / self.preparer.pixel_size
            images = self.preparer.prepare(
                chosen, shifts_px, norm[chosen], self.model, self.insert_count
            )
            self._process(images, rows[part], poses.rotations[chosen])
            done += len(chosen)
            yield done
        self.broad.insert()

    def _process(self, images: PreparedImages, rows: Tensor, rotations: Tensor) -> None:
        """Take one batch through all passes."""
        local = None
        if self.plan.local_sigma_deg is None:
            images, rows, candidates = self._exhaustive(images, rows)
            if candidates is None:
                return
        else:
            local = LocalSearch(self.plan, rotations, self.device)
            candidates = local.start()
        # The exhaustive pass was level 0, unless what it left still has to enter the sums there.
        only_one = len(self.plan.levels) == 1
        first = 0 if self.plan.local_sigma_deg is not None or only_one else 1
        for number in range(first, len(self.plan.levels)):
            if number > 0:
                candidates = self._descend(candidates, number, local)
            if self.plan.levels[number].last:
                self._last_pass(images, rows, candidates, number)
            else:
                candidates = self._gathered_pass(images, candidates, number)

    def _exhaustive(
        self, images: PreparedImages, rows: Tensor
    ) -> tuple[PreparedImages, Tensor, PoseCandidates | None]:
        """Compare with the whole first grid; return the images that go on and their candidates."""
        level, bank = self.plan.levels[0], self.banks[0]
        count = bank.count
        weighted = images.masked[:, :count] * images.ctf[:, :count]
        prior = self.direction_log_priors[0][bank.grid.pixel_of(bank.covered)]
        if self.options.cross_correlation:
            prior = torch.where(torch.isfinite(prior), 0.0, prior)
        problem = DenseProblem(
            images=shifted_images(weighted, self.scorer.coarse_phases[:, :count]),
            ctf_power=images.ctf[:, :count] ** 2,
            offset_log_prior=self.scorer.offset_log_prior(images, self.offsets_px),
            orientation_log_prior=prior,
            tile=self.budget.dense_tile(len(images) * len(self.offsets_px)),
            precision=self.options.precision,
        )
        if self.options.cross_correlation:
            marginals = dense_correlation_maxima(problem, bank)
        else:
            marginals = dense_marginals(problem, bank)
            resolved = level.r_max >= self.options.signal_r_max
            if resolved or level.last:
                kept = significant(marginals.orientation, self.options.adaptive_fraction)
                limit = 0 if level.last else BROAD_FRACTION * len(bank.covered)
                broad = kept.sum(1) > limit
                if bool(broad.any()):
                    self._stop_early(images, rows, problem, marginals, kept, broad)
                    images, rows = images.rows(~broad), rows[~broad.cpu()]
                    marginals = Marginals(*(m[~broad] for m in marginals))
        if len(images) == 0:
            return images, rows, None
        orientation = bank.covered[None].expand(len(images), -1)
        prior = prior[None].expand(len(images), -1)
        return images, rows, self._keep(marginals, orientation, prior, None)

    def _stop_early(
        self,
        images: PreparedImages,
        rows: Tensor,
        problem: DenseProblem,
        marginals: Marginals,
        kept: Tensor,
        broad: Tensor,
    ) -> None:
        """Let images with broad posteriors enter the sums at the first grid."""
        self.broad.add(
            images.rows(broad),
            rows[broad.cpu()],
            problem._replace(
                images=problem.images[broad],
                ctf_power=problem.ctf_power[broad],
                offset_log_prior=problem.offset_log_prior[broad],
            ),
            marginals.orientation[broad],
            kept[broad],
            self.offsets_px,
            self.scorer.coarse_phases,
        )

    def _gathered_pass(
        self, images: PreparedImages, candidates: PoseCandidates, number: int
    ) -> PoseCandidates:
        """Run an intermediate pass; return the candidates of the next one."""
        parts: list[tuple[Tensor, PoseCandidates]] = []
        for chosen in self._sub_batches(candidates, number):
            own = candidates.rows(chosen)
            part = images.rows(chosen)
            scores, _, _ = self.scorer.score(part, own, number)
            if self.options.cross_correlation:
                marginals = Marginals(scores.amax(1), scores.amax(2))
            else:
                marginals = Marginals(log_sum_exp(scores, 1), log_sum_exp(scores, 2))
            kept = self._keep(
                marginals, own.orientation, own.log_prior, own, preliminary=number == 0
            )
            parts.append((chosen, kept))
        return _in_order(parts)

    def _last_pass(
        self, images: PreparedImages, rows: Tensor, candidates: PoseCandidates, number: int
    ) -> None:
        """Run the finest pass and add its posterior to the sums."""
        for chosen in self._sub_batches(candidates, number):
            own = candidates.rows(chosen)
            part = images.rows(chosen)
            scores, slices, trial = self.scorer.score(part, own, number)
            if self.options.cross_correlation:
                posterior = winner_takes_all(scores)
            else:
                posterior = posterior_weights(scores, self.options.adaptive_fraction)
            self.sums.add_gathered(part, rows[chosen.cpu()], trial, slices, posterior)

    def _descend(
        self, candidates: PoseCandidates, number: int, local: LocalSearch | None
    ) -> PoseCandidates:
        """Return the candidates on the grid of pass ``number``."""
        grid = self.plan.levels[number - 1].grid
        if local is not None:
            return local.with_prior(refine_candidates(candidates, grid, None), number)
        pixel_prior = self.direction_log_priors[number]
        finer = refine_candidates(candidates, grid, torch.isfinite(pixel_prior))
        valid = torch.isfinite(finer.log_prior)
        pixel = self.plan.levels[number].grid.pixel_of(finer.orientation)
        prior = torch.where(valid, pixel_prior[pixel], -torch.inf)
        return PoseCandidates(finer.orientation, prior, finer.offset, finer.offset_valid)

    def _keep(
        self,
        marginals: Marginals,
        orientation: Tensor,
        log_prior: Tensor,
        own: PoseCandidates | None,
        *,
        preliminary: bool = False,
    ) -> PoseCandidates:
        """Return the significant part of a pass's candidates; more after a preliminary pass."""
        if own is None:
            b = len(marginals.offset)
            offset = torch.arange(len(self.offsets_px), device=self.device)[None].expand(b, -1)
        else:
            offset = own.offset
        if self.options.cross_correlation:
            kept = _top(marginals.orientation, CC_ORIENTATIONS)
            offset_kept = _top(marginals.offset, CC_OFFSETS)
        else:
            fraction = self.options.adaptive_fraction
            if preliminary:
                fraction = 1 - PRELIMINARY_TAIL * (1 - fraction)
            kept = significant(marginals.orientation, fraction)
            offset_kept = significant(marginals.offset, fraction)
        return candidates_from_mask(orientation, log_prior, kept, offset, offset_kept)

    def _sub_batches(self, candidates: PoseCandidates, number: int) -> Iterator[Tensor]:
        """Yield rows of the batch that are gathered together, of similar length."""
        counts = candidates.counts.cpu()
        order = torch.argsort(counts)
        per_slice = 20 * self.banks[number].count
        start = 0
        while start < len(order):
            stop = start + 1
            while stop < len(order):
                widest = int(counts[order[stop]])
                if (stop + 1 - start) * widest * per_slice > self.budget.gather_bytes:
                    break
                stop += 1
            yield order[start:stop]
            start = stop


def _top(scores: Tensor, k: int) -> Tensor:
    """Return which entries of ``(b, m)`` are among the ``k`` best finite ones of their row."""
    threshold = torch.topk(scores, min(k, scores.shape[1]), dim=1).values[:, -1:]
    return (scores >= threshold) & torch.isfinite(scores)


def _in_order(parts: list[tuple[Tensor, PoseCandidates]]) -> PoseCandidates:
    """Join candidates of sub-batches back into the order of the batch."""
    rows = torch.cat([chosen for chosen, _ in parts])
    back = torch.argsort(rows)

    def joined(name: str, fill: float) -> Tensor:
        tensors = [getattr(part, name) for _, part in parts]
        width = max(t.shape[1] for t in tensors)
        padded = [torch.nn.functional.pad(t, (0, width - t.shape[1]), value=fill) for t in tensors]
        return torch.cat(padded)[back]

    return PoseCandidates(
        joined("orientation", 0),
        joined("log_prior", -torch.inf),
        joined("offset", 0),
        joined("offset_valid", False),
    )
