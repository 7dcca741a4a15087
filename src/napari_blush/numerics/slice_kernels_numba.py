"""The slice kernels in machine code for the CPU: trilinear reading, adding and symmetrizing.

Needs numba; :mod:`slice_kernels_torch` does the same sums on any device and is the specification.
Three things make these an order of magnitude faster than a plain loop:

- Two passes over a short block of coefficients: the first, which the compiler turns into full
  vectors, finds cells and fractions; the second reads four rows of two neighbouring voxels each,
  every row one 16-byte load, through intrinsics that spell the vectors out.
- A block is done for all poses before the next block is begun. Packed coefficients are ordered by
  radius, so the poses of a batch meet in one thin shell of the volume, which fits the cache.
- Kernels run without the interpreter's lock on threads of our own. numba's parallel loops abort
  the process when a second Python thread enters them; these do not.

Must not know: boxes, units, Hermitian symmetry beyond "``x < 0`` is the conjugate of its mate".
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, no_type_check

import numpy as np
import torch
from llvmlite import ir  # type: ignore[import-untyped]
from numba import float32, int32, njit, types
from numba.extending import intrinsic
from torch import Tensor

from napari_blush.numerics.packing import PackedCoordinates
from napari_blush.numerics.worker_threads import run_on_threads

_BLOCK = 128
"""Coefficients per block: their cells and fractions stay in the first-level cache."""

_POSES_PER_TASK = 512
"""Poses per task when extracting: enough to share a shell of the volume, few enough to balance."""

_MIN_COEFFICIENTS = 96
"""Least size of a group of rings when inserting: below it, calls cost more than they do."""

_REACH = 2 * math.sqrt(3.0) + 0.01
"""Two points further apart than this (padded voxels) have no corner of their cells in common."""

# Reordering and fused multiply-adds are welcome; NaN and infinity must stay themselves.
_FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without the interpreter's lock, kept on disk where there is a place to keep it."""
    try:
        compiled = njit(nogil=True, fastmath=_FAST, cache=True)(function)
    except RuntimeError:  # numba found no folder that it may write to
        compiled = njit(nogil=True, fastmath=_FAST)(function)
    return compiled


