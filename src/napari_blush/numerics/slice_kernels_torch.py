"""The slice kernels in plain tensor operations: any device, and the specification of the others.

A cropped, centered half transform has the layout ``[z, y, x]`` of shape ``(D, D, c + 1)`` with
``D = 2 c + 1`` and its origin at ``(c, c, 0)``. A point with ``x < 0`` is read as the conjugate of
its mate ``-p``. Points with ``|p| >= c`` read zero and receive nothing.

Must not know: boxes, units, or which transform the numbers come from.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from napari_blush.numerics.packing import PackedCoordinates

_POINTS_AT_ONCE = {"cpu": 2**18, "gpu": 2**24}
"""Points per chunk: temporaries take about 200 bytes a point; on the CPU they stay in cache."""


class _Cells(NamedTuple):
    """Of each point: flat index of its cell's first voxel, fractions, and sign (0 if outside)."""

    cell: Tensor
    fx: Tensor
    fy: Tensor
    fz: Tensor
    sign: Tensor


def extract(
    transform: Tensor,
    rotations: Tensor,
    coordinates: PackedCoordinates,
    padding: int,
    slices: Tensor,
) -> None:
    """Read central slices by trilinear interpolation.

    Parameters
    ----------
    transform : (D, D, c + 1) complex64
        Cropped, centered half transform of the padded volume, contiguous.
    rotations : (m, 3, 3) float32
        On the device of the transform; only the first two columns are used.
    coordinates : PackedCoordinates
        Of the unpadded images, same device.
    padding : int
        Voxels of the transform per Fourier pixel of the images.
    slices : (m, count) complex64
        Contiguous; overwritten with the result.
    """
    rows = _overlapping_pairs(transform)
    center, edge = transform.shape[0] // 2, transform.shape[0]
    count = slices.shape[1]
    for chunk in _chunks(len(rotations), count, transform.device):
        points = _slice_points(rotations[chunk], coordinates, count, padding)
        cells = _locate(points, center)
        slices[chunk] = _read(rows, cells, edge).reshape(-1, count)


