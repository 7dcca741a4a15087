"""Our own refinement as a program to be measured: a fresh interpreter that runs ``child.py``."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring.datasets import Dataset
from measuring.process import Usage, run_measured
from measuring.samplings import IterationCost

_CHILD = Path(__file__).with_name("child.py")


@dataclass(frozen=True)
class EngineRun:
    """A finished run: what it took, its folder, the cost of each iteration, and how it ended."""

    usage: Usage
    folder: Path
    iterations: list[IterationCost]
    reason: str


def settings_for(data: Dataset, *, local_search_from: int, threads: int) -> dict[str, Any]:
    """Return the settings that ask for what ``relion.command`` asks RELION for."""
    return {
        "regularizer": "smoothness",  # as RELION without --blush
        "particle_diameter": data.particle_diameter,
        "initial_low_pass": data.initial_low_pass,
        "symmetry": data.symmetry,
        "local_search_from": local_search_from,
        "healpix_order": 2,
        "adaptive_oversampling": 1,
        "offset_range": 5.0,
        "offset_step": 2.0,
        "padding": 2,
        "low_resolution_join": 40.0,
        "threads": threads,
        "device": "cpu",
        "seed": 42,
    }


def refine(data: Dataset, output: Path, settings: dict[str, Any]) -> EngineRun:
    """Refine a data set in a process of its own; maps and poses are left in ``output``.

    The compiled kernels are brought up to date before, as installing a program is not running it.
    """
    output.mkdir(parents=True, exist_ok=True)
    job = {
        "particles": str(data.folder / data.particles),
        "reference": str(data.folder / data.reference),
        "mask": str(data.folder / data.mask) if data.use_mask else None,
        "output": str(output),
        "settings": settings,
    }
    (output / "job.json").write_text(json.dumps(job, indent=1))
    log = output / "engine.log"
    # Threads that wait for others must not burn a core (RELION's counterpart is in its command).
    threads = {"OMP_NUM_THREADS": str(settings["threads"]), "OMP_WAIT_POLICY": "PASSIVE"}
    run_measured([sys.executable, str(_CHILD), "--compile"], folder=output, log=log)
    usage = run_measured(
        [sys.executable, str(_CHILD), str(output / "job.json")],
        folder=output,
        log=log,
        environment=threads,
    )
    if usage.returncode != 0:
        raise SystemExit(f"The refinement ended with {usage.returncode}; see {log}")
    told = json.loads((output / "told.json").read_text())
    costs = [IterationCost(**cost) for cost in told["iterations"]]
    return EngineRun(usage, output, costs, told["reason"])
