"""What the E-step makes of the machine's matrix products, and where an iteration's time goes.

For made-up particles of several box sizes, on one thread (the engine runs the halves side by side,
each as a stream of its own): achieved GFLOP/s of the exhaustive (coarse) pass and of the gathered
(fine) passes over the ceiling, a large float32 matrix product measured in the same run, in
interleaved rounds, best of all. Then the time of a whole iteration, global and local, by stage.
Times are CPU times of the thread, so that other programs on the machine disturb little; operations
are those of matrix products only, so exponentials, gathers and interpolation lower the figure.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from measuring.stage_clock import PRODUCTS, StageClock, product_ceiling
from measuring.tables import Row, markdown, write_table
from torch import Tensor

from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.particles import Particles
from napari_blush.data_model.poses import Poses
from napari_blush.data_model.results import SamplingState
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.likelihood.dense_pass import DenseProblem, dense_marginals
from napari_blush.likelihood.slice_bank import SliceBank
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.orientation_grid import OrientationGrid
from napari_blush.numerics.packing import packed_coordinates
from napari_blush.numerics.rotations import random_rotations
from napari_blush.numerics.slice_extraction import CentralSlices
from napari_blush.refine.context import RefinementContext
from napari_blush.refine.iteration import iterate
from napari_blush.refine.run import prepared_run
from napari_blush.refine.state import RefinementState
from napari_blush.simulation.exposure import DefocusPlan, draw_exposure
from napari_blush.simulation.images import ProjectedImages, scale_for_snr, simulate_particles
from napari_blush.simulation.phantoms import random_blobs

READING, CTF, SLICES = "reading, mask, FFT", "CTF", "slices"
SHIFTS, CANDIDATES, POSTERIOR = "shifts", "candidates", "exponentials, reductions"
INSERTION = "insertion"
REFERENCE, RECONSTRUCTION = "transform of the reference", "reconstruction, FSC"
PER_PARTICLE = (READING, CTF, SLICES, PRODUCTS, POSTERIOR, SHIFTS, CANDIDATES, INSERTION)
ONCE = (REFERENCE, RECONSTRUCTION, "other")
_STAGE_OF_ROOM = {
    "likelihood.prepared_images": READING,
    "likelihood.spectra": REFERENCE,
    "numerics.ctf": CTF,
    "refine.half_expectation:reference_slices": REFERENCE,
    "numerics.slice_extraction:__init__": REFERENCE,
    "numerics.padded_transform": REFERENCE,
    "numerics.slice_extraction": SLICES,
    "likelihood.slice_bank": SLICES,
    "likelihood.squared_difference:squared_parts": SLICES,
    "likelihood.squared_difference:shifted_images": SHIFTS,
    "numerics.packing:shift_phases": SHIFTS,
    "likelihood.posterior": POSTERIOR,
    "likelihood.dense_pass": POSTERIOR,
    "likelihood.broad_posterior": POSTERIOR,
    "likelihood.squared_difference": POSTERIOR,
    "likelihood.posterior_sums": POSTERIOR,
    "likelihood.posterior_sums:_insert": INSERTION,
    "likelihood.expectation": CANDIDATES,
    "likelihood.pose_scoring": SHIFTS,
    "likelihood.pose_candidates": CANDIDATES,
    "numerics.orientation_grid": CANDIDATES,
    "numerics.slice_insertion": INSERTION,
    "likelihood.reconstruction": RECONSTRUCTION,
    "likelihood.maximization": RECONSTRUCTION,
    "refine.half_comparison": RECONSTRUCTION,
    "refine.iteration": RECONSTRUCTION,
}
STAGE_OF = {f"napari_blush.{room}": stage for room, stage in _STAGE_OF_ROOM.items()}
PASS_OF_FUNCTION = {
    "_exhaustive": "coarse",
    "_gathered_pass": "fine",
    "_last_pass": "fine",
    "prepare": "images",
}
PRODUCTS_WITHIN = frozenset({POSTERIOR, CANDIDATES, SHIFTS, INSERTION})
SNR = 0.1


@dataclass(frozen=True)
class Problem:
    """A made-up refinement: box, pixel (angstrom), particles, resolution looked at (angstrom)."""

    box_size: int
    pixel_size: float
    n_particles: int
    resolution: float

    @property
    def diameter(self) -> float:
        """Particle diameter in angstrom."""
        return 0.8 * self.box_size * self.pixel_size

    @property
    def current_size(self) -> int:
        """Image size looked at, in px."""
        return 2 * round(self.box_size * self.pixel_size / self.resolution)


PROBLEMS = {
    64: Problem(64, 3.0, 256, 7.5),
    128: Problem(128, 1.5, 128, 6.0),
    256: Problem(256, 1.2, 48, 6.0),
}


def main() -> None:
    """Measure what the command line asks for and print the tables."""
    options = parse()
    torch.set_num_threads(1)
    ceiling = product_ceiling()
    passes: list[Row] = []
    splits: list[Row] = []
    with torch.no_grad():
        for box in options.boxes:
            problem = PROBLEMS[box]
            for order in (2, 3):
                passes.append(coarse_pass(problem, order, ceiling, options.rounds))
            context, state = start(problem)
            for kind, sampling in samplings(problem).items():
                reached, split_up = iteration(
                    problem, kind, context, replace(state, sampling=sampling), ceiling
                )
                passes += reached
                splits += split_up
    text = "\n\n".join(
        [
            "GFLOP/s of matrix products over the ceiling of one thread:",
            markdown(passes),
            "CPU milliseconds per particle of one iteration by pass and stage, and seconds of what "
            "it does once:",
            markdown(splits),
        ]
    )
    print(text)
    for path in options.output:
        write_table(path, passes, text)


def parse() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boxes", type=int, nargs="+", choices=PROBLEMS, default=[64, 128, 256])
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds, best counts")
    parser.add_argument(
        "--output", type=Path, nargs="+", default=[], help="files to write: .md or .tsv"
    )
    return parser.parse_args()


def coarse_pass(
    problem: Problem, order: int, ceiling: Callable[[], float], rounds: int
) -> dict[str, object]:
    """Measure the exhaustive pass by itself, on random numbers of its true shapes."""
    step = OrientationGrid(order).step_deg
    rim = step / 360 * torch.pi * problem.diameter
    length = problem.box_size * problem.pixel_size
    coordinates = packed_coordinates(problem.box_size, problem.box_size // 2)
    r_max = int(min(-(-length // (rim / 1.2)), problem.current_size // 2))
    count = coordinates.count(r_max)
    n = problem.box_size
    volume = torch.randn(n, n, n) / n**1.5
    bank = SliceBank(
        CentralSlices(volume, r_max=r_max),
        OrientationGrid(order),
        coordinates,
        r_max=r_max,
        perturbation=torch.eye(3, dtype=torch.float64),
    )
    bank.cover(
        torch.arange(bank.grid.n_pixels if order == 2 else bank.grid.n_pixels // 4), keep=True
    )
    # As in a run: 32 images of a batch, 21 translations, tiles as the budget of a CPU sets them.
    b, t, o = 32, 21, len(bank.covered)
    tile = max(64, 2**19 // (b * t))
    images = torch.randn(b, t, count, dtype=torch.complex64) / count**0.5
    dense = DenseProblem(
        images, torch.rand(b, count) / count, torch.zeros(b, t), torch.zeros(o), tile
    )
    operations = 4.0 * b * t * o * count + 2.0 * b * o * count
    rows = torch.view_as_real(images).reshape(b * t, -1)
    table = torch.view_as_real(bank.tile(slice(0, o))[0]).reshape(o, -1)
    best = {"ceiling": 0.0, "products": 0.0, "pass": 0.0}
    for _ in range(rounds):
        best["ceiling"] = max(best["ceiling"], ceiling())
        products = gigaflops(lambda: tiles_of_products(rows, table, tile), operations)
        best["products"] = max(best["products"], products)
        whole = gigaflops(lambda: dense_marginals(dense, bank), operations)
        best["pass"] = max(best["pass"], whole)
    return {
        "box": problem.box_size,
        "pass": f"coarse alone, {step:g} deg",
        "coefficients": count,
        "GFLOP/s": best["pass"],
        "of ceiling": best["pass"] / best["ceiling"],
        "its products alone": best["products"] / best["ceiling"],
        "ceiling": best["ceiling"],
    }


def tiles_of_products(rows: Tensor, table: Tensor, tile: int) -> None:
    """Do the products of the exhaustive pass and nothing else."""
    out = torch.empty(len(rows) * tile)
    for first in range(0, len(table), tile):
        part = table[first : first + tile]
        torch.mm(rows, part.T, out=out[: len(rows) * len(part)].view(len(rows), -1))


def gigaflops(action: Callable[[], object], operations: float) -> float:
    """Return GFLOP/s by the CPU time of this thread."""
    begin = time.thread_time()
    action()
    return 1e-9 * operations / (time.thread_time() - begin)


def start(problem: Problem) -> tuple[RefinementContext, RefinementState]:
    """Return a made-up refinement that stands before an iteration with a good reference."""
    particles, volume = made_up(problem)
    settings = RefinementSettings(
        particle_diameter=problem.diameter,
        initial_low_pass=None,
        first_iteration_cc=False,
        threads=1,
        device="cpu",
        memory_limit=4.0,
    )
    reference = low_pass(volume, problem.pixel_size, problem.resolution)
    context, state, _ = prepared_run(
        settings, particles, (reference, problem.pixel_size), None, None, None
    )
    return context, state


def made_up(problem: Problem) -> tuple[Particles, Tensor]:
    """Return particles of a phantom and its density on their grey scale."""
    generator = torch.Generator().manual_seed(problem.box_size)
    n, pixel = problem.n_particles, problem.pixel_size
    radius = 0.4 * problem.diameter / pixel
    blobs = random_blobs(
        generator, n_blobs=400, radius_px=radius, sigma_px=(2.0 / pixel, 4.0 / pixel)
    )
    volume = blobs.volume(problem.box_size)
    group = OpticsGroup("opticsGroup1", 300.0, 2.7, 0.1, pixel, problem.box_size)
    shifts = 2 * pixel * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    poses = Poses(random_rotations(n, generator), shifts.clamp(-4 * pixel, 4 * pixel))
    exposure = draw_exposure(n, (group,), DefocusPlan(), generator)
    scaled = scale_for_snr(ProjectedImages(volume, poses, exposure), SNR) * volume
    return simulate_particles(scaled, poses, exposure), scaled


def samplings(problem: Problem) -> dict[str, SamplingState]:
    """Return the samplings that iterations are measured at."""
    pixel = problem.pixel_size
    return {
        "global 15 deg": SamplingState(2, 1, 5 * pixel, 2 * pixel, None, 0.1),
        "local 3.75 deg": SamplingState(4, 1, 3 * pixel, 1.5 * pixel, 3.75, 0.1),
    }


def iteration(
    problem: Problem,
    kind: str,
    context: RefinementContext,
    state: RefinementState,
    ceiling: Callable[[], float],
) -> tuple[list[Row], list[Row]]:
    """Run an iteration under the clock, once to warm up; return rows of passes and the split."""
    for _ in iterate(context, state, problem.current_size):
        pass
    clock = StageClock(STAGE_OF, PASS_OF_FUNCTION, PRODUCTS_WITHIN)
    with clock:
        for event in iterate(context, state, problem.current_size):
            del event
    most = max(ceiling() for _ in range(5))
    splits = [split(problem, kind, clock, which) for which in ("images", "coarse", "fine", None)]
    return pass_rows(problem, kind, clock, most), [each for each in splits if each["all"]]


def pass_rows(problem: Problem, kind: str, clock: StageClock, ceiling: float) -> list[Row]:
    """Return what the passes of an iteration reached of the ceiling."""
    rows: list[Row] = []
    for which in ("coarse", "fine"):
        operations = clock.operations.get((which, PRODUCTS), 0.0)
        spent = sum(seconds for (name, _), seconds in clock.seconds.items() if name == which)
        if operations == 0.0:
            continue
        products = clock.seconds[which, PRODUCTS]
        rows.append(
            {
                "box": problem.box_size,
                "pass": f"{which}, in a {kind} iteration",
                "coefficients": None,
                "GFLOP/s": 1e-9 * operations / spent,
                "of ceiling": 1e-9 * operations / spent / ceiling,
                "its products alone": 1e-9 * operations / products / ceiling,
                "ceiling": ceiling,
            }
        )
    return rows


def split(problem: Problem, kind: str, clock: StageClock, which: str | None) -> dict[str, object]:
    """Return the milliseconds per particle of a pass by stage; None for the whole iteration.

    What an iteration does once, whatever the number of particles, is given in seconds.
    """
    row: dict[str, object] = {
        "box": problem.box_size,
        "iteration": kind,
        "pass": which or "whole",
    }

    def seconds(stage: str) -> float:
        return sum(
            spent
            for (name, of), spent in clock.seconds.items()
            if of == stage and which in (None, name)
        )

    for stage in PER_PARTICLE:
        row[stage] = 1e3 * seconds(stage) / problem.n_particles
    row["all"] = sum(1e3 * seconds(stage) / problem.n_particles for stage in PER_PARTICLE)
    if which is None:
        row |= {f"{stage} (s, once)": seconds(stage) for stage in ONCE}
    return row


if __name__ == "__main__":
    main()
