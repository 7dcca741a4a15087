"""Makes the pictures of docs/validation.md, of runs that a benchmark kept.

    python benchmarks/blush_against_baseline.py --sets SETS --keep RUNS
    python docs/make_comparisons.py RUNS SETS

writes ``docs/images/compared_SET.svg`` for each set, and prints what ``napari-blush validate
compare`` says of it.
"""

import argparse
import tempfile
from pathlib import Path

from napari_blush.cli.main import main as napari_blush

IMAGES = Path(__file__).parent / "images"
TRUTHS = ("truth/truth.mrc", "truth_from_8bk7_3.54A_box64.mrc")
MASKS = ("mask.mrc", "mask_soft_box64.mrc")


def main() -> None:
    """Make a picture for each set that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="folder that --keep named")
    parser.add_argument("sets", nargs="+")
    options = parser.parse_args()
    for name in options.sets:
        folder = options.runs / name
        truth, mask = (
            next(folder / one for one in names if (folder / one).is_file())
            for names in (TRUTHS, MASKS)
        )
        with tempfile.TemporaryDirectory() as output:
            command = ["validate", "compare", folder / "smoothness", folder / "blush"]
            command += ["--truth", truth, "--mask", mask, "--output", output]
            command += ["--picture", IMAGES / f"compared_{name}.svg"]
            if napari_blush([str(word) for word in command]) != 0:
                raise SystemExit(f"{name} could not be compared.")


if __name__ == "__main__":
    main()
