"""Cost of central slices, in nanoseconds of one processor per coefficient.

    python benchmarks/slices.py [--boxes 64 128 256] [--poses 256]

Padding 2, all coefficients up to Nyquist, CPU time of one thread, best of several rounds. Two sets
of poses: ``random`` ones, the worst case, and ``psi``, one viewing direction turned in its plane,
as a search over orientations asks for them. The ceilings touch, in the same order and at
precomputed places, the four rows of voxels of each cell and do nothing else: no kernel that visits
the cells in this order can be faster. Compilation is timed in fresh processes.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from napari_blush.numerics import slice_kernels_torch
from napari_blush.numerics.packing import PackedCoordinates, packed_coordinates
from napari_blush.numerics.rotations import euler_to_matrix, random_rotations
from napari_blush.numerics.slice_backends import slice_backend, slice_kernels
from napari_blush.numerics.slice_extraction import CentralSlices
from napari_blush.numerics.slice_insertion import SliceAccumulator

BLOCK = 128
FIRST_CALL = """
import time, torch
from napari_blush.numerics.packing import packed_coordinates
from napari_blush.numerics.slice_extraction import CentralSlices, slice_backend
from napari_blush.numerics.slice_insertion import SliceAccumulator
torch.set_num_threads(1)
start = time.perf_counter()
backend = slice_backend("cpu")
imported = time.perf_counter()
coordinates = packed_coordinates(16, 8)
slices = CentralSlices(torch.zeros(16, 16, 16), r_max=8).extract(torch.eye(3)[None], coordinates)
read = time.perf_counter()
sums = SliceAccumulator(16, r_max=8)
sums.insert(torch.eye(3)[None], slices, slices.real.contiguous(), coordinates)
added = time.perf_counter()
sums.enforce_hermitian()
sums.symmetrize(torch.eye(3).repeat(2, 1, 1))
print(f"import {imported - start:.2f} s, extract {read - imported:.2f} s, "
      f"insert {added - read:.2f} s, symmetrize {time.perf_counter() - added:.2f} s")
"""


def nanoseconds(action: Callable[[], object], n_coefficients: int, rounds: int) -> float:
    """Return the least CPU time of an action per coefficient."""
    action()
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        action()
        best = min(best, time.process_time() - start)
    return best / n_coefficients * 1e9


def first_calls() -> None:
    """Print what the first calls cost with an empty and with a filled cache of compiled code."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        for state in ("empty cache", "filled cache"):
            command = [sys.executable, "-c", FIRST_CALL]
            answer = subprocess.run(command, env=environment, check=True, capture_output=True)
            print(f"first calls, {state}: {answer.stdout.decode().strip()}")


def copy_bandwidth() -> float:
    """Return gigabytes per second read and written by a copy too large for the caches."""
    source = torch.zeros(2**27)
    target = torch.empty_like(source)
    return 2 * 4 / nanoseconds(lambda: target.copy_(source), source.numel(), 3)


def touching_kernels() -> tuple[Callable[..., float], Callable[..., None]]:
    """Return functions that read, and that change, one number in each row of each cell."""
    from numba import njit  # noqa: PLC0415

    @njit(nogil=True, fastmath=True)
    def read(volume: np.ndarray, cells: np.ndarray, row: int, plane: int) -> float:
        total = np.float32(0)
        for first in range(0, cells.shape[1], BLOCK):
            last = min(first + BLOCK, cells.shape[1])
            for pose in range(cells.shape[0]):
                for cell in cells[pose, first:last]:
                    low = volume[2 * cell] + volume[2 * (cell + row)]
                    high = volume[2 * (cell + plane)] + volume[2 * (cell + plane + row)]
                    total += low + high
        return total

    @njit(nogil=True, fastmath=True)
    def write(
        data: np.ndarray, weight: np.ndarray, cells: np.ndarray, row: int, plane: int
    ) -> None:
        one = np.float32(1)
        for first in range(0, cells.shape[1], BLOCK):
            last = min(first + BLOCK, cells.shape[1])
            for pose in range(cells.shape[0]):
                for cell in cells[pose, first:last]:
                    for corner in (0, row, plane, plane + row):
                        data[2 * (cell + corner)] += one
                        weight[cell + corner] += one

    return read, write


