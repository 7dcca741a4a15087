"""Refinements of images with random phases, with and without spectral trailing.

Real particles (``betagal_dev``, NAPARI_BLUSH_DATA) are refined with the denoiser, with its
references cut off (spectral trailing) and not. Both refinements are done again on the same images
with random phases beyond a resolution (Chen et al. 2013): what their halves agree on there, the
refinement made up. Runs that lie finished in the folder of ``--keep`` are not done again.
"""

import argparse
import tempfile
from argparse import Namespace
from pathlib import Path

from measuring.datasets import Dataset, dataset
from measuring.tables import Row, markdown

from napari_blush.cli.main import main as napari_blush
from napari_blush.cli.validate_overfitting import judged, last_line
from napari_blush.conventions import Spectrum
from napari_blush.io.mrc import read_map
from napari_blush.io.run_folder import is_finished
from napari_blush.validation.report_sections import fsc_plot

TRAILING = {"with trailing": "spectral-trailing", "without trailing": "no-spectral-trailing"}


def main() -> None:
    """Refine, print the table and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=300, help="the first of the data set")
    parser.add_argument("--randomize-at", type=float, default=15.0, help="A")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder to keep the runs in")
    parser.add_argument("--picture", type=Path, help="SVG file for the curves")
    options = parser.parse_args()
    data = dataset("betagal_dev")
    if not data.folder.is_dir():
        print(f"Nothing to measure: there is no folder {data.folder} (NAPARI_BLUSH_DATA).")
        return
    with tempfile.TemporaryDirectory(prefix="random_phases_") as temporary:
        keep = (options.keep or Path(temporary)).resolve()
        keep.mkdir(parents=True, exist_ok=True)
        rows, curves = measured(data, keep, options)
    print(markdown(rows))
    if options.picture is not None:
        dashed = [name for name in curves if "FSC_n" in name]
        size = read_map(data.folder / data.mask).voxel_size
        box = 2 * (len(next(iter(curves.values()))) - 1)
        shell = round(box * size / options.randomize_at)
        picture = fsc_plot(dict(curves), size, from_shell=shell, dashed=dashed)
        # On a page of its own it needs paper, and letters like those of the report.
        start = picture.index(">") + 1
        paper = '<rect width="100%" height="100%" fill="#fff"/><g font-family="sans-serif" '
        paper += 'font-size="12" fill="#444">'
        inside = f"{picture[:start]}{paper}{picture[start:].removesuffix('</svg>')}</g></svg>"
        options.picture.write_text(f"{inside}\n")


def measured(
    data: Dataset, keep: Path, options: Namespace
) -> tuple[list[Row], dict[str, Spectrum]]:
    """Refine what is not there yet; return a row for each way, and all curves."""
    star = first_particles(data, keep, options.particles)
    mask = read_map(data.folder / data.mask).volume
    rows: list[Row] = []
    curves: dict[str, Spectrum] = {}
    for name, flag in TRAILING.items():
        before, after = keep / f"run {name}", keep / f"random phases {name}"
        refine(data, star, before, flag, options)
        repeat(data, star, before, after, options)
        verdict = judged(last_line(before), last_line(after), options.randomize_at, mask)
        rows.append(
            {
                "references": name,
                "made from noise": verdict.excess,
                "light": verdict.check.light.word,
                "FSC 0.143 corrected (A)": verdict.resolution,
                "FSC_true 0.143 (A)": verdict.resolution_true,
                "random phases: FSC 0.143 (A)": last_line(after)["resolution_angstrom"],
                "mean FSC_n beyond": float(verdict.fsc_n[verdict.from_shell + 2 :].mean()),
            }
        )
        curves[f"FSC_t, {name}"] = verdict.fsc_t
        curves[f"FSC_true, {name}"] = verdict.fsc_true
        curves[f"FSC_n, {name}"] = verdict.fsc_n
    return rows, curves


def first_particles(data: Dataset, keep: Path, number: int) -> Path:
    """Write the first particles of a data set, line by line as they are."""
    lines = (data.folder / data.particles).read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if "@" in line)
    star = keep / f"first_{number}.star"
    star.write_text("\n".join([*lines[: first + number], ""]))
    return star


def files(data: Dataset, star: Path) -> list[str]:
    """Return the arguments that both commands share."""
    reference = str(data.folder / data.reference)
    return [str(star), "--image-root", str(data.folder), "--reference", reference]


def refine(data: Dataset, star: Path, folder: Path, flag: str, options: Namespace) -> None:
    """Refine the particles, unless that is done."""
    if folder.is_dir() and is_finished(folder):
        return
    settings = ["--symmetry", data.symmetry, "--mask", str(data.folder / data.mask)]
    settings += ["--initial-low-pass", "30", "--local-search-from", "3", "--seed", "1"]
    settings += ["--device", "cpu", "--threads", str(options.threads), f"--{flag}"]
    napari_blush(["refine", *files(data, star), "--output", str(folder), *settings])


def repeat(data: Dataset, star: Path, before: Path, folder: Path, options: Namespace) -> None:
    """Refine the same images with random phases, unless that is done."""
    if folder.is_dir() and is_finished(folder):
        return
    settings = ["--randomize-at", str(options.randomize_at), "--threads", str(options.threads)]
    command = ["validate", "overfitting", str(before), *files(data, star)]
    napari_blush([*command, "--output", str(folder), *settings])


if __name__ == "__main__":
    main()
