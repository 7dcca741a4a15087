"""Sets up and runs the E-step of one half of the data."""

from collections.abc import Generator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from napari_blush.data_model.poses import Poses
from napari_blush.data_model.results import SamplingState
from napari_blush.errors import RefinementError
from napari_blush.likelihood.expectation import Expectation
from napari_blush.likelihood.half_model import HalfModel
from napari_blush.likelihood.pose_scoring import ExpectationOptions
from napari_blush.likelihood.posterior_sums import PosteriorSums
from napari_blush.likelihood.prepared_images import ImagePreparation, ImagePreparer
from napari_blush.likelihood.search_plan import SearchPlan, make_search_plan
from napari_blush.likelihood.slice_bank import SliceBank
from napari_blush.likelihood.spectra import signal_r_max
from napari_blush.likelihood.weighted_sums import ImageOutcomes, WeightedSums
from napari_blush.numerics.devices import is_out_of_memory
from napari_blush.numerics.orientation_grid import asymmetric_pixels, change_pixel_order
from napari_blush.numerics.slice_extraction import CentralSlices
from napari_blush.numerics.slice_insertion import SliceAccumulator
from napari_blush.refine.context import RefinementContext
from napari_blush.refine.helical import near_equator

LOOKUPS_PER_IMAGE = 30  # slices an image asks a finer pass for, roughly: decides what is kept


@dataclass(frozen=True, slots=True)
class HalfJob:
    """One half of one iteration.

    ``index (m,)`` are its rows of the particle table; ``sampling`` and ``current_size`` those of
    the iteration; ``cross_correlation`` for the first one. ``notes`` collects what a person should
    be told.
    """

    index: Tensor
    model: HalfModel
    poses: Poses
    norm: Tensor
    plan: SearchPlan
    current_size: int
    cross_correlation: bool
    notes: list[str] = field(default_factory=list)


def image_preparer(context: RefinementContext, *, whiten: bool) -> ImagePreparer:
    """Return the reader of images of a run."""
    radius = context.geometry.particle_diameter / 2 / context.geometry.pixel_size
    return ImagePreparer(
        context.particles,
        context.coordinates,
        context.device,
        ImagePreparation(
            mask_radius_px=radius,
            zero_mask=context.settings.zero_mask,
            normalize_background=context.normalize_background,
            whiten=whiten,
            seed=context.settings.seed,
        ),
    )


def search_plan(
    context: RefinementContext, sampling: SamplingState, current_size: int
) -> SearchPlan:
    """Return the passes of an iteration."""
    return make_search_plan(
        sampling,
        box_size=context.geometry.box_size,
        pixel_size=context.geometry.pixel_size,
        particle_diameter=context.geometry.particle_diameter,
        current_size=current_size,
        exhaustive_order=context.settings.exhaustive_order,
    )


def reference_slices(context: RefinementContext, model: HalfModel, r_max: int) -> CentralSlices:
    """Return the projector of a half's reference, in the units of ``HalfModel``."""
    volume = model.reference.to(context.device) / context.geometry.box_size
    return CentralSlices(volume, r_max=max(r_max, 1), padding=context.settings.padding)


def expect_half(
    context: RefinementContext, job: HalfJob, outcomes: ImageOutcomes
) -> Generator[int, None, WeightedSums]:
    """Run the E-step of one half; yield images done; return its ``WeightedSums``.

    When memory runs out it begins again with smaller batches, and says so in ``job.notes``.
    """
    while True:
        try:
            return (yield from _expect_once(context, job, outcomes))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if not context.budget.shrink():
                raise RefinementError(
                    f"Memory ran out with the smallest batches on {context.device}; wanted room "
                    "for the padded maps and one image; use --padding 1, smaller boxes, or a "
                    "device with more memory."
                ) from error
        batch = context.budget.current.particle_batch
        job.notes.append(
            f"Memory ran out on {context.device}: the E-step of this half began again with "
            f"batches of {batch} images; slower, the result is the same."
        )
        if context.device.type == "cuda":
            torch.cuda.empty_cache()


