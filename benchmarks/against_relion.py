"""Our refinement and RELION's on the same particles, start map, mask and sampling, in one run.

Each program runs in processes of its own, one after the other, on as many threads. CPU seconds are
those of all its processes, start-up included; accuracy is judged by a program that belongs to
neither (measuring/score.py). RELION is what ``relion_refine_mpi`` on PATH is (written for Debian's
3.1.3; three ranks); with --skip-relion, or where there is none, only the figures of
relion_measured.tsv stand beside ours, RELION 5's among them.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from measuring import engine, relion
from measuring.datasets import DATASETS, Dataset, dataset
from measuring.process import Usage
from measuring.samplings import IterationCost, by_sampling, coarsest_local, finest_global
from measuring.score import columns, judge, score
from measuring.tables import Row, markdown, read_tsv, write_table

MEASURED = Path(__file__).with_name("relion_measured.tsv")


def main() -> None:
    """Run what the command line asks for and print the table."""
    options = parse()
    data = dataset(options.dataset)
    if options.solvent_mask is not None:
        data = replace(data, use_mask=options.solvent_mask == "yes")
    if not data.folder.is_dir():
        raise SystemExit(f"There is no folder {data.folder}: name one in NAPARI_BLUSH_DATA.")
    with tempfile.TemporaryDirectory(prefix="against_relion_") as temporary:
        keep = options.keep or Path(temporary)
        rows, costs = measured(data, options, keep.resolve())
    n = n_particles(data)
    text = "\n\n".join(
        [
            f"## {data.name}: {n} particles, {data.symmetry}, local searches from "
            f"{60 / 2**options.local_search_from:g} degrees"
            f"{', solvent mask while refining' if data.use_mask else ''}",
            f"Judge: {judge()[0]}. {options.threads} threads.",
            markdown(rows),
            "CPU seconds per particle of whole iterations, by angular step (before oversampling):",
            markdown([{"program": name, **by_sampling(each, n)} for name, each in costs.items()]),
        ]
    )
    print(text)
    for path in options.output:
        write_table(path, rows, text)


def parse() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", choices=DATASETS, default="tiny64")
    parser.add_argument(
        "--local-search-from",
        type=int,
        choices=(3, 4, 5),
        default=3,
        help="HEALPix order from which searches are local: 4 is standard (3.75 degrees), "
        "3 (7.5 degrees) takes RELION a quarter of the time (default)",
    )
    parser.add_argument(
        "--skip-relion", action="store_true", help="show RELION's stored figures instead"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of each program")
    parser.add_argument(
        "--solvent-mask",
        choices=("yes", "no"),
        help="multiply references by the mask while refining (default: betagal_dev only, as the "
        "stored figures)",
    )
    parser.add_argument("--keep", type=Path, help="folder to keep the runs in")
    parser.add_argument(
        "--output", type=Path, nargs="+", default=[], help="files to write: .md or .tsv"
    )
    return parser.parse_args()


def measured(
    data: Dataset, options: argparse.Namespace, keep: Path
) -> tuple[list[Row], dict[str, list[IterationCost]]]:
    """Run the programs; return a row and the iterations of each."""
    order = options.local_search_from
    settings = engine.settings_for(data, local_search_from=order, threads=options.threads)
    ours = engine.refine(data, keep / "napari-blush", settings)
    rows: list[Row] = [row(data, "napari-blush", ours.usage, ours.iterations, ours.folder)]
    costs = {"napari-blush": ours.iterations}
    if relion.is_there() and not options.skip_relion:
        theirs = relion.refine(
            data, keep / "relion", local_search_from=order, threads=options.threads
        )
        name = f"RELION {theirs.version}"
        rows.append(row(data, name, theirs.usage, theirs.iterations, theirs.folder))
        costs[name] = theirs.iterations
    return rows + stored(data, order), costs


def row(data: Dataset, program: str, usage: Usage, costs: list[IterationCost], folder: Path) -> Row:
    """Return what stands in the table about a run."""
    n = n_particles(data)
    return {
        "program": program,
        "CPU s": usage.cpu_seconds,
        "wall s": usage.wall_seconds,
        "peak MB": usage.peak_mb,
        **columns(score(data, folder)),
        "global s/particle": finest_global(costs, n),
        "local s/particle": coarsest_local(costs, n),
    }


def stored(data: Dataset, local_search_from: int) -> list[Row]:
    """Return RELION's stored figures of a comparison (see the head of the file)."""
    names = {
        "cpu_seconds": "CPU s",
        "wall_seconds": "wall s",
        "peak_mb": "peak MB",
        "truth_fsc05": "truth FSC 0.5 (A)",
        "truth_fsc_mean": "mean truth FSC",
        "median_angle": "median angle (deg)",
        "beyond_30": "beyond 30 deg",
        "half_corrected": "half-map 0.143 corrected (A)",
        "global_iteration": "global s/particle",
        "local_iteration": "local s/particle",
    }
    return [
        {
            "program": f"{line['program']} (stored)",
            **{title: line[key] for key, title in names.items()},
        }
        for line in read_tsv(MEASURED)
        if line["dataset"] == data.name and int(line["local_search_from"]) == local_search_from
    ]


def n_particles(data: Dataset) -> int:
    """Return the number of particles of a data set."""
    text = (data.folder / data.particles).read_text()
    return sum("@" in line for line in text.splitlines())


if __name__ == "__main__":
    main()
