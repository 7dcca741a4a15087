"""Whether a refinement with a denoiser finds what is not in its images.

The same particles three times: as they are; with the phases of every image randomized beyond a
resolution, amplitudes kept (Chen et al., Ultramicroscopy 2013), so that nothing finer can be found;
and replaced by noise of their power spectrum, so that nothing can be found at all. Each is refined
with either prior. What is told are correlations beyond the limit, of the unfiltered half-maps with
each other and of their mean with the truth: noise where the phases were randomized. For pure noise
the limit is that of the start map; within it, its images are aligned to the start map, and average
to it ("Einstein from noise"), whatever the prior.
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt
import torch
from blush_against_baseline import SIMULATED, part_of_betagal, simulated
from measuring import engine
from measuring.datasets import Dataset
from measuring.tables import Row, markdown, write_table

from napari_blush.io.mrc import read_map
from napari_blush.numerics.correlation import fourier_shell_correlation, resolution_at
from napari_blush.numerics.point_group import symmetry_operators

Images = npt.NDArray[np.float32]
MASK_REACH = 3  # shells over which a mask carries correlation
REAL_IMAGES = 300


def main() -> None:
    """Run what the command line asks for and print the table."""
    options = parse()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="no_hallucination_") as temporary:
        keep = (options.keep or Path(temporary)).resolve()
        for name in options.sets:
            plain = plain_set(keep / name, name, options)
            for kind in options.images:
                data = plain if kind == "plain" else altered(plain, kind, options)
                limit = options.low_pass if kind == "noise" else options.limit
                for regularizer in options.regularizers:
                    output = data.folder / f"run_{regularizer}"
                    rows.append(row(name, data, kind, limit, regularizer, output, options))
                    print(markdown(rows[-1:]), flush=True)
    text = f"Denoiser: {options.denoiser}.\n\n{markdown(rows)}"
    print(f"\n{text}")
    for path in options.output:
        write_table(path, rows, text)


def parse() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = [*SIMULATED, "betagal"]
    parser.add_argument("--sets", nargs="+", choices=known, default=["medium", "betagal"])
    kinds = ["plain", "randomized", "noise"]
    parser.add_argument("--images", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--regularizers", nargs="+", default=["smoothness", "blush"])
    parser.add_argument("--limit", type=float, default=12.0, help="A; phases are random beyond")
    parser.add_argument("--denoiser", default="default", help="name or file of the weights")
    parser.add_argument("--low-pass", type=float, default=30.0, help="of the start maps, A")
    parser.add_argument("--seed", type=int, default=1, help="of images, subsets and phases")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder to keep the runs in")
    parser.add_argument("--output", type=Path, nargs="+", default=[], help=".md or .tsv")
    return parser.parse_args()


def plain_set(folder: Path, name: str, options: argparse.Namespace) -> Dataset:
    """Return the particles as they are."""
    if name in SIMULATED:
        return simulated(folder, SIMULATED[name], options)
    return part_of_betagal(folder, REAL_IMAGES, options.seed)


def altered(plain: Dataset, kind: str, options: argparse.Namespace) -> Dataset:
    """Return the set in a folder of its own, with other images in its stacks."""
    folder = plain.folder / kind
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(options.seed)
    for file in plain.folder.iterdir():
        target = folder / file.name
        if file.is_dir() and file.name != "truth":
            continue
        target.unlink(missing_ok=True)
        if file.suffix != ".mrcs":
            target.symlink_to(file.resolve())
            continue
        shutil.copy(file, target)
        with mrcfile.open(target, mode="r+") as stack:
            pixel_size = float(stack.voxel_size.x)
            shell = round(stack.data.shape[-1] * pixel_size / options.limit)
            make = ALTERATIONS[kind]
            stack.set_data(make(stack.data.astype(np.float32), shell, generator))
    return replace(plain, folder=folder)


def with_random_phases(images: Images, from_shell: int, generator: np.random.Generator) -> Images:
    """Return images with their own amplitudes, and phases of noise from a shell on."""
    transform = np.fft.rfft2(images)
    noise = np.fft.rfft2(generator.standard_normal(images.shape))
    changed = np.abs(transform) * noise / np.maximum(np.abs(noise), 1e-12)
    beyond = shells(images.shape[-1]) >= from_shell
    return np.fft.irfft2(np.where(beyond, changed, transform), images.shape[-2:]).astype("f4")


def noise_alone(images: Images, from_shell: int, generator: np.random.Generator) -> Images:
    """Return as many images of Gaussian noise with the mean power spectrum of all."""
    power = (np.abs(np.fft.rfft2(images)) ** 2).mean(0)
    shell = shells(images.shape[-1])
    of_shell = np.bincount(shell.ravel(), power.ravel()) / np.bincount(shell.ravel())
    white = np.fft.rfft2(generator.standard_normal(images.shape)) / images.shape[-1]
    return np.fft.irfft2(white * np.sqrt(of_shell)[shell], images.shape[-2:]).astype("f4")


ALTERATIONS: dict[str, Callable[[Images, int, np.random.Generator], Images]] = {
    "randomized": with_random_phases,
    "noise": noise_alone,
}


def shells(box: int) -> npt.NDArray[np.int64]:
    """Return the shell of each coefficient of ``rfft2``."""
    y, x = np.fft.fftfreq(box, 1 / box), np.fft.rfftfreq(box, 1 / box)
    return np.rint(np.hypot(y[:, None], x)).astype(np.int64)


def row(
    name: str, data: Dataset, kind: str, limit: float, regularizer: str, output: Path,
    options: argparse.Namespace,
) -> Row:  # fmt: skip
    """Refine with one regularizer; return what correlates with what."""
    shutil.rmtree(output, ignore_errors=True)
    settings = engine.settings_for(data, local_search_from=4, threads=options.threads)
    settings |= {"regularizer": regularizer, "denoiser": options.denoiser}
    run = engine.refine(data, output, settings)
    halves = [read_map(output / f"run_half{h}_class001_unfil.mrc") for h in (1, 2)]
    voxel_size = halves[0].voxel_size
    one, two = (half.volume for half in halves)
    start, mask, truth = (
        read_map(data.folder / file).volume for file in (data.reference, data.mask, data.truth)
    )
    box = one.shape[-1]
    between = fourier_shell_correlation(one * mask, two * mask)
    with_truth = fourier_shell_correlation((one + two) * mask / 2, truth * mask)
    with_start = fourier_shell_correlation((one + two) * mask / 2, start * mask)
    shell = round(box * voxel_size / limit)
    beyond = slice(shell + MASK_REACH, box // 2)
    inside = slice(2, round(box * voxel_size / options.low_pass) + 1)
    claimed = resolution_at(fourier_shell_correlation(one, two), 0.143, box, voxel_size)
    return {
        "set": name,
        "images": kind,
        "prior": regularizer,
        "limit (A)": limit,
        "half-maps, unmasked 0.143 (A)": claimed,
        "halves beyond, mean": float(between[beyond].mean()),
        "largest": float(between[beyond].max()),
        "truth beyond, mean": float(with_truth[beyond].mean()),
        "largest with truth": float(with_truth[beyond].max()),
        "spread by chance": chance(mask, beyond) * len(symmetry_operators(data.symmetry)) ** 0.5,
        "start map within its limit": float(with_start[inside].mean()),
        "iterations": len(run.iterations),
        "CPU s": run.usage.cpu_seconds,
    }


def chance(mask: torch.Tensor, beyond: slice) -> float:
    """Return the deviation of a shell's correlation between two masked maps of noise alone."""
    generator = torch.Generator().manual_seed(0)
    curves = []
    for _ in range(8):
        one, two = torch.randn(2, *mask.shape, generator=generator) * mask
        curves.append(fourier_shell_correlation(one, two)[beyond])
    return float(torch.stack(curves).square().mean().sqrt())


if __name__ == "__main__":
    with torch.no_grad():
        main()