def _expect_once(
    context: RefinementContext, job: HalfJob, outcomes: ImageOutcomes
) -> Generator[int, None, WeightedSums]:
    """Run the E-step of one half with the budget as it is."""
    n = context.geometry.box_size
    r_insert = min(job.current_size // 2, context.coordinates.r_max)
    r_signal = signal_r_max(
        job.model.reference, job.model.sigma2_noise, context.coordinates.to("cpu"), r_insert
    )
    accumulator = SliceAccumulator(
        n, r_max=r_insert, padding=context.settings.padding, device=context.device
    )
    sums = empty_sums(context, job.model, accumulator)
    projector = reference_slices(context, job.model, r_signal)
    options = ExpectationOptions(
        adaptive_fraction=context.settings.adaptive_fraction,
        cross_correlation=job.cross_correlation,
        signal_r_max=r_signal,
        insert_r_max=r_insert,
        precision=context.settings.precision,
    )
    preparer = image_preparer(context, whiten=not job.cross_correlation)
    priors = _direction_log_priors(context, job)
    posterior_sums = PosteriorSums(
        sums,
        outcomes,
        context.particles,
        job.model,
        context.coordinates,
        context.coordinates.count(r_insert),
    )
    done = 0
    for matrix, rows in _by_slice_matrix(preparer, job.index):
        banks = _slice_banks(context, job, projector, r_signal, matrix, priors)
        step = Expectation(
            job.model,
            job.plan,
            preparer,
            banks,
            priors,
            posterior_sums,
            options,
            context.budget.current,
        )
        for count in step.run(job.index[rows], rows, job.poses, job.norm):
            yield done + count
        done += len(rows)
    return sums


def empty_sums(
    context: RefinementContext, model: HalfModel, accumulator: SliceAccumulator
) -> WeightedSums:
    """Return sums of nothing."""
    groups = len(context.particles.optics_groups)
    shells = context.geometry.box_size // 2 + 1
    scales = len(context.particles.group_names)

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(*shape, dtype=torch.float64)

    return WeightedSums(
        accumulator,
        zeros(groups, shells),
        zeros(groups),
        0.0,
        zeros(len(model.pdf_direction)),
        zeros(scales),
        zeros(scales),
    )


def _direction_log_priors(context: RefinementContext, job: HalfJob) -> list[Tensor]:
    """Return the log prior of each level's pixels, minus infinity outside the asymmetric unit."""
    priors = []
    last = job.plan.levels[-1].grid.order
    for level in job.plan.levels:
        order = level.grid.order
        pdf = change_pixel_order(job.model.pdf_direction, job.model.pdf_order, order)
        log_prior = torch.log(pdf.clamp(min=1e-30)).to(torch.float32)
        if job.plan.local_sigma_deg is None:
            allowed = torch.zeros(level.grid.n_pixels, dtype=torch.bool)
            pixels = asymmetric_pixels(order, context.operators, descend=last - order)
            allowed[pixels] = True
            if context.helix is not None:
                tilt = context.settings.helical_tilt_range
                allowed &= near_equator(order, tilt, descend=last - order)
            log_prior[~allowed] = -torch.inf
        priors.append(log_prior.to(context.device))
    return priors


def _slice_banks(
    context: RefinementContext,
    job: HalfJob,
    projector: CentralSlices,
    r_signal: int,
    matrix: Tensor | None,
    priors: list[Tensor],
) -> list[SliceBank]:
    """Return the slices of each level, the tables kept that will pay for themselves."""
    banks = []
    is_local = job.plan.local_sigma_deg is not None
    for number, level in enumerate(job.plan.levels):
        bank = SliceBank(
            projector,
            level.grid,
            context.coordinates,
            r_max=min(level.r_max, r_signal),
            perturbation=job.plan.perturbation,
            slice_matrix=matrix,
        )
        pixels = torch.nonzero(torch.isfinite(priors[number])).flatten()
        slices = len(pixels) * level.grid.n_psi
        fits = slices * bank.bytes_per_slice <= context.budget.current.table_bytes
        worth = slices <= LOOKUPS_PER_IMAGE * len(job.index)
        keep = fits and (worth or number == 0)
        if not is_local and (number == 0 or keep):
            bank.cover(pixels, keep=keep)
        banks.append(bank)
    return banks


def _by_slice_matrix(preparer: ImagePreparer, index: Tensor) -> list[tuple[Tensor | None, Tensor]]:
    """Return rows of ``index`` grouped by the anisotropic magnification of their optics."""
    groups = preparer.particles.optics_group_index[index]
    found: dict[tuple[float, ...], tuple[Tensor | None, list[Tensor]]] = {}
    for group in torch.unique(groups).tolist():
        matrix = preparer.slice_matrix(group)
        key = () if matrix is None else tuple(matrix.flatten().tolist())
        rows = torch.nonzero(groups == group).flatten()
        found.setdefault(key, (matrix, []))[1].append(rows)
    return [(matrix, torch.sort(torch.cat(rows)).values) for matrix, rows in found.values()]
