"""What exhaustive search buys where a refinement fails: a small protein at a low signal.

Particles of about 59 kDa in a box of 64 px and 2 A/px, signal-to-noise ratio 0.03, coloured noise,
start map at 20 A: RELION's standard refinement cannot align 500 such images. Our refinement runs
from a first grid of HEALPix order 2 or 3, with the exhaustive pass at order 2 or 3 and local
searches from order 3, 4 or 5, with each of the priors asked for, each in a process of its own. The
structure comes from the shared set of atomic models
(NAPARI_BLUSH_DATA); images, start map, mask and truth from ``napari-blush simulate``.
"""

import argparse
import tempfile
from itertools import product
from pathlib import Path

from measuring import engine, relion
from measuring.datasets import Dataset
from measuring.samplings import IterationCost
from measuring.score import columns, judge, score
from measuring.simulated import simulate, write_model
from measuring.tables import Row, markdown, write_table

BOX, PIXEL_SIZE = 64, 2.0
DIAMETER = 110.0
CHOICES = ((2, 3, 2), (2, 4, 2), (2, 4, 3), (3, 4, 2), (3, 4, 3), (3, 5, 3))
"""(first grid, local searches from, exhaustive pass), as HEALPix orders. An exhaustive pass that is
finer than the last global order means nothing."""


def main() -> None:
    """Run what the command line asks for and print the table."""
    options = parse()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="low_signal_") as temporary:
        keep = (options.keep or Path(temporary)).resolve()
        for seed in options.seeds:
            data = simulated(keep / f"seed{seed}", seed, options)
            for regularizer, choice in product(options.regularizers, options.choices):
                rows.append(ours(data, keep, seed, regularizer, choice, options))
                print(markdown(rows[-1:]), flush=True)
            if options.with_relion and relion.is_there():
                rows.append(theirs(data, keep, seed, options))
    text = "\n\n".join(
        [
            f"{options.model}, {options.particles} particles, SNR {options.snr:g}, start map at "
            f"{options.low_pass:g} A. Judge: {judge()[0]}. {options.threads} threads.",
            markdown(rows),
        ]
    )
    print(f"\n{text}")
    for path in options.output:
        write_table(path, rows, text)


def parse() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="1TMQ", help="structure of the shared set")
    parser.add_argument("--particles", type=int, default=500)
    parser.add_argument("--snr", type=float, default=0.03)
    parser.add_argument("--low-pass", type=float, default=20.0, help="of the start map, A")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of the images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--choices",
        type=choice,
        nargs="+",
        default=CHOICES,
        metavar="FIRST,LOCAL,EXHAUSTIVE",
        help="HEALPix orders of the first grid, of local searches, of the exhaustive pass",
    )
    parser.add_argument(
        "--regularizers", nargs="+", choices=("smoothness", "blush"), default=["smoothness"]
    )
    parser.add_argument(
        "--with-relion", action="store_true", help="RELION too, local searches from order 3"
    )
    parser.add_argument("--keep", type=Path, help="folder to keep the runs in")
    parser.add_argument(
        "--output", type=Path, nargs="+", default=[], help="files to write: .md or .tsv"
    )
    return parser.parse_args()


def choice(text: str) -> tuple[int, int, int]:
    """Return three HEALPix orders given with commas between them."""
    first, local_from, exhaustive = (int(part) for part in text.split(","))
    return first, local_from, exhaustive


def simulated(folder: Path, seed: int, options: argparse.Namespace) -> Dataset:
    """Simulate a data set into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder / "model.cif", options.model)
    settings = {
        "n-particles": options.particles,
        "box-size": BOX,
        "pixel-size": PIXEL_SIZE,
        "snr": options.snr,
        "noise": "coloured",
        "start-map-resolution": options.low_pass,
        "seed": seed,
    }
    simulate(folder / "model.cif", folder, settings)
    return Dataset(
        f"seed {seed}",
        folder,
        "particles.star",
        "start_map.mrc",
        "mask.mrc",
        "truth/truth.mrc",
        "truth/truth_poses.star",
        "C1",
        particle_diameter=DIAMETER,
        initial_low_pass=options.low_pass,
        use_mask=False,
    )


def ours(
    data: Dataset,
    keep: Path,
    seed: int,
    regularizer: str,
    orders: tuple[int, int, int],
    options: argparse.Namespace,
) -> dict[str, object]:
    """Refine with our engine; return its row."""
    first, local_from, exhaustive = orders
    settings = engine.settings_for(data, local_search_from=local_from, threads=options.threads)
    settings |= {
        "exhaustive_order": exhaustive,
        "healpix_order": first,
        "regularizer": regularizer,
    }
    folder = keep / f"seed{seed}_{regularizer}_{first}_{local_from}_{exhaustive}"
    run = engine.refine(data, folder, settings)
    figures = columns(score(data, folder))
    return {
        "seed": seed,
        "program": f"napari-blush, {regularizer}",
        "first grid": f"{60 / 2**first:g} deg",
        "local from": f"{60 / 2**local_from:g} deg",
        "exhaustive pass": f"{60 / 2**exhaustive:g} deg",
        **shown(figures),
        "CPU s": run.usage.cpu_seconds,
        "of it global": global_seconds(run.iterations),
        "iterations": len(run.iterations),
    }


def theirs(data: Dataset, keep: Path, seed: int, options: argparse.Namespace) -> dict[str, object]:
    """Refine with RELION; return its row."""
    run = relion.refine(
        data, keep / f"seed{seed}_relion", local_search_from=3, threads=options.threads
    )
    return {
        "seed": seed,
        "program": f"RELION {run.version}",
        "first grid": "15 deg",
        "local from": "7.5 deg",
        "exhaustive pass": "15 deg",
        **shown(columns(score(data, run.folder))),
        "CPU s": run.usage.cpu_seconds,
        "of it global": global_seconds(run.iterations),
        "iterations": len(run.iterations),
    }


def shown(figures: dict[str, object]) -> dict[str, object]:
    """Return the figures of accuracy that belong in this table."""
    names = ("median angle (deg)", "beyond 30 deg", "truth FSC 0.5 (A)", "mean truth FSC")
    return {name: figures[name] for name in names}


def global_seconds(costs: list[IterationCost]) -> float:
    """Return the CPU seconds of the iterations that searched all orientations."""
    return sum(cost.cpu_seconds for cost in costs if not cost.local)


if __name__ == "__main__":
    main()
