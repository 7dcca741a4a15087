"""Run by ``denoise.py`` in a process of its own: a map denoised, whole or a sample of its blocks.

Prints what was taken as JSON: CPU seconds before, in and after the blocks, blocks run and in all,
peak memory.
"""

import dataclasses
import json
import resource
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from napari_blush.denoiser import inference
from napari_blush.denoiser.denoiser import Denoiser
from napari_blush.denoiser.inference import DenoiseOptions, denoise_steps
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.patches import BlockPlan
from napari_blush.denoiser.prepared_map import PreparedMap
from napari_blush.denoiser.weights import load_denoiser
from napari_blush.denoiser.weights_record import WeightsRecord

RANDOM = "random weights"


def denoiser_of(name: str) -> Denoiser:
    """Return weights by name, or a network of the published size with random ones."""
    if name != RANDOM:
        return load_denoiser(name)
    generator_state = torch.random.get_rng_state()
    network = BlushUNet()
    torch.random.set_rng_state(generator_state)
    return Denoiser(network, WeightsRecord(RANDOM, "", "", 1.5, 64, 16, 5))


def only(
    prepare: object, most: int, counts: list[int], cubes: list[list[int]] | None = None
) -> object:
    """Return a preparation that keeps at most so many blocks, spread over all.

    Where cubes ``(z, y, x, size)`` of the map are named, all blocks that reach into one of them.
    """

    def prepared(*given: object) -> PreparedMap:
        whole: PreparedMap = prepare(*given)  # type: ignore[operator]
        origins = whole.plan.origins
        counts.append(len(origins))
        if cubes is not None:
            first = torch.tensor(cubes)[:, None, :3] + whole.before
            size = torch.tensor(cubes)[:, None, 3:]
            reaches = (origins < first + size) & (origins + whole.plan.block_size > first)
            kept = origins[reaches.all(-1).any(0)]
        else:
            kept = origins[:: max(1, len(origins) // most)][:most]
        return dataclasses.replace(whole, plan=BlockPlan(kept, whole.plan.window))

    return prepared


def main(job: dict[str, object]) -> None:
    """Do one job."""
    torch.set_num_threads(int(str(job["threads"])))
    denoiser = denoiser_of(str(job["denoiser"]))
    volume: Tensor = torch.load(str(job["map"]))
    options = DenoiseOptions(**job["options"])  # type: ignore[arg-type]
    counts: list[int] = []
    most = int(str(job["most_blocks"]))
    for name in ("prepare_default", "prepare_release"):
        prepare = only(getattr(inference, name), most, counts, job["cubes"])  # type: ignore[arg-type]
        setattr(inference, name, prepare)
    began = time.process_time()
    steps = denoise_steps(volume, denoiser.voxel_size, denoiser, options)
    total = next(steps).total
    prepared = last = time.process_time()
    first = 0.0
    while True:
        try:
            step = next(steps)
        except StopIteration as finished:
            result = finished.value
            break
        last = time.process_time()
        if not first:
            first, first_blocks = last, step.done  # what the first batch compiles is not counted
    ended = time.process_time()
    if total > first_blocks:
        per_block = (last - first) / (total - first_blocks)
    else:
        per_block = (last - prepared) / total
    if job["output"]:
        torch.save(result.volume, Path(str(job["output"])))
    print(
        json.dumps(
            {
                "blocks": counts[0],
                "run": total,
                "per_block": per_block,
                "around": prepared - began + ended - last,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
            }
        )
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
