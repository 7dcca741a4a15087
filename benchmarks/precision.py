"""What tf32 and bfloat16 factors do to posteriors, emulated on the CPU.

A CUDA device that multiplies in tf32 or bfloat16 rounds the factors of a matrix product to 10 or 7
bits of mantissa and adds up in float32. Here the factors are rounded (to the nearest, ties to even;
for tf32 also cut off, in case a device does not round) before a float32 product; the power term
stays float32, as in the engine. Compared are posteriors of the exhaustive pass over all
orientations at several steps, and log-likelihoods near the top of each image's posterior.

The reference is the true map, low-passed; noise, offsets and directions are those that one
iteration from it finds. Nothing here needs or uses a GPU.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from measuring.datasets import REPOSITORY, Dataset, dataset
from measuring.tables import Row, markdown, write_table
from torch import Tensor

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.io.mrc import read_map
from napari_blush.io.star import read_particles
from napari_blush.likelihood.dense_pass import DenseProblem, dense_marginals
from napari_blush.likelihood.half_model import HalfModel
from napari_blush.likelihood.pose_scoring import ExpectationOptions, PoseScorer
from napari_blush.likelihood.posterior import significant
from napari_blush.likelihood.slice_bank import SliceBank
from napari_blush.likelihood.spectra import signal_r_max
from napari_blush.likelihood.squared_difference import (
    gathered_log_likelihood,
    shifted_images,
    squared_parts,
)
from napari_blush.numerics.orientation_grid import change_pixel_order
from napari_blush.refine.context import RefinementContext
from napari_blush.refine.half_expectation import image_preparer, reference_slices, search_plan
from napari_blush.refine.iteration import iterate
from napari_blush.refine.run import prepared_run
from napari_blush.refine.state import RefinementState

BATCH, TILE = 32, 1024
NEAR_TOP = 10.0  # log units below the best: a weight of 5e-5
ADAPTIVE_FRACTION = 0.999
TOP_ORIENTATIONS = 32
FLOAT32_BITS = 23


@dataclass(frozen=True)
class Factors:
    """What the factors of a product are rounded to: bits of mantissa, to the nearest or cut off."""

    name: str
    bits: int
    nearest: bool = True


SETTINGS = (
    Factors("float32", FLOAT32_BITS),
    Factors("tf32", 10),
    Factors("tf32, cut off", 10, nearest=False),
    Factors("bfloat16", 7),
)


def main() -> None:
    """Measure what the command line asks for and print the table."""
    options = parse()
    rows: list[Row] = []
    with torch.no_grad():
        for data in (sample_data(), dataset("tiny64")):
            if data.folder.is_dir():
                context, state = start(data, options.resolution)
                for order in options.orders:
                    rows += exhaustive_pass(data, context, state, order, options.images)
    text = markdown(rows)
    print(text)
    for path in options.output:
        write_table(path, rows, text)


def parse() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--orders", type=int, nargs="+", default=[2, 3], help="HEALPix orders of the pass"
    )
    parser.add_argument(
        "--resolution", type=float, default=12.0, help="of the reference, in angstrom"
    )
    parser.add_argument("--images", type=int, default=250, help="at most so many, of half 1")
    parser.add_argument(
        "--output", type=Path, nargs="+", default=[], help="files to write: .md or .tsv"
    )
    return parser.parse_args()


def sample_data() -> Dataset:
    """Return the data set that the repository holds."""
    names = ("particles.star", "start_map.mrc", "mask.mrc", "truth/truth.mrc")
    poses = "truth/truth_poses.star"
    folder = REPOSITORY / "sample_data"
    return Dataset("sample_data", folder, *names, poses, "C1", 160.0, 40.0, use_mask=False)


def start(data: Dataset, resolution: float) -> tuple[RefinementContext, RefinementState]:
    """Return a refinement with the true map at ``resolution`` as reference of half 1."""
    truth = read_map(data.folder / data.truth)
    settings = RefinementSettings(
        particle_diameter=data.particle_diameter,
        symmetry=data.symmetry,
        initial_low_pass=resolution,
        first_iteration_cc=False,
        device="cpu",
        seed=1,
    )
    particles = read_particles(data.folder / data.particles)
    context, state, _ = prepared_run(
        settings, particles, (truth.volume, truth.voxel_size), None, None, None
    )
    reference = state.models[0].reference
    shell = state.progress.resolution_shell
    events = iterate(context, state, 2 * shell)
    while True:
        try:
            next(events)
        except StopIteration as finished:
            state = finished.value
            break
    return context, replace(
        state, models=(replace(state.models[0], reference=reference), state.models[1])
    )


class Batch(NamedTuple):
    """Images against all orientations: the pass, its slices, shifted images and their weights."""

    bank: SliceBank
    problem: DenseProblem


def batches(
    context: RefinementContext, state: RefinementState, order: int, n_images: int
) -> Iterator[Batch]:
    """Yield the exhaustive pass at an order, batch by batch, as the engine would run it."""
    model = state.models[0]
    sampling = replace(state.sampling, healpix_order=order)
    steady = replace(
        context, settings=context.settings.model_copy(update={"exhaustive_order": order})
    )
    limit = context.geometry.box_size // 2
    plan = search_plan(steady, sampling, 2 * limit)
    r_signal = signal_r_max(model.reference, model.sigma2_noise, context.coordinates, limit)
    bank = SliceBank(
        reference_slices(context, model, r_signal),
        plan.levels[0].grid,
        context.coordinates,
        r_max=min(plan.levels[0].r_max, r_signal),
        perturbation=plan.perturbation,
    )
    bank.cover(torch.arange(bank.grid.n_pixels), keep=bank.grid.order <= 3)
    preparer = image_preparer(context, whiten=True)
    options = ExpectationOptions(ADAPTIVE_FRACTION, False, r_signal, r_signal)
    scorer = PoseScorer(model, plan, preparer, [bank], options, bank.count)
    prior = direction_prior(model, bank)
    index = torch.nonzero(state.random_subset == 1).flatten()[:n_images]
    for chosen in index.split(BATCH):
        shifts = state.poses.shifts_angstrom[chosen] / context.geometry.pixel_size
        images = preparer.prepare(chosen, shifts, state.norm[chosen], model, bank.count)
        yield Batch(
            bank,
            DenseProblem(
                shifted_images(images.masked * images.ctf, scorer.coarse_phases),
                images.ctf**2,
                scorer.offset_log_prior(images, scorer.offsets_px),
                prior,
                TILE,
            ),
        )


def direction_prior(model: HalfModel, bank: SliceBank) -> Tensor:
    """Return the log prior of the covered orientations."""
    pdf = change_pixel_order(model.pdf_direction, model.pdf_order, bank.grid.order)
    return torch.log(pdf.clamp(min=1e-30)).float()[bank.grid.pixel_of(bank.covered)]


def exhaustive_pass(
    data: Dataset, context: RefinementContext, state: RefinementState, order: int, n_images: int
) -> list[Row]:
    """Return a row per setting of the exhaustive pass at an order."""
    found: dict[str, list[Tensor]] = {setting.name: [] for setting in SETTINGS}
    for bank, problem in batches(context, state, order, n_images):
        exact = dense_marginals(problem, bank).orientation
        top = top_errors(problem, bank, exact)
        for setting in SETTINGS:
            is_exact = setting.bits == FLOAT32_BITS
            coarse = exact if is_exact else with_factors(problem, bank, setting)
            found[setting.name].append(torch.stack([*compared(exact, coarse), *top[setting.name]]))
    rows: list[Row] = []
    for name, parts in found.items():
        distance, lost_best, lost_mass, squared, near, largest = torch.cat(parts, 1)
        rows.append(
            {
                "data": data.name,
                "step (deg)": bank.grid.step_deg,
                "coefficients": bank.count,
                "images": len(distance),
                "factors": name,
                "TV mean": float(distance.mean()),
                "TV max": float(distance.max()),
                "best lost (%)": 100 * float(lost_best.mean()),
                "mass lost max": float(lost_mass.max()),
                "log L error rms": float((squared.sum() / near.sum()).sqrt()),
                "log L error max": float(largest.max()),
            }
        )
    return rows


class WithFactors(SliceBank):
    """A bank whose slices are rounded where they are factors; their power is not.

    Parameters
    ----------
    bank : SliceBank
        Covered already.
    factors : Factors
    """

    def __init__(self, bank: SliceBank, factors: Factors) -> None:
        self.__dict__.update(bank.__dict__)
        self._factors = factors

    def tile(self, part: slice) -> tuple[Tensor, Tensor]:
        """Return covered slices as factors, and their squared magnitudes."""
        slices, power = super().tile(part)
        return as_factors(slices, self._factors), power


def with_factors(problem: DenseProblem, bank: SliceBank, factors: Factors) -> Tensor:
    """Return the marginal of orientations, ``(b, o)``, with rounded factors."""
    problem = problem._replace(images=as_factors(problem.images, factors))
    return dense_marginals(problem, WithFactors(bank, factors)).orientation


def compared(exact: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what changed between two log marginals ``(b, o)``, each ``(b,)``.

    Total-variation distance; whether the best orientation of the first is outside the significant
    set of the second; and how much of the first's posterior is.
    """
    p, q = torch.softmax(exact.double(), 1), torch.softmax(coarse.double(), 1)
    kept = significant(coarse, ADAPTIVE_FRACTION)
    best = exact.argmax(1, keepdim=True)
    return (p - q).abs().sum(1) / 2, (~kept.gather(1, best)[:, 0]).double(), (p * ~kept).sum(1)


