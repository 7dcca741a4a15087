"""A wrong map that half-map FSC lets pass, and the curve that does not.

The real particles of ``betagal_dev`` are refined twice: as they are, and with the control file
whose CTFs are wrong on purpose. Both halves of the second run make the same mistake and agree
about it; only the density of the atomic model, which neither has seen, does not. RELION's half-maps
of the same particles (with the right CTFs) stand beside, judged by the same program.
"""

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from measuring import engine
from measuring.datasets import Dataset, dataset
from measuring.score import judge, score
from measuring.tables import Row, markdown, write_table

CONTROL = "particles_wrong_defocus_control.star"
RELION = {"half1_unfil.mrc": "run_half1_class001_unfil.mrc"}
RELION["half2_unfil.mrc"] = "run_half2_class001_unfil.mrc"


def main() -> None:
    """Run both refinements and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder to keep the runs in")
    parser.add_argument(
        "--output", type=Path, nargs="+", default=[], help="files to write: .md or .tsv"
    )
    options = parser.parse_args()
    data = dataset("betagal_dev")
    if not data.folder.is_dir():
        print(f"Nothing to measure: there is no folder {data.folder} (NAPARI_BLUSH_DATA).")
        return
    with tempfile.TemporaryDirectory(prefix="wrong_defocus_") as temporary:
        keep = (options.keep or Path(temporary)).resolve()
        settings = engine.settings_for(data, local_search_from=3, threads=options.threads)
        rows = [
            row("RELION 3.1.3, its maps as stored", data, relion_maps(data, keep / "relion")),
            refined("napari-blush", data, keep / "right", settings),
            refined(
                "napari-blush, wrong defocus",
                replace(data, particles=CONTROL),
                keep / "wrong",
                settings,
            ),
        ]
    text = f"Judge: {judge()[0]}.\n\n{markdown(rows)}"
    print(text)
    for path in options.output:
        write_table(path, rows, text)


def refined(name: str, data: Dataset, folder: Path, settings: dict[str, object]) -> Row:
    """Refine a data set and return its row."""
    engine.refine(data, folder, settings)
    return row(name, data, folder)


def relion_maps(data: Dataset, folder: Path) -> Path:
    """Return a folder with RELION's half-maps under the names of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, wanted in RELION.items():
        shutil.copy(data.folder / "relion313_reference" / name, folder / wanted)
    return folder


def row(name: str, data: Dataset, folder: Path) -> Row:
    """Return what the judge says of a run: half-maps among themselves, then with the model."""
    figures = score(data, folder)
    return {
        "maps": name,
        "half-map 0.143 unmasked (A)": figures.get("fsc143_unmasked_interp_A"),
        "masked": figures.get("fsc143_masked_interp_A"),
        "corrected": figures.get("fsc143_corrected_interp_A"),
        "map-model FSC 0.5 (A)": figures.get("truth_fsc05_interp_A"),
        "its mean over shells": figures.get("truth_fsc_mean"),
        "overfit gap": figures.get("overfit_gap"),
    }


if __name__ == "__main__":
    main()