def extract(
    transform: Tensor,
    rotations: Tensor,
    coordinates: PackedCoordinates,
    padding: int,
    slices: Tensor,
) -> None:
    """Read central slices; see :func:`slice_kernels_torch.extract`."""
    matrices = (rotations * padding).numpy()
    out = torch.view_as_real(slices).flatten(1).numpy()
    fixed = (
        torch.view_as_real(transform).flatten().numpy(),
        np.int32(transform.shape[0] // 2),
        coordinates.frequencies.numpy(),
    )
    chunk = max(1, min(_POSES_PER_TASK, -(-len(matrices) // torch.get_num_threads())))
    run_on_threads(
        partial(_extract, *fixed, matrices[first : first + chunk], out[first : first + chunk])
        for first in range(0, len(matrices), chunk)
    )


def insert(
    sums: tuple[Tensor, Tensor],
    rotations: Tensor,
    coordinates: PackedCoordinates,
    padding: int,
    values: Tensor,
    weights: Tensor,
) -> None:
    """Add slices in place; see :func:`slice_kernels_torch.insert`.

    Notes
    -----
    Threads own rings of coefficients, not poses. Two rings far enough apart have no voxel in
    common whatever the rotations, so the rings are cut into groups; first all groups of one parity
    are inserted, side by side, then all of the other. Each voxel receives its terms in one fixed
    order: the result does not depend, to the last bit, on the number of threads, and no thread
    needs a volume of its own.
    """
    if len(rotations) == 0:
        return
    data, weight = sums
    fixed = (
        torch.view_as_real(data).flatten().numpy(),
        weight.flatten().numpy(),
        np.int32(data.shape[0] // 2),
        coordinates.frequencies.numpy(),
        (rotations * padding).numpy(),
        torch.view_as_real(values).flatten(1).numpy(),
        weights.numpy(),
    )
    gap = _least_ring_gap(rotations, coordinates.r_max, padding)
    groups = _ring_groups(coordinates, values.shape[1], gap)
    for parity in (1, 0):
        # The outermost groups are the largest: begin with them.
        mine = [group for number, group in enumerate(groups) if number % 2 == parity][::-1]
        run_on_threads(partial(_insert, *fixed, group) for group in mine)


def symmetrize(sums: tuple[Tensor, Tensor], operators: Tensor) -> tuple[Tensor, Tensor]:
    """Sum rotated copies; see :func:`slice_kernels_torch.symmetrize`."""
    data, weight = sums
    edge = data.shape[0]
    new_data, new_weight = torch.zeros_like(data), torch.zeros_like(weight)
    fixed = (
        torch.view_as_real(data).flatten().numpy(),
        weight.flatten().numpy(),
        np.int32(edge // 2),
        operators.to(torch.float64).numpy(),
        torch.view_as_real(new_data).flatten(2).numpy(),
        new_weight.numpy(),
    )
    chunk = -(-edge // (4 * torch.get_num_threads()))
    run_on_threads(
        partial(_symmetrize, *fixed, (first, min(first + chunk, edge)))
        for first in range(0, edge, chunk)
    )
    return new_data, new_weight


def _least_ring_gap(rotations: Tensor, r_max: int, padding: int) -> int:
    """Return how many rings must lie between two groups for them to share no voxel.

    The matrices may stretch (anisotropic magnification), which brings rings nearer each other.
    """
    columns = rotations[:, :, :2]
    gram = (columns.mT @ columns).double()
    a, b, d = gram[:, 0, 0], gram[:, 0, 1], gram[:, 1, 1]
    spread = torch.sqrt(((a - d) / 2) ** 2 + b**2)
    longest = float(((a + d) / 2 + spread).amax().sqrt())
    shortest = float(((a + d) / 2 - spread).amin().clamp(min=0).sqrt())
    gap = (_REACH + (longest - shortest) * r_max * padding) / max(padding * shortest, 1e-6)
    return math.ceil(gap) if gap < r_max else r_max


def _ring_groups(
    coordinates: PackedCoordinates, count: int, least_gap: int
) -> list[tuple[int, int]]:
    """Cut the first ``count`` coefficients into runs of at least ``least_gap`` rings."""
    groups, first, first_ring = [], 0, 0
    for ring, end in enumerate(coordinates.ring_ends):
        end = min(end, count)
        if ring - first_ring >= least_gap and end - first >= _MIN_COEFFICIENTS:
            groups.append((first, end))
            first, first_ring = end, ring
    if first < count:
        groups.append((first, count))
    return groups


_FUSED = ("contract",)
_I32, _I64, _F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()


def _vector(size: int) -> ir.VectorType:
    return ir.VectorType(_F32, size)


def _lanes(builder: Any, first: Any, second: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(
        first, second, ir.Constant(ir.VectorType(_I32, len(lanes)), lanes)
    )


def _spread(builder: Any, scalar: Any, size: int) -> Any:
    """Return a vector of ``size`` times ``scalar``."""
    empty = ir.Constant(_vector(size), ir.Undefined)
    return _lanes(builder, builder.insert_element(empty, scalar, _I32(0)), empty, [0] * size)


def _joined(builder: Any, *scalars: Any) -> Any:
    vector = ir.Constant(_vector(len(scalars)), ir.Undefined)
    for lane, scalar in enumerate(scalars):
        vector = builder.insert_element(vector, scalar, _I32(lane))
    return vector


def _row(builder: Any, array: Any, voxel: Any, size: int, *, per_voxel: int) -> Any:
    """Return a pointer to ``size`` floats from ``voxel`` on."""
    offset = builder.mul(builder.sext(voxel, _I64), _I64(per_voxel))
    return builder.bitcast(builder.gep(array, [offset]), _vector(size).as_pointer())


def _mix(builder: Any, low: Any, high: Any, fraction: Any) -> Any:
    step = builder.fmul(builder.fsub(high, low, flags=_FUSED), fraction, flags=_FUSED)
    return builder.fadd(low, step, flags=_FUSED)


def _corners(builder: Any, cell: Any, steps: Any) -> list[Any]:
    """Return the first voxels of the four rows of a cell: (z, y), (z, y+1), (z+1, y), ..."""
    step_y, step_z = (builder.extract_value(steps, axis) for axis in (0, 1))
    above = builder.add(cell, step_z)
    return [cell, builder.add(cell, step_y), above, builder.add(above, step_y)]


@intrinsic
@no_type_check
def _read_cell(typing_context, volume, cell, steps, place):
    """Interpolate complex voxels of a cell at ``place = (fx, fy, fz, sign)``.

    A negative sign conjugates, sign zero gives zero. ``steps`` are the voxels per row and plane.
    """
    result = types.UniTuple(types.float32, 2)

    def generate(context, builder, signature, arguments):
        volume, cell, steps, place = arguments
        array = context.make_array(signature.args[0])(context, builder, volume).data
        fx, fy, fz, sign = (builder.extract_value(place, lane) for lane in range(4))
        rows = [
            builder.load(_row(builder, array, voxel, 4, per_voxel=2), align=4)
            for voxel in _corners(builder, cell, steps)
        ]
        along_z = _spread(builder, fz, 4)
        low = _mix(builder, rows[0], rows[2], along_z)
        high = _mix(builder, rows[1], rows[3], along_z)
        pair = _mix(builder, low, high, _spread(builder, fy, 4))
        left = _lanes(builder, pair, pair, [0, 1])
        right = _lanes(builder, pair, pair, [2, 3])
        value = _mix(builder, left, right, _spread(builder, fx, 2))
        value = builder.fmul(value, _joined(builder, builder.fmul(sign, sign), sign))
        parts = [builder.extract_element(value, _I32(lane)) for lane in (0, 1)]
        return context.make_tuple(builder, result, parts)

    return result(volume, cell, steps, place), generate


@intrinsic
@no_type_check
def _add_to_cell(typing_context, data, weight, cell, steps, place, terms):
    """Spread ``terms = (real, imaginary, weight)`` over the corners of a cell; see above."""

    def generate(context, builder, signature, arguments):
        data, weight, cell, steps, place, terms = arguments
        arrays = [
            context.make_array(kind)(context, builder, array).data
            for kind, array in zip(signature.args[:2], (data, weight), strict=True)
        ]
        fx, fy, fz, sign = (builder.extract_value(place, lane) for lane in range(4))
        real, imaginary, mass = (builder.extract_value(terms, lane) for lane in range(3))
        size, one = builder.fmul(sign, sign), _F32(1.0)
        shares = _joined(builder, builder.fsub(one, fx), fx)
        value = _joined(builder, builder.fmul(real, size), builder.fmul(imaginary, sign))
        value = builder.fmul(
            _lanes(builder, value, value, [0, 1, 0, 1]),
            _lanes(builder, shares, shares, [0, 0, 1, 1]),
        )
        mass = builder.fmul(_spread(builder, builder.fmul(mass, size), 2), shares)
        along_y, along_z = (builder.fsub(one, fy), fy), (builder.fsub(one, fz), fz)
        for corner, voxel in enumerate(_corners(builder, cell, steps)):
            share = builder.fmul(along_z[corner // 2], along_y[corner % 2])
            for array, term, width in zip(arrays, (value, mass), (4, 2), strict=True):
                row = _row(builder, array, voxel, width, per_voxel=width // 2)
                part = builder.fmul(term, _spread(builder, share, width), flags=_FUSED)
                total = builder.fadd(builder.load(row, align=4), part, flags=_FUSED)
                builder.store(total, row, align=4)
        return context.get_dummy_value()

    return types.void(data, weight, cell, steps, place, terms), generate


@_compiled
@no_type_check
def _steps(center):
    """Return the voxels per row and per plane; integer arithmetic widens, hence the casts."""
    return int32(center + 1), int32((center + 1) * (2 * center + 1))


@_compiled
@no_type_check
def _locate(center, matrix, origin, kx, ky, cells, places):
    """Find the cells of the points ``matrix @ (kx, ky) + origin``, mirrored to ``x >= 0``."""
    zero, one = float32(0.0), float32(1.0)
    row, plane = _steps(center)
    limit = float32(center) * float32(center)
    ax, ay, az = matrix[0, 0], matrix[1, 0], matrix[2, 0]
    bx, by, bz = matrix[0, 1], matrix[1, 1], matrix[2, 1]
    ox, oy, oz = origin[0], origin[1], origin[2]
    fx, fy, fz, signs = places[0], places[1], places[2], places[3]
    for j in range(kx.size):
        x = ax * kx[j] + bx * ky[j] + ox
        y = ay * kx[j] + by * ky[j] + oy
        z = az * kx[j] + bz * ky[j] + oz
        sign = -one if x < 0 else one
        inside = x * x + y * y + z * z < limit
        x, y, z = x * sign, y * sign, z * sign
        floor_x, floor_y, floor_z = np.floor(x), np.floor(y), np.floor(z)
        cell = (int32(floor_z) + center) * plane + (int32(floor_y) + center) * row + int32(floor_x)
        # Points outside read zero times, and add zero to, a cell that is always there.
        cells[j] = cell if inside else int32(0)
        signs[j] = sign if inside else zero
        fx[j] = x - floor_x if inside else zero
        fy[j] = y - floor_y if inside else zero
        fz[j] = z - floor_z if inside else zero


@_compiled
@no_type_check
def _extract(volume, center, frequencies, matrices, out):
    count = out.shape[1] // 2
    steps = _steps(center)
    cells, places = np.empty(_BLOCK, np.int32), np.empty((4, _BLOCK), np.float32)
    origin = np.zeros(3, np.float32)
    for first in range(0, count, _BLOCK):
        last = min(first + _BLOCK, count)
        kx, ky = frequencies[0, first:last], frequencies[1, first:last]
        for pose in range(matrices.shape[0]):
            _locate(center, matrices[pose], origin, kx, ky, cells, places)
            row = out[pose, 2 * first : 2 * last]
            for j in range(last - first):
                place = (places[0, j], places[1, j], places[2, j], places[3, j])
                row[2 * j], row[2 * j + 1] = _read_cell(volume, cells[j], steps, place)


@_compiled
@no_type_check
def _insert(data, weight, center, frequencies, matrices, values, weights, group):
    steps = _steps(center)
    cells, places = np.empty(_BLOCK, np.int32), np.empty((4, _BLOCK), np.float32)
    origin = np.zeros(3, np.float32)
    begin, end = group
    n_blocks = -(-(end - begin) // _BLOCK)
    for number in range(n_blocks):
        # Equal blocks: a short last one would cost as much as a full one.
        first = begin + (end - begin) * number // n_blocks
        last = begin + (end - begin) * (number + 1) // n_blocks
        kx, ky = frequencies[0, first:last], frequencies[1, first:last]
        for pose in range(matrices.shape[0]):
            _locate(center, matrices[pose], origin, kx, ky, cells, places)
            row, masses = values[pose, 2 * first : 2 * last], weights[pose, first:last]
            for j in range(last - first):
                place = (places[0, j], places[1, j], places[2, j], places[3, j])
                terms = (row[2 * j], row[2 * j + 1], masses[j])
                _add_to_cell(data, weight, cells[j], steps, place, terms)


@_compiled
@no_type_check
def _symmetrize(data, weight, center, operators, new_data, new_weight, planes):
    steps = _steps(center)
    line_x, zero = np.arange(center + 1).astype(np.float32), np.zeros(center + 1, np.float32)
    cells, places = np.empty(center + 1, np.int32), np.empty((4, center + 1), np.float32)
    for plane in range(planes[0], planes[1]):
        for line in range(2 * center + 1):
            z, y = plane - center, line - center
            room = center * center - z * z - y * y
            width = int(np.ceil(np.sqrt(max(room, 0))))
            for operator in operators:
                origin = (operator[:, 1] * y + operator[:, 2] * z).astype(np.float32)
                matrix = operator.astype(np.float32)
                _locate(center, matrix, origin, line_x[:width], zero[:width], cells, places)
                for j in range(width):
                    place = (places[0, j], places[1, j], places[2, j], places[3, j])
                    real, imaginary = _read_cell(data, cells[j], steps, place)
                    new_data[plane, line, 2 * j] += real
                    new_data[plane, line, 2 * j + 1] += imaginary
                    new_weight[plane, line, j] += _read_weight(weight, cells[j], steps, place)


@_compiled
@no_type_check
def _read_weight(weight, cell, steps, place):
    fx, fy, fz, sign = place
    above, one = cell + steps[1], float32(1.0)
    low = (one - fx) * weight[cell] + fx * weight[cell + 1]
    high = (one - fx) * weight[cell + steps[0]] + fx * weight[cell + steps[0] + 1]
    low_above = (one - fx) * weight[above] + fx * weight[above + 1]
    high_above = (one - fx) * weight[above + steps[0]] + fx * weight[above + steps[0] + 1]
    below = (one - fy) * low + fy * high
    return sign * sign * (below + fz * ((one - fy) * low_above + fy * high_above - below))
