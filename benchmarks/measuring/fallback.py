"""The judge for where there is no independent one: FSC and angular error by our own numerics.

Maps are compared as they lie (a refinement from a start map in the right place stays there); one
global rotation is taken out of the poses.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from napari_blush.io.mrc import read_map
from napari_blush.io.star import read_particles
from napari_blush.numerics.correlation import fourier_shell_correlation, resolution_at
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import geodesic_distance_deg
from napari_blush.numerics.solvent_correction import solvent_corrected_fsc


def main() -> None:
    """Print the figures of a run as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("half1", "half2", "mask", "truth"):
        parser.add_argument(name, type=Path)
    parser.add_argument("poses", nargs="?", type=Path)
    parser.add_argument("truth_poses", nargs="?", type=Path)
    parser.add_argument("--sym", default="C1")
    given = parser.parse_args()
    first, second, mask, truth = (
        read_map(path).volume for path in (given.half1, given.half2, given.mask, given.truth)
    )
    voxel, box = read_map(given.half1).voxel_size, first.shape[0]
    curves = solvent_corrected_fsc(first, second, mask, torch.Generator().manual_seed(0))
    against_truth = fourier_shell_correlation((first + second) / 2 * mask, truth * mask)
    figures: dict[str, object] = {
        "truth_fsc05_interp_A": resolution_at(against_truth, 0.5, box, voxel),
        "truth_fsc_mean": float(against_truth[1:].mean()),
        "fsc143_corrected_interp_A": resolution_at(curves.corrected, 0.143, box, voxel),
    }
    if given.poses is not None:
        figures["poses"] = pose_errors(given.poses, given.truth_poses, given.sym)
    print(json.dumps(figures))


def pose_errors(found: Path, true: Path, symmetry: str) -> dict[str, float]:
    """Return the median angular error and the share beyond 30 degrees; rows must correspond."""
    a = read_particles(found).poses.rotations
    b = read_particles(true).poses.rotations
    mates = symmetry_operators(symmetry).to(b)[:, None] @ b
    turn = torch.eye(3, dtype=a.dtype)
    for _ in range(30):
        error, nearest = errors(a, turn @ mates)
        use = error <= max(3 * float(error.median()), 2.0)
        chosen = mates[nearest, torch.arange(len(b))]
        u, _, v = torch.linalg.svd((a[use] @ chosen[use].transpose(1, 2)).sum(0))
        sign = torch.ones(3, dtype=a.dtype)
        sign[2] = torch.linalg.det(u @ v)
        turn = u @ torch.diag(sign) @ v
    error, _ = errors(a, turn @ mates)
    return {
        "angle_median_deg": float(error.median()),
        "frac_above_30deg": float((error > 30).double().mean()),
    }


def errors(a: Tensor, mates: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance of each rotation to its nearest symmetry mate, and which that is."""
    distance = torch.stack([geodesic_distance_deg(a, mate) for mate in mates])
    nearest = distance.min(0)
    return nearest.values, nearest.indices


if __name__ == "__main__":
    main()
