"""Blush against the smoothness prior: same particles, same start map, same sampling, same engine.

Simulated sets of low signal from structures whose clusters no training has seen (one with a
smooth belt like a detergent micelle, one seen from the side only), and random parts of the real
particles of ``betagal_dev``. Each refinement runs in a process of its own; an independent program
judges it against the truth, or for the real particles against the density of the atomic model.
"""

import argparse
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import starfile
from measuring import engine
from measuring.datasets import Dataset, dataset
from measuring.score import columns, judge, score
from measuring.simulated import simulate, write_model
from measuring.tables import Row, markdown, write_table

from napari_blush import RefinementSettings

BOX, PIXEL_SIZE = 64, 3.0


@dataclass(frozen=True)
class LowSignalSet:
    """A simulated set: structure, its size, how many images of what signal, how seen."""

    structure: str
    kilodalton: float
    diameter: float
    particles: int
    snr: float
    belt: bool = False
    options: dict[str, object] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What stands in the table."""
        extra = " in a belt" if self.belt else ""
        seen = f", {self.options['orientations']} views" if self.options else ""
        return (
            f"{self.structure}{extra}, {self.kilodalton:g} kDa, {self.particles} images of SNR "
            f"{self.snr:g}{seen}"
        )


SIMULATED = {
    "small": LowSignalSet("3CDL", 40, 110.0, 800, 0.03),
    "medium": LowSignalSet("5VNW", 62, 120.0, 600, 0.03),
    "belt": LowSignalSet("6H2P", 107, 150.0, 500, 0.03, belt=True),
    "side": LowSignalSet("1MDA", 114, 140.0, 500, 0.02, options={"orientations": "side"}),
    "large": LowSignalSet("6NY1", 135, 170.0, 600, 0.015),
}
REAL = {"betagal-150": 150, "betagal-300": 300, "betagal-all": None}


def main() -> None:
    """Run what the command line asks for and print the table."""
    options = parse()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="blush_") as temporary:
        keep = (options.keep or Path(temporary)).resolve()
        for name in options.sets:
            folder = keep / name
            if name in SIMULATED:
                chosen = SIMULATED[name]
                if options.snr is not None:
                    chosen = replace(chosen, snr=options.snr)
                title, data = chosen.title, simulated(folder, chosen, options)
            else:
                title, data = name, part_of_betagal(folder, REAL[name], options.seed)
            for regularizer in options.regularizers:
                rows.append(row(title, data, folder / regularizer, regularizer, options))
                print(markdown(rows[-1:]), flush=True)
    text = (
        f"Denoiser: {options.denoiser}. Judge: {judge()[0]}. {options.threads} threads.\n\n"
        f"{markdown(rows)}"
    )
    print(f"\n{text}")
    for path in options.output:
        write_table(path, rows, text)


def parse() -> argparse.Namespace:
    """Return the parsed command line."""
    known = [*SIMULATED, *REAL]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=known, default=known)
    parser.add_argument(
        "--regularizers", nargs="+", default=["smoothness", "blush"], help="what to run"
    )
    parser.add_argument("--denoiser", default="default", help="name or file of the weights")
    parser.add_argument(
        "--trailing-fill", action="store_true", help="the Wiener map goes on beyond the cut-off"
    )
    parser.add_argument(
        "--denoise-from",
        type=lambda text: None if text == "none" else float(text),
        default=RefinementSettings().denoise_from,
        help="what the halves must agree to before references are denoised, A; none: at once",
    )
    parser.add_argument("--low-pass", type=float, default=30.0, help="of the start maps, A")
    parser.add_argument("--snr", type=float, help="of all simulated sets, instead of their own")
    parser.add_argument("--seed", type=int, default=1, help="of images and subsets")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder to keep the runs in")
    parser.add_argument(
        "--output", type=Path, nargs="+", default=[], help="files to write: .md or .tsv"
    )
    return parser.parse_args()


def simulated(folder: Path, chosen: LowSignalSet, options: argparse.Namespace) -> Dataset:
    """Simulate a set into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "particles.star").is_file():
        write_model(folder / "model.cif", chosen.structure, belt=chosen.belt)
        settings = {
            "n-particles": chosen.particles,
            "box-size": BOX,
            "pixel-size": PIXEL_SIZE,
            "snr": chosen.snr,
            "noise": "coloured",
            "start-map-resolution": options.low_pass,
            "seed": options.seed,
            **chosen.options,
        }
        simulate(folder / "model.cif", folder, settings)
    return Dataset(
        chosen.title,
        folder,
        "particles.star",
        "start_map.mrc",
        "mask.mrc",
        "truth/truth.mrc",
        "truth/truth_poses.star",
        "C1",
        particle_diameter=chosen.diameter,
        initial_low_pass=options.low_pass,
        use_mask=False,
    )


def part_of_betagal(folder: Path, n: int | None, seed: int) -> Dataset:
    """Return the real particles, or so many of them drawn at random."""
    data = replace(dataset("betagal_dev"), use_mask=False)
    if n is None:
        folder.mkdir(parents=True, exist_ok=True)
        return data
    folder.mkdir(parents=True, exist_ok=True)
    for file in data.folder.iterdir():
        if file.is_file() and not (folder / file.name).exists():
            (folder / file.name).symlink_to(file)
    tables = starfile.read(data.folder / data.particles, always_dict=True)
    rows = tables["particles"]
    chosen = np.random.default_rng(seed).permutation(len(rows))[:n]
    tables["particles"] = rows.iloc[np.sort(chosen)]
    (folder / data.particles).unlink()
    starfile.write(tables, folder / data.particles)
    return replace(data, folder=folder)


def row(
    title: str, data: Dataset, output: Path, regularizer: str, options: argparse.Namespace
) -> Row:
    """Refine with one regularizer; return what the judge says."""
    shutil.rmtree(output, ignore_errors=True)
    settings = engine.settings_for(data, local_search_from=4, threads=options.threads)
    settings |= {
        "regularizer": regularizer,
        "denoiser": options.denoiser,
        "trailing_fill": options.trailing_fill,
        "denoise_from": options.denoise_from,
    }
    run = engine.refine(data, output, settings)
    figures = columns(score(data, output))
    return {
        "set": title,
        "regularizer": regularizer,
        **{name: value for name, value in figures.items() if value is not None},
        "CPU s": run.usage.cpu_seconds,
        "iterations": len(run.iterations),
    }


if __name__ == "__main__":
    main()
