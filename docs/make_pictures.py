"""Draws the README's picture from the folder of a finished demo run (``make demo``).

    python docs/make_pictures.py [RUN_FOLDER] [--output docs/images/refinement.png]

Above, as lit surfaces of equal volume: the start map, an unfiltered half-map inside the mask, the
final map, the known density. Below: the FSC between the half-maps in the first, a middle and the
last iteration, each as far as it looked, and of the final map with the known density. The
background is transparent and the gray of the lettering is legible on white and on black. Needs the
dependency group ``docs`` (matplotlib).
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter

from napari_blush.io.mrc import read_map
from napari_blush.io.run_history import read_history
from napari_blush.numerics.correlation import fourier_shell_correlation, resolution_at
from napari_blush.numerics.fft import fourier_resize

REPOSITORY = Path(__file__).resolve().parents[1]
SAMPLE = REPOSITORY / "sample_data"

INK = "#79828c"
MAPS = ("#9aa4ae", "#d69a5a", "#4f8fd0", "#5aa58a")
CURVES = {
    "corrected": ("corrected", "#4f8fd0", 2.6),
    "masked": ("masked", "#d69a5a", 1.2),
    "unmasked": ("unmasked", INK, 1.2),
    "phase_randomized": ("phases randomized", "#c0607a", 1.2),
}
PROTEIN_VOLUME = 128e3 * 1.21  # cubic angstrom: 128 kDa at 0.826 Da per cubic angstrom
FINE_BOX = 224  # voxels along an edge of the lit maps
RIM_Y, RIM_X = 28, 40  # of these, left out on each side
DOTS_PER_INCH = 120
TICKS = (40, 20, 12, 8, 6)  # angstrom


class Surface(NamedTuple):
    """A map to be lit: its caption and its density."""

    caption: str
    volume: torch.Tensor


def main() -> None:
    """Read the run, draw, and say what stands in the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", type=Path, default=REPOSITORY / "demo_output")
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY / "docs" / "images" / "refinement.png"
    )
    options = parser.parse_args()
    history = read_history(options.run)
    if not history or not (options.run / "run_class001.mrc").is_file():
        raise SystemExit(f"{options.run} holds no finished run; make one with `make demo`.")
    truth, voxel = read(SAMPLE / "truth" / "truth.mrc"), history[0]["voxel_size"]
    final = read(options.run / "run_class001.mrc")
    resolution = final_resolution(history[-1])
    mask = read(SAMPLE / "mask.mrc")
    half_map = read(options.run / "run_half1_class001_unfil.mrc")
    surfaces = (
        Surface("start map, 40 Å", read(SAMPLE / "start_map.mrc")),
        Surface("a half-map, unfiltered", half_map * mask),
        Surface(f"final map, {resolution:.1f} Å", final),
        Surface("known density", truth),
    )
    against_truth = fourier_shell_correlation(final * mask, truth * mask)
    draw(surfaces, history, against_truth, voxel, options.output)
    print(f"Wrote {options.output}: {options.output.stat().st_size / 1000:.0f} kB")
    print(f"Half-maps at 0.143, corrected: {resolution:.2f} A after {len(history)} iterations")
    at = resolution_at(against_truth, 0.5, mask.shape[0], voxel)
    print(
        f"Final map with the known density, masked: 0.5 at {at:.2f} A, mean over shells "
        f"{float(against_truth[1:].mean()):.3f}"
    )


def read(path: Path) -> torch.Tensor:
    """Return the density of a map."""
    return read_map(path).volume


def final_resolution(line: dict[str, Any]) -> float:
    """Return where the corrected curve of an iteration falls below 0.143, in angstrom."""
    corrected = torch.tensor(line["fsc"]["corrected"])
    return resolution_at(corrected, 0.143, 2 * (len(corrected) - 1), line["voxel_size"])