def top_errors(
    problem: DenseProblem, bank: SliceBank, exact: Tensor
) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Return errors of log-likelihoods near the top, against float64, of each setting.

    Sum of squares, number and largest, each ``(b,)``, of an image's errors about their mean: what
    all poses of an image have in common does not change its posterior.
    """
    best = exact.topk(TOP_ORIENTATIONS, 1).indices
    slices = bank.lookup(bank.covered[best]).clone()
    double = slices.to(torch.complex128)
    truth = gathered_log_likelihood(
        problem.images.to(torch.complex128),
        problem.ctf_power.double(),
        double,
        squared_parts(double),
    )
    weights = truth + problem.offset_log_prior[:, :, None]
    weights += problem.orientation_log_prior[best][:, None]
    near = weights > weights.amax((1, 2), keepdim=True) - NEAR_TOP
    found = {}
    for factors in SETTINGS:
        scores = gathered_log_likelihood(
            as_factors(problem.images, factors),
            problem.ctf_power,
            as_factors(slices, factors),
            squared_parts(slices),
        )
        count = near.sum((1, 2))
        error = (scores - truth) * near
        error = (error - (error.sum((1, 2)) / count)[:, None, None]) * near
        found[factors.name] = error.square().sum((1, 2)), count, error.abs().amax((1, 2))
    return found


def as_factors(values: Tensor, factors: Factors) -> Tensor:
    """Return complex64 values with real and imaginary parts rounded as factors of a product."""
    parts = torch.view_as_real(values).contiguous()
    return torch.view_as_complex(rounded(parts, factors.bits, nearest=factors.nearest))


def rounded(values: Tensor, bits: int, *, nearest: bool = True) -> Tensor:
    """Return float32 values with ``bits`` of mantissa: nearest, ties to even, or cut off."""
    dropped = FLOAT32_BITS - bits
    if dropped == 0:
        return values
    word = values.view(torch.int32)
    if nearest:
        word = word + (2 ** (dropped - 1) - 1) + ((word >> dropped) & 1)
    return (word & -(2**dropped)).view(torch.float32)


if __name__ == "__main__":
    main()
