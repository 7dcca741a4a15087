"""Our way of applying the denoiser beside the published settings, through the same network.

Published: stride 20 of 64, one block at a time, float32 (mode ``release``). Ours: the defaults.
Both on the same map in the same run, in CPU seconds, so that other work on the machine counts
little. Boxes are of the denoiser's own voxels. A sample of the blocks is timed and scaled to all;
the differences come from a box that both go through in full, and in the large boxes, which copies
of the sample's model fill, from random cubes in the particle, with all blocks that reach into them:
to our windows at the published stride, one block at a time in float32, and to the published recipe
as it stands, each over the standard deviation of the map inside the particle.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from itertools import combinations
from pathlib import Path

import torch
from measuring.datasets import REPOSITORY
from measuring.denoise_child import RANDOM, denoiser_of
from measuring.tables import Row, markdown, write_table
from torch import Tensor

from napari_blush.io.atoms import read_atoms
from napari_blush.numerics.fft import irfftn_centered, rfftn_centered
from napari_blush.numerics.masks import soft_mask_from_volume, soft_sphere
from napari_blush.numerics.rotations import random_rotations
from napari_blush.numerics.shells import shell_mean
from napari_blush.simulation.atomic_density import centered_in_box, density_of_atoms

CHILD = Path(__file__).parent / "measuring" / "denoise_child.py"
MODEL = REPOSITORY / "sample_data" / "6msm.pdb.gz"
SNR_AT_THRESHOLD = 1 / 6  # of a half-map where the FSC of two is 0.143
B_FACTOR = 60.0
COPIES_APART = 120.0  # angstrom
CUBE = 8  # voxels along the edge of a cube that is compared
RELEASE_EDGE = 45.0  # angstrom at the rim of the box that the published mask fades over
Options = dict[str, object]
PUBLISHED: Options = {"mode": "release", "batch_size": 1, "precision": "float32"}
OURS: Options = {}


def main() -> None:
    """Measure what the command line asks for and print the tables."""
    options = parse()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        times = [
            row
            for denoiser in options.denoisers
            for box in options.boxes
            for row in timed(folder, denoiser, box, options)
        ]
        differences = [
            row
            for denoiser in options.denoisers
            if denoiser != RANDOM and options.full_box
            for row in compared(folder, denoiser, options)
        ]
        sampled = [
            row
            for denoiser in options.denoisers
            if denoiser != RANDOM and options.cubes
            for box in options.boxes
            for row in compared_in_cubes(folder, denoiser, box, options)
        ]
    text = "\n\n".join(markdown(rows) for rows in (times, differences, sampled) if rows)
    print(text)
    for path in options.output:
        write_table(path, [*times, *differences, *sampled], text)


def parse() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boxes", type=int, nargs="*", default=[128, 256, 384])
    parser.add_argument(
        "--denoisers",
        nargs="+",
        default=["default", RANDOM],
        help="names, files, or random weights",
    )
    parser.add_argument("--blocks", type=int, default=12, help="timed of each setting")
    parser.add_argument("--full-box", type=int, default=80, help="denoised in full; 0: none")
    parser.add_argument("--cubes", type=int, default=12, help="compared of large boxes; 0: none")
    parser.add_argument("--resolution", type=float, nargs="+", default=[8.0, 14.0])
    parser.add_argument("--strides", type=int, nargs="*", default=[8, 10, 12, 14, 16, 20])
    parser.add_argument(
        "--diameter", type=float, default=0.8, help="of the particle that is stated, in boxes"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, nargs="+", default=[], help=".md or .tsv")
    return parser.parse_args()


def half_map(
    box: int, voxel_size: float, resolution: float, copies_within: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return a noisy map of the sample's model, and where the particle is.

    ``copies_within`` angstrom of the middle turned copies of the model stand side by side.
    """
    atoms = read_atoms(MODEL)
    positions = atoms.positions.float()
    positions = positions - positions.mean(0)
    places = torch.zeros(1, 3)
    if copies_within:
        reach = torch.arange(-copies_within, copies_within + 1, COPIES_APART)
        places = torch.cartesian_prod(reach, reach, reach)
        places = places[places.norm(dim=1) <= copies_within]
    turns = random_rotations(len(places), torch.Generator().manual_seed(2)).float()
    placed = (positions @ turns.mT + places[:, None]).reshape(-1, 3)
    b_factors = atoms.b_iso.float().clamp_min(0) + B_FACTOR
    density = density_of_atoms(
        centered_in_box(placed, box, voxel_size),
        atoms.atomic_number.repeat(len(places)),
        b_factors.repeat(len(places)),
        box_size=box,
        voxel_size=voxel_size,
    )
    power = shell_mean(rfftn_centered(density).abs().square(), box, 3)
    shell = min(round(box * voxel_size / resolution), box // 2)
    noise = rfftn_centered(torch.randn(box, box, box, generator=torch.Generator().manual_seed(1)))
    noise *= (power[shell] / SNR_AT_THRESHOLD / box**3).sqrt()
    return density + irfftn_centered(noise, box), soft_mask_from_volume(density, voxel_size) > 0.5


def run(
    folder: Path, denoiser: str, volume: Tensor, options: Options, asked: argparse.Namespace,
    *, most_blocks: int, output: str = "", cubes: list[list[int]] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Denoise in a process of its own; return what it took."""
    torch.save(volume, folder / "map.pt")
    job = {
        "denoiser": denoiser,
        "map": str(folder / "map.pt"),
        "options": options,
        "threads": asked.threads,
        "most_blocks": most_blocks,
        "output": output,
        "cubes": cubes,
    }
    done = subprocess.run(
        [sys.executable, CHILD, json.dumps(job)], stdout=subprocess.PIPE, check=True, text=True
    )
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(denoiser, tuple(volume.shape), options, told, file=sys.stderr, flush=True)
    return told


def timed(folder: Path, denoiser: str, box: int, asked: argparse.Namespace) -> list[Row]:
    """Return a row for the published settings and one for ours."""
    voxel_size = denoiser_of(denoiser).voxel_size
    # What is in the map does not change the time that it takes.
    volume = torch.randn(box, box, box, generator=torch.Generator().manual_seed(1))
    rows: list[Row] = []
    published_seconds = 0.0
    stated: Options = {"particle_diameter": asked.diameter * box * voxel_size}
    for name, options in (("published", PUBLISHED | stated), ("ours", OURS | stated)):
        took = run(folder, denoiser, volume, options, asked, most_blocks=asked.blocks)
        seconds = took["around"] + took["per_block"] * took["blocks"]
        published_seconds = published_seconds or seconds
        rows.append(
            {
                "weights": Path(denoiser).stem,
                "box": box,
                "settings": name,
                "blocks": int(took["blocks"]),
                "of them timed": int(took["run"]),
                "s per block": took["per_block"],
                "s around": took["around"],
                "CPU s in all": seconds,
                "times faster": published_seconds / seconds,
                "peak MB": took["peak_mb"],
            }
        )
    return rows


def compared(folder: Path, name: str, asked: argparse.Namespace) -> list[Row]:
    """Return the differences of strides and of the defaults, on maps gone through in full."""
    denoiser = denoiser_of(name)
    box, voxel_size, block = asked.full_box, denoiser.voxel_size, denoiser.block_size
    finest = round(20 / 64 * block)
    rows: list[Row] = []
    for resolution in asked.resolution:
        volume, inside = half_map(box, voxel_size, resolution)
        whole = soft_sphere(box, box / 2 - RELEASE_EDGE / voxel_size - 1, 0.0) > 0
        spread = volume[inside].std()

        def denoised(options: Options, volume: Tensor = volume) -> tuple[Tensor, dict[str, float]]:
            output = folder / "denoised.pt"
            took = run(folder, name, volume, options, asked, most_blocks=10**6, output=str(output))
            return torch.load(output), took

        ours_float: Options = {"precision": "float32"}
        reference, _ = denoised({"stride": finest, "batch_size": 1, **ours_float})
        published, _ = denoised(PUBLISHED)
        settings: dict[str, Options] = {"published": PUBLISHED, "defaults": OURS}
        settings |= {f"stride {s}": {"stride": s, **ours_float} for s in asked.strides}
        settings |= {f"stride {finest}, half precision": {"stride": finest}}
        for label, options in settings.items():
            found, took = denoised(options)
            error = (found - reference)[inside].std()
            to_published = (found - published)[inside & whole].std()
            rows.append(
                {
                    "weights": Path(name).stem,
                    "map's FSC 0.143 (A)": resolution,
                    "settings": label,
                    "blocks": int(took["blocks"]),
                    f"to stride {finest} (% of map)": 100 * float(error / spread),
                    "(% of denoised)": 100 * float(error / reference[inside].std()),
                    "to published (% of map)": 100 * float(to_published / spread),
                }
            )
    return rows


def compared_in_cubes(folder: Path, name: str, box: int, asked: argparse.Namespace) -> list[Row]:
    """Return how far the defaults are from the published stride, and settings, in random cubes."""
    denoiser = denoiser_of(name)
    voxel_size, finest = denoiser.voxel_size, round(20 / 64 * denoiser.block_size)
    diameter = asked.diameter * box * voxel_size
    rows: list[Row] = []
    for resolution in asked.resolution:
        volume, inside = half_map(
            box, voxel_size, resolution, copies_within=diameter / 2 - COPIES_APART / 2
        )
        # Where the published mask, which fades far into the box, leaves the particle whole.
        whole = soft_sphere(box, box / 2 - RELEASE_EDGE / voxel_size - 1, 0.0) > 0
        middles = (inside & whole).nonzero()
        draw = torch.Generator().manual_seed(3)
        chosen = middles[torch.randperm(len(middles), generator=draw)[: asked.cubes]]
        corners = (chosen - CUBE // 2).clamp(0, box - CUBE)
        cubes = [[*corner, CUBE] for corner in corners.tolist()]
        looked_at = torch.zeros_like(inside)
        for z, y, x, size in cubes:
            looked_at[z : z + size, y : y + size, x : x + size] = True
        looked_at &= inside & whole
        spread = volume[inside].std()
        found: dict[str, Tensor] = {}
        settings: dict[str, Options] = {
            f"stride {finest}": {"stride": finest, "batch_size": 1, "precision": "float32"},
            "published": PUBLISHED,
            "ours": OURS,
        }
        for label, options in settings.items():
            output = folder / "cubes.pt"
            stated = options | {"particle_diameter": diameter}
            run(folder, name, volume, stated, asked, most_blocks=0, output=str(output), cubes=cubes)
            found[label] = torch.load(output)[looked_at]

        percent = {
            (one, other): 100 * float((found[one] - found[other]).std() / spread)
            for one, other in combinations(found, 2)
        }
        rows.append(
            {
                "weights": Path(name).stem,
                "box": box,
                "map's FSC 0.143 (A)": resolution,
                "voxels": int(looked_at.sum()),
                f"ours to stride {finest} (% of map)": percent[f"stride {finest}", "ours"],
                "ours to published": percent["published", "ours"],
                f"stride {finest} to published": percent[f"stride {finest}", "published"],
            }
        )
    return rows


if __name__ == "__main__":
    with torch.no_grad():
        main()
