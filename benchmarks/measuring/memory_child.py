"""Run by ``memory.py`` in a process of its own: starts a refinement, says how much memory it takes.

Prints one JSON object: the peak of the resident set at each point that it passes, and what to
predict it from.
"""

import json
import sys
import time
from pathlib import Path

import torch

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.io.mrc import read_map
from napari_blush.io.star import read_particles
from napari_blush.refine.events import (
    ExpectationProgress,
    HalfMapsReconstructed,
    IterationFinished,
    IterationStarted,
    RunStarted,
)
from napari_blush.refine.run import run


def resident() -> dict[str, float]:
    """Return the peak of the resident set, and what of it now is anonymous and mapped, in MB."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmHWM", "RssAnon", "RssFile"):
            found[name] = int(value.split()[0]) * 1024 / 1e6
    return found


def main(job_file: Path) -> None:
    """Start what the job describes and stop where it says."""
    job = json.loads(job_file.read_text())
    points = {"libraries": resident()}
    particles = read_particles(job["particles"])
    points["particles read"] = resident()
    reference = read_map(job["reference"])
    events = run(
        RefinementSettings(**job["settings"]), particles, (reference.volume, reference.voxel_size)
    )
    batches = {1: 0, 2: 0}
    current_size, begun, iteration = 0, time.perf_counter(), 0
    for event in events:
        if isinstance(event, RunStarted):
            points["run started"] = resident()
        elif isinstance(event, IterationStarted):
            current_size = event.current_size
            iteration = event.iteration
        elif isinstance(event, ExpectationProgress):
            batches[event.half] += 1
            if job["stop_after_batches"] and min(batches.values()) >= job["stop_after_batches"]:
                points["first batches"] = resident()
                break
        elif isinstance(event, HalfMapsReconstructed) and iteration == 1:
            points["reconstructed"] = resident()
        elif isinstance(event, IterationFinished):
            points[f"iteration {iteration} finished"] = resident()
            break
    events.close()
    print(
        json.dumps(
            {
                "points": points,
                "peak": resident()["VmHWM"],
                "current_size": current_size,
                "batches": batches,
                "seconds": time.perf_counter() - begun,
                "threads": torch.get_num_threads(),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
