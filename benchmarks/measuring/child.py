"""Run by ``engine.py`` in a process of its own: a refinement as a job file describes it.

Writes half-maps, final map, poses (``run_data.star``) and, in ``told.json``, what each iteration
took.
"""

import json
import sys
import time
from pathlib import Path

import torch

from napari_blush.data_model.results import RefinementResult
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.io.mrc import read_map, write_map
from napari_blush.io.star import pose_columns, read_particles, write_particles
from napari_blush.numerics.packing import packed_coordinates
from napari_blush.numerics.slice_extraction import CentralSlices
from napari_blush.numerics.slice_insertion import SliceAccumulator
from napari_blush.refine.events import IterationFinished, IterationStarted, Message
from napari_blush.refine.run import run
from napari_blush.refine.state import RefinementState


def main(job_file: Path) -> None:
    """Refine what the job describes."""
    job = json.loads(job_file.read_text())
    output = Path(job["output"])
    particles = read_particles(job["particles"])
    reference = read_map(job["reference"])
    mask = read_map(job["mask"]) if job["mask"] else None
    events = run(
        RefinementSettings(**job["settings"]),
        particles,
        (reference.volume, reference.voxel_size),
        mask=(mask.volume, mask.voxel_size) if mask else None,
    )
    iterations: list[dict[str, object]] = []
    state: RefinementState | None = None
    last, before = False, time.process_time()
    while True:
        try:
            event = next(events)
        except StopIteration as finished:
            result: RefinementResult = finished.value
            break
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
            state, before = event.state, now
    voxel = result.half_maps.voxel_size
    for half, volume in enumerate((result.half_maps.half1, result.half_maps.half2), start=1):
        write_map(output / f"run_half{half}_class001_unfil.mrc", volume, voxel)
    write_map(output / "run_class001.mrc", result.final_map, voxel)
    columns = dict(pose_columns(result.last_iteration.poses))
    columns["rlnRandomSubset"] = state.random_subset.numpy() if state else None
    write_particles(output / "run_data.star", particles, columns)
    told = {"iterations": iterations, "reason": result.reason}
    (output / "told.json").write_text(json.dumps(told, indent=1))


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
