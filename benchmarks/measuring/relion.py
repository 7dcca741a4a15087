"""RELION's auto-refinement as a program to be measured."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from measuring.datasets import Dataset, readable_by_relion
from measuring.process import Usage, run_measured
from measuring.samplings import IterationCost

RANKS = 3  # a leader and one for each half


@dataclass(frozen=True)
class RelionRun:
    """A finished run: what it took, its folder, and the cost of each iteration."""

    version: str
    usage: Usage
    folder: Path
    iterations: list[IterationCost]


def is_there() -> bool:
    """Return whether RELION and MPI can be run."""
    return shutil.which("relion_refine_mpi") is not None and shutil.which("mpirun") is not None


def version() -> str:
    """Return RELION's version as it says it."""
    told = subprocess.run(
        ["relion_refine", "--version"], capture_output=True, text=True, check=False
    )
    return told.stdout.split("\n")[0].removeprefix("RELION version:").strip()


def refine(data: Dataset, output: Path, *, local_search_from: int, threads: int) -> RelionRun:
    """Run ``relion_refine_mpi`` with its standard settings on a data set."""
    folder = readable_by_relion(data, output / "float32")
    output.mkdir(parents=True, exist_ok=True)
    watch = _Iterations(output)
    usage = run_measured(
        command(data, output, local_search_from=local_search_from, threads=threads),
        folder=folder,
        log=output / "relion.log",
        on_poll=watch,
    )
    if usage.returncode != 0 or not (output / "run_data.star").is_file():
        raise SystemExit(
            f"relion_refine_mpi ended with {usage.returncode} and no result; "
            f"see {output / 'relion.log'}"
        )
    return RelionRun(version(), usage, output, watch.costs(usage.cpu_seconds, local_search_from))


def command(data: Dataset, output: Path, *, local_search_from: int, threads: int) -> list[str]:
    """Return the command line (RELION 3.1)."""
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return [
        "mpirun", *root, "--oversubscribe", "--mca", "mpi_yield_when_idle", "1", "-n", str(RANKS),
        "relion_refine_mpi", "--o", str(output.resolve() / "run"),
        "--auto_refine", "--split_random_halves", "--i", data.particles, "--ref", data.reference,
        "--firstiter_cc", "--ini_high", f"{data.initial_low_pass:g}",
        "--dont_combine_weights_via_disc", "--pool", "3", "--pad", "2", "--ctf",
        "--ctf_corrected_ref", "--particle_diameter", f"{data.particle_diameter:g}",
        "--flatten_solvent", "--zero_mask", "--oversampling", "1", "--healpix_order", "2",
        "--auto_local_healpix_order", str(local_search_from), "--offset_range", "5",
        "--offset_step", "2", "--sym", data.symmetry, "--low_resol_join_halves", "40", "--norm",
        "--scale", "--j", str(max(1, threads // (RANKS - 1))), "--random_seed", "42",
        *(["--solvent_mask", data.mask] if data.use_mask else []),
    ]  # fmt: skip


class _Iterations:
    """Notes the CPU seconds at which each iteration's files are complete."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cpu: dict[int, float] = {}

    def __call__(self, cpu: float, wall: float) -> None:
        number = len(self._cpu)
        if (self._folder / f"run_it{number:03d}_optimiser.star").exists():
            self._cpu[number] = cpu

    def costs(self, total: float, local_search_from: int) -> list[IterationCost]:
        """Return the cost of each iteration; what comes after the last whole one is the last."""
        ends = [self._cpu[number] for number in sorted(self._cpu)]
        costs = []
        for number, (before, after) in enumerate(zip(ends, [*ends[1:], total], strict=True), 1):
            last = number == len(ends)
            name = "run" if last else f"run_it{number:03d}"
            order = _order(self._folder / f"{name}_sampling.star")
            local = order >= local_search_from
            costs.append(IterationCost(number, order, local, last, after - before))
        return costs


def _order(sampling: Path) -> int:
    """Return rlnHealpixOrder of a sampling file."""
    for line in sampling.read_text().splitlines():
        if line.startswith("_rlnHealpixOrder "):
            return int(line.split()[1])
    raise SystemExit(f"{sampling} has no rlnHealpixOrder.")