def ceilings(
    slices: CentralSlices,
    sums: SliceAccumulator,
    rotations: Tensor,
    coordinates: PackedCoordinates,
    rounds: int,
) -> tuple[float, float]:
    """Return the cost of touching the voxels of each cell, read and read-and-written."""
    read, write = touching_kernels()
    center = sums.shape[0] // 2
    row, plane = center + 1, (center + 1) * (2 * center + 1)
    points = slices.padding * rotations[:, :, :2] @ coordinates.frequencies
    x, y, z = (points * torch.where(points[:, :1] < 0, -1, 1)).floor().to(torch.int32).unbind(1)
    cells = ((z + center) * plane + (y + center) * row + x).contiguous().numpy()
    volume = torch.view_as_real(slices.transform).flatten().numpy()
    scratch = sums.clone()
    data, weight = torch.view_as_real(scratch.data).flatten(), scratch.weight.flatten()
    return (
        nanoseconds(partial(read, volume, cells, row, plane), cells.size, rounds),
        nanoseconds(
            partial(write, data.numpy(), weight.numpy(), cells, row, plane), cells.size, rounds
        ),
    )


def pose_sets(n_poses: int) -> dict[str, Tensor]:
    """Return the sets of poses by name."""
    in_plane = torch.tensor([[40.0, 63.0, 0.0]], dtype=torch.float64).repeat(n_poses, 1)
    in_plane[:, 2] = torch.arange(n_poses) * 360.0 / n_poses
    return {
        "random": random_rotations(n_poses, torch.Generator().manual_seed(0)),
        "psi": euler_to_matrix(in_plane),
    }


def measure(box: int, n_poses: int) -> None:
    """Print one table row per backend and set of poses."""
    generator = torch.Generator().manual_seed(1)
    coordinates = packed_coordinates(box, box // 2)
    volume = torch.randn(box, box, box, generator=generator)
    start = time.process_time()
    slices = CentralSlices(volume, r_max=box // 2)
    print(
        f"box {box}: {len(coordinates)} coefficients, {slices.nbytes / 1e6:.0f} MB, "
        f"prepared in {time.process_time() - start:.2f} s of CPU time"
    )
    sums = SliceAccumulator(box, r_max=box // 2)
    backends = {slice_backend("cpu"): slice_kernels("cpu"), "torch": slice_kernels_torch}
    for name, rotations in pose_sets(n_poses).items():
        poses = rotations.float().contiguous()
        floor = (float("nan"), float("nan"))
        if importlib.util.find_spec("numba") is not None:
            floor = ceilings(slices, sums, poses, coordinates, 5)
        print(f"  {name:7s} ceiling  extract {floor[0]:6.2f}    insert {floor[1]:6.2f}")
        for backend, kernels in backends.items():
            used = poses if backend == "numba" else poses[: max(1, n_poses // 8)]
            rounds = 5 if backend == "numba" else 2
            out = torch.zeros(len(used), len(coordinates), dtype=torch.complex64)
            weights = torch.rand(out.shape, generator=generator)
            read = nanoseconds(
                partial(kernels.extract, slices.transform, used, coordinates, 2, out),
                out.numel(),
                rounds,
            )
            added = nanoseconds(
                partial(
                    kernels.insert, (sums.data, sums.weight), used, coordinates, 2, out, weights
                ),
                out.numel(),
                rounds,
            )
            print(
                f"  {name:7s} {backend:7s}  extract {read:6.2f} ({read / floor[0]:4.1f}x)"
                f"  insert {added:6.2f} ({added / floor[1]:4.1f}x)   ns per coefficient"
            )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--poses", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(1)
    first_calls()
    print(f"copy bandwidth {copy_bandwidth():.1f} GB/s read and written")
    for box in options.boxes:
        measure(box, options.poses)


if __name__ == "__main__":
    main()
