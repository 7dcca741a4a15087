"""Makes the files of ``sample_data`` again, from the two atomic models in it.

    python docs/make_sample_data.py [--output sample_data]

Two sets of simulated particles, and the half-maps that a refinement of the first ends with, as
float16. Takes a few minutes; the half-maps differ in their last digits between processors.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from napari_blush.io.mrc import read_map, write_map

SAMPLE = Path(__file__).resolve().parents[1] / "sample_data"
SETS = {
    ".": ("6msm.pdb.gz", "--n-particles 500 --snr 0.2"),
    "low_signal": (
        "low_signal/3cdl.cif.gz",
        "--n-particles 800 --snr 0.03 --noise coloured --start-map-resolution 30",
    ),
}
COMMON = "--box 64 --pixel-size 3 --dtype float16 --seed 1"
REFINEMENT = "--particle-diameter 160 --initial-low-pass 40"


def main() -> None:
    """Simulate both sets and refine the first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=SAMPLE)
    output = parser.parse_args().output
    for folder, (model, options) in SETS.items():
        blush(
            "simulate", SAMPLE / model, "--output", output / folder, *f"{options} {COMMON}".split()
        )
    with tempfile.TemporaryDirectory() as temporary:
        run = Path(temporary) / "run"
        files = ["--reference", output / "start_map.mrc", "--mask", output / "mask.mrc"]
        chosen = [*REFINEMENT.split(), "--output", run]
        blush("refine", output / "particles.star", *files, *chosen)
        keep_halves(run, output / "half_maps")


def keep_halves(run: Path, folder: Path) -> None:
    """Write the unfiltered half-maps of a finished run as float16."""
    folder.mkdir(parents=True, exist_ok=True)
    for half in ("half1", "half2"):
        found = read_map(run / f"run_{half}_class001_unfil.mrc")
        write_map(folder / f"{half}.mrc", found.volume, found.voxel_size, dtype=torch.float16)


def blush(*words: object) -> None:
    """Run the command line."""
    subprocess.run([sys.executable, "-m", "napari_blush", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
