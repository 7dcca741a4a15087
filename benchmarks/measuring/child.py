"""Run by ``engine.py`` in a process of its own: a refinement as a job file describes it.

Leaves a run folder like any other and, in ``told.json``, what each iteration took.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.io.mrc import read_map
from napari_blush.io.run_settings import RunSource
from napari_blush.io.star import read_particles
from napari_blush.numerics.packing import packed_coordinates
from napari_blush.numerics.slice_extraction import CentralSlices
from napari_blush.numerics.slice_insertion import SliceAccumulator
from napari_blush.refine.events import (
    IterationFinished,
    IterationStarted,
    Message,
    RefinementEvent,
    RunFinished,
)
from napari_blush.refine.keeping import RunKeeper
from napari_blush.refine.run_in_folder import RunRequest, opened


def main(job_file: Path) -> None:
    """Refine what the job describes."""
    job = json.loads(job_file.read_text())
    output = Path(job["output"])
    settings = {"solvent_mask": job["mask"], **job["settings"]}
    request = RunRequest(
        particles=read_particles(job["particles"]),
        reference=read_map(job["reference"]),
        output=output,
        settings=RefinementSettings(**settings),
        source=RunSource(Path(job["particles"]), Path(job["reference"])),
    )
    with opened(request) as (writer, events):
        iterations, reason = followed(events, RunKeeper(writer))
    told = {"iterations": iterations, "reason": reason}
    (output / "told.json").write_text(json.dumps(told, indent=1))


def followed(
    events: Iterator[RefinementEvent], keep: RunKeeper
) -> tuple[list[dict[str, object]], str]:
    """Drive the run; return what each iteration took, its files included, and why it ended."""
    iterations: list[dict[str, object]] = []
    last, before = False, time.process_time()
    for event in events:
        keep(event)
        if isinstance(event, IterationStarted):
            last = event.final
        elif isinstance(event, Message):
            print(event.text, flush=True)
        elif isinstance(event, IterationFinished):
            now, done = time.process_time(), event.result
            iterations.append(
                {
                    "number": done.iteration,
                    "order": done.sampling.healpix_order,
                    "local": done.sampling.local_search_sigma_deg is not None,
                    "last": last,
                    "cpu_seconds": now - before,
                }
            )
            print(
                f"{iterations[-1]} {done.resolution_angstrom:.2f} A, p_max "
                f"{done.average_p_max:.2f}, size {done.current_size}, stages {done.stage_seconds}",
                flush=True,
            )
            before = now
        elif isinstance(event, RunFinished):
            return iterations, event.result.reason
    raise SystemExit("The run ended without a result.")


def compile_kernels() -> None:
    """Use each compiled kernel once, so that a stale cache is renewed before anything counts."""
    volume = torch.randn(16, 16, 16)
    coordinates = packed_coordinates(16, 8, torch.device("cpu"))
    rotations = torch.eye(3).repeat(2, 1, 1)
    slices = CentralSlices(volume, r_max=8).extract(rotations, coordinates)
    sums = SliceAccumulator(16, r_max=8)
    sums.insert(rotations, slices, slices.abs(), coordinates)
    sums.enforce_hermitian()
    sums.symmetrize(rotations)


if __name__ == "__main__":
    with torch.no_grad():
        compile_kernels() if sys.argv[1] == "--compile" else main(Path(sys.argv[1]))