def insert(
    sums: tuple[Tensor, Tensor],
    rotations: Tensor,
    coordinates: PackedCoordinates,
    padding: int,
    values: Tensor,
    weights: Tensor,
) -> None:
    """Add slices to volumes in place: the adjoint of :func:`extract` on values and weights.

    Parameters
    ----------
    sums : (D, D, c + 1) complex64 and float32
        Data and weight, contiguous.
    rotations : (m, 3, 3) float32
    coordinates : PackedCoordinates
    padding : int
    values : (m, count) complex64
    weights : (m, count) float32
    """
    data, weight = sums
    edge, count = data.shape[0], values.shape[1]
    flat = torch.view_as_real(data).reshape(-1, 2)
    targets = (flat[:, 0], flat[:, 1], weight.reshape(-1))
    for chunk in _chunks(len(rotations), count, data.device):
        points = _slice_points(rotations[chunk], coordinates, count, padding)
        cells = _locate(points, edge // 2)
        inside = cells.sign.abs()
        terms = (
            values[chunk].real.reshape(-1) * inside,
            values[chunk].imag.reshape(-1) * cells.sign,
            weights[chunk].reshape(-1) * inside,
        )
        for offset, share in _corner_shares(cells, edge):
            index = cells.cell + offset
            for target, term in zip(targets, terms, strict=True):
                _scatter_add(target, index, term * share)


def symmetrize(sums: tuple[Tensor, Tensor], operators: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the copies of volumes rotated by each operator, interpolated trilinearly.

    Parameters
    ----------
    sums : (D, D, c + 1) complex64 and float32
        Data and weight, Hermitian on the plane ``x = 0``.
    operators : (g, 3, 3) float64
        The whole group, identity included.

    Returns
    -------
    tuple of Tensor
        New data and weight; zero where ``|p| >= c``.
    """
    data, weight = sums
    edge, device = data.shape[0], data.device
    center = edge // 2
    new_data, new_weight = torch.zeros_like(data), torch.zeros_like(weight)
    data_rows = _overlapping_pairs(data)
    weight_rows = _overlapping_pairs(torch.complex(weight, torch.zeros_like(weight)))
    axis = torch.arange(-center, center + 1, device=device, dtype=torch.float32)
    for planes in _chunks(edge, edge * (center + 1), device):
        z, y, x = torch.meshgrid(axis[planes], axis, axis[center:], indexing="ij")
        inside = (x**2 + y**2 + z**2 < center**2).flatten()
        grid = torch.stack([x, y, z]).flatten(1)
        for operator in operators.to(device, torch.float32):
            points = [(row[:, None] * grid).sum(0) for row in operator]
            cells = _locate((points[0], points[1], points[2]), center)
            cells = cells._replace(sign=cells.sign * inside)
            new_data[planes] += _read(data_rows, cells, edge).reshape(x.shape)
            new_weight[planes] += _read(weight_rows, cells, edge).real.reshape(x.shape)
    return new_data, new_weight


def _chunks(n_rows: int, points_per_row: int, device: torch.device) -> Iterator[slice]:
    points = _POINTS_AT_ONCE["cpu" if device.type == "cpu" else "gpu"]
    step = max(1, points // max(points_per_row, 1))
    return (slice(first, first + step) for first in range(0, n_rows, step))


def _slice_points(
    rotations: Tensor, coordinates: PackedCoordinates, count: int, padding: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return x, y and z of ``padding * R @ (kx, ky, 0)``, each flat.

    Spelled out and not a matrix product, which some devices round to ten bits.
    """
    kx, ky = coordinates.frequencies[:, :count]
    matrix = rotations * padding
    x, y, z = (
        (matrix[:, axis, 0, None] * kx + matrix[:, axis, 1, None] * ky).flatten()
        for axis in range(3)
    )
    return x, y, z


def _locate(points: tuple[Tensor, Tensor, Tensor], center: int) -> _Cells:
    x, y, z = points
    inside = x**2 + y**2 + z**2 < center**2
    sign = torch.where(x < 0, -1.0, 1.0) * inside
    mirrored = [torch.where(inside, axis * sign, 0.0) for axis in points]
    floors = [axis.floor() for axis in mirrored]
    fx, fy, fz = (axis - floor for axis, floor in zip(mirrored, floors, strict=True))
    x0, y0, z0 = (floor.to(torch.int64) for floor in floors)
    cell = ((z0 + center) * (2 * center + 1) + y0 + center) * (center + 1) + x0
    return _Cells(cell, fx, fy, fz, sign)


def _overlapping_pairs(volume: Tensor) -> Tensor:
    """View a complex volume as rows ``(re, im, re', im')`` of a voxel and its neighbor in x."""
    flat = torch.view_as_real(volume).reshape(-1)
    return flat.as_strided((volume.numel() - 1, 4), (2, 1))


def _read(rows: Tensor, cells: _Cells, edge: int) -> Tensor:
    step_y, step_z = edge // 2 + 1, edge * (edge // 2 + 1)

    def row(offset: int) -> Tensor:
        return rows.index_select(0, cells.cell + offset)

    low = torch.lerp(row(0), row(step_z), cells.fz[:, None])
    high = torch.lerp(row(step_y), row(step_y + step_z), cells.fz[:, None])
    pair = torch.lerp(low, high, cells.fy[:, None])
    value = torch.lerp(pair[:, :2], pair[:, 2:], cells.fx[:, None])
    return torch.complex(value[:, 0] * cells.sign.abs(), value[:, 1] * cells.sign)


def _corner_shares(cells: _Cells, edge: int) -> Iterator[tuple[int, Tensor]]:
    """Yield offset and trilinear share of each of the eight corners."""
    step_y, step_z = edge // 2 + 1, edge * (edge // 2 + 1)
    for dz, along_z in enumerate((1 - cells.fz, cells.fz)):
        for dy, along_y in enumerate((1 - cells.fy, cells.fy)):
            for dx, along_x in enumerate((1 - cells.fx, cells.fx)):
                yield dz * step_z + dy * step_y + dx, along_z * along_y * along_x


def _scatter_add(target: Tensor, index: Tensor, term: Tensor) -> None:
    """Add in an order that is the same in every run, whatever the device.

    On the CPU ``scatter_add_`` walks along; elsewhere it adds as threads come, where
    ``index_put_`` sorts first.
    """
    if target.device.type == "cpu":
        target.scatter_add_(0, index, term)
    else:
        target.index_put_((index,), term, accumulate=True)