def draw(
    surfaces: tuple[Surface, ...],
    history: list[dict[str, Any]],
    against_truth: torch.Tensor,
    voxel: float,
    output: Path,
) -> None:
    """Draw surfaces above and curves below."""
    mpl.rcParams.update(
        {
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "text.color": INK,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
        }
    )
    figure = Figure(figsize=(10, 5.8))
    grid = figure.add_gridspec(
        2, 4, height_ratios=(1.35, 1), left=0.06, right=0.985, top=0.955, bottom=0.155
    )
    turn = upright(surfaces[-1].volume)
    for column, (surface, color) in enumerate(zip(surfaces, MAPS, strict=True)):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(lit(turned(surface.volume, turn), voxel, color), interpolation="bilinear")
        axes.set_axis_off()
        axes.set_title(surface.caption, fontsize=10)
    chosen = (history[0], history[len(history) // 2], history[-1])
    for column, line in enumerate(chosen):
        axes = figure.add_subplot(grid[1, column])
        seen = line["current_size"] // 2 + 1
        for name, (label, color, width) in CURVES.items():
            axes.plot(line["fsc"][name][:seen], color=color, lw=width, label=label)
        last = ", all data" if column == 2 else ""
        decorate(axes, f"iteration {line['iteration']}{last}", 0.143, len(against_truth), voxel)
        if column == 0:
            axes.set_ylabel("Fourier shell correlation")
            figure.legend(loc="lower center", ncols=4, frameon=False, bbox_to_anchor=(0.4, -0.005))
        else:
            axes.set_yticklabels([])
    axes = figure.add_subplot(grid[1, 3])
    axes.plot(against_truth, color=MAPS[3], lw=2.0)
    decorate(axes, "final map with known density", 0.5, len(against_truth), voxel)
    axes.set_yticklabels([])
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=DOTS_PER_INCH, transparent=True)


def decorate(axes: Axes, title: str, threshold: float, n_shells: int, voxel: float) -> None:
    """Give a plot of curves its ticks in angstrom, its threshold and its title."""
    length = 2 * (n_shells - 1) * voxel
    axes.axhline(threshold, color=INK, lw=0.8, ls=(0, (4, 3)))
    axes.text(1, threshold + 0.02, f"{threshold:g}", fontsize=7.5)
    axes.set_xticks([length / angstrom for angstrom in TICKS], [str(a) for a in TICKS])
    axes.set_xlim(0, n_shells - 1)
    axes.set_ylim(-0.12, 1.03)
    axes.set_yticks([0, 0.5, 1])
    axes.set_xlabel("resolution (Å)")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.patch.set_alpha(0)


def upright(volume: torch.Tensor) -> NDArray[np.float64]:
    """Return the rotation (rows: new z, y, x) that stands a particle up, broad side in front."""
    density = volume.clamp(min=0).double().numpy()
    index = np.stack(np.meshgrid(*[np.arange(n) - n // 2 for n in density.shape], indexing="ij"))
    points, weights = index.reshape(3, -1), density.ravel()
    center = (points * weights).sum(1, keepdims=True) / weights.sum()
    moments = ((points - center) * weights) @ (points - center).T
    _, axes = np.linalg.eigh(moments)
    front, across, long = axes.T
    turn = np.stack([front, long, across])
    return turn * np.sign(np.linalg.det(turn))


def turned(volume: torch.Tensor, turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a map on a finer grid, in another orientation."""
    fine = fourier_resize(volume, FINE_BOX).double().numpy()
    center = FINE_BOX // 2
    return affine_transform(fine, turn.T, center - turn.T @ np.full(3, center), order=1)


def lit(volume: NDArray[np.float64], voxel: float, color: str) -> NDArray[np.float64]:
    """Return an image (y, x, RGBA) of the surface that encloses the volume of the protein.

    Seen along z; bright where it faces the light, darker in the depth and in hollows.
    """
    fine_voxel = voxel * 64 / FINE_BOX
    enclosed = round(PROTEIN_VOLUME / fine_voxel**3)
    level = np.partition(volume.ravel(), -enclosed)[-enclosed]
    inside = volume > level
    hit = inside.any(0)
    front = np.where(hit, inside.argmax(0), volume.argmax(0))
    rows, columns = np.indices(hit.shape)
    behind, before = volume[front, rows, columns], volume[front - 1, rows, columns]
    part = np.clip((level - before) / np.where(behind > before, behind - before, 1), 0, 1)
    depth = front - 1 + part
    smooth = gaussian_filter(volume, 1.0)
    normal = np.stack([g[front, rows, columns] for g in np.gradient(smooth)])
    normal = -normal / np.maximum(np.linalg.norm(normal, axis=0), 1e-12)
    light = np.array([-0.75, -0.5, -0.43])
    diffuse = np.clip(np.tensordot(light / np.linalg.norm(light), normal, 1), 0, 1)
    far = np.where(hit, depth, depth[hit].max() if hit.any() else 0)
    hollow = np.clip((far - gaussian_filter(far, 6)) / 14, 0, 0.6)
    span = np.ptp(depth[hit])
    fading = 1 - 0.35 * (depth - depth[hit].min()) / max(span, 1)
    shade = (0.35 + 0.75 * diffuse) * fading * (1 - hollow)
    image = np.empty((*hit.shape, 4))
    image[..., :3] = np.clip(shade[..., None] * np.array(to_rgb(color)), 0, 1)
    most = volume.max(0)
    slope = np.hypot(*np.gradient(most))
    image[..., 3] = np.clip(0.5 + (most - level) / np.maximum(slope, 1e-12), 0, 1)
    return image[RIM_Y:-RIM_Y, RIM_X:-RIM_X]


if __name__ == "__main__":
    main()
