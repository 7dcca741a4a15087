"""Grids of trial poses: HEALPix directions times in-plane angles, and translations in a disc.

``OrientationGrid(order)`` covers all rotations with equal cells of about ``60 / 2**order`` degrees
and is nested: every orientation has eight children in the grid one order finer, and the children
of all are that grid, each once. Orientation ``index = pixel * n_psi + psi_index`` is the pixel's
frame (``healpix.pixel_frames``) turned in plane by ``(psi_index + 0.5) * step``. Directions are
RELION's; in-plane angles differ from its Euler grid by an offset per direction, which makes
children neighbours of their parents at the poles too.

A perturbation is a rotation multiplied from the right. It moves every orientation by the same
angle and leaves the tiling by a point group, which acts from the left, exact.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from napari_blush.conventions import Indices
from napari_blush.errors import SettingsError
from napari_blush.numerics.healpix import (
    PIXEL_REACH_DEG,
    check_order,
    directions_of_pixels,
    n_pixels,
    pixel_directions,
    pixel_frames,
)
from napari_blush.numerics.point_group import in_asymmetric_unit
from napari_blush.numerics.rotations import euler_to_matrix

_FIRST_DESCENT_ORDER = 3
"""Neighbour searches compare with all 768 directions of this order, then descend."""

_PAIRS_AT_ONCE = 4_000_000
"""Rotation-direction pairs compared in one go (32 MB)."""


@dataclass(frozen=True, slots=True)
class OrientationGrid:
    """A uniform, nested grid of orientations.

    Parameters
    ----------
    order : int
        HEALPix order of the directions, 0 to 12; order 2 has steps of 15 degrees, 3 of 7.5, ...
    """

    order: int

    def __post_init__(self) -> None:
        check_order(self.order)

    @property
    def n_pixels(self) -> int:
        """Number of directions."""
        return n_pixels(self.order)

    @property
    def n_psi(self) -> int:
        """Number of in-plane angles of each direction."""
        return 6 << self.order

    @property
    def step_deg(self) -> float:
        """Angle between in-plane neighbours, about that between directions."""
        return 360.0 / self.n_psi

    @property
    def size(self) -> int:
        """Number of orientations."""
        return self.n_pixels * self.n_psi

    def rotations(
        self, index: Indices, perturbation: Float[Tensor, "3 3"] | None = None
    ) -> Float[Tensor, "m 3 3"]:
        """Return orientations as matrices.

        Parameters
        ----------
        index
            ``(m,)`` in ``[0, size)``.
        perturbation
            Rotation multiplied from the right; None for none.

        Returns
        -------
        Tensor
            ``(m, 3, 3)`` float32 on the device of ``index``, rounded once from float64.
        """
        frames = pixel_frames(self.pixel_of(index), self.order)
        steps = torch.arange(self.n_psi, device=index.device, dtype=torch.float64) + 0.5
        psi = torch.deg2rad(steps * self.step_deg)
        psi_index = index % self.n_psi
        cosine, sine = torch.cos(psi)[psi_index, None], torch.sin(psi)[psi_index, None]
        x, y, direction = frames.unbind(-1)
        turned = torch.stack([cosine * x + sine * y, cosine * y - sine * x, direction], dim=-1)
        if perturbation is not None:
            turned = turned @ perturbation.to(turned)
        return turned.to(torch.float32)

    def pixel_of(self, index: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """Return the HEALPix pixel (nested) of each orientation."""
        return torch.div(index, self.n_psi, rounding_mode="floor")

    def children(self, index: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch 8"]:
        """Return the eight orientations of ``OrientationGrid(order + 1)`` that share each cell."""
        pixel, psi_index = self.pixel_of(index), index % self.n_psi
        four = 4 * pixel[..., None] + torch.arange(4, device=index.device)
        two = 2 * psi_index[..., None] + torch.arange(2, device=index.device)
        return (four[..., :, None] * (2 * self.n_psi) + two[..., None, :]).flatten(-2)

    def parent(self, index: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """Return the orientation of ``OrientationGrid(order - 1)`` whose cell holds each one."""
        if self.order == 0:
            raise SettingsError("Order 0 has no parents: it is the coarsest grid; start finer.")
        return (self.pixel_of(index) // 4) * (self.n_psi // 2) + (index % self.n_psi) // 2


def perturbation_rotation(fraction: float, order: int) -> Float[Tensor, "3 3"]:
    """Return the rotation that moves a whole grid by a fraction of its step.

    Parameters
    ----------
    fraction
        Of the step of ``order``; RELION draws it from (-0.5, 0.5) once an iteration.
    order
        Of the grid.

    Returns
    -------
    Tensor
        ``(3, 3)`` float64, Euler angles (p, p, p) with ``p = fraction * step``.
    """
    angle = fraction * OrientationGrid(order).step_deg
    return euler_to_matrix(torch.full((3,), angle, dtype=torch.float64))


def asymmetric_pixels(
    order: int, operators: Float[Tensor, "g 3 3"], *, descend: int = 0
) -> Indices:
    """Return the pixels that a search under symmetry has to look at.

    Parameters
    ----------
    order
        HEALPix order of the pixels.
    operators
        ``(g, 3, 3)`` a whole point group, identity first.
    descend
        Keep a pixel when any of its descendants this many orders finer is inside the asymmetric
        unit, so that a search that goes on to ``order + descend`` loses no pose on the boundary.

    Returns
    -------
    Tensor
        ``(m,)`` int64, ascending.
    """
    inside = in_asymmetric_unit(pixel_directions(order + descend), operators)
    return torch.nonzero(inside.reshape(-1, 4**descend).any(dim=1)).squeeze(1)


def change_pixel_order(
    pdf: Float[Tensor, "*batch pixels"], from_order: int, to_order: int
) -> Float[Tensor, "*batch new_pixels"]:
    """Return a distribution over directions on a coarser or finer HEALPix grid.

    Parameters
    ----------
    pdf
        ``(..., 12 * 4**from_order)`` probability of each pixel, nested order.
    from_order, to_order
        HEALPix orders.

    Returns
    -------
    Tensor
        ``(..., 12 * 4**to_order)``: sums of the children, or equal shares of the parent; the
        total stays.

    Raises
    ------
    SettingsError
        If ``pdf`` is not on ``from_order``.
    """
    if pdf.shape[-1] != n_pixels(from_order):
        raise SettingsError(
            f"A distribution over {pdf.shape[-1]} directions was given as HEALPix order "
            f"{from_order}, which has {n_pixels(from_order)}: give the order it was made on."
        )
    if to_order > from_order:
        share = n_pixels(to_order) // n_pixels(from_order)
        return pdf.repeat_interleave(share, dim=-1) / share
    return pdf.reshape(*pdf.shape[:-1], n_pixels(to_order), -1).sum(-1)


def neighbors_within(
    grid: OrientationGrid,
    rotations: Float[Tensor, "b 3 3"],
    max_angle_deg: float,
    perturbation: Float[Tensor, "3 3"] | None = None,
) -> tuple[Indices, Indices, Float[Tensor, " m"]]:
    """Return all grid orientations within an angle of given rotations.

    Parameters
    ----------
    grid
        Where to look.
    rotations
        ``(b, 3, 3)`` about which to look.
    max_angle_deg
        Largest geodesic distance, up to 180.
    perturbation
        As in :meth:`OrientationGrid.rotations`.

    Returns
    -------
    owner : Tensor
        ``(m,)`` int64 row of ``rotations``, ascending.
    index : Tensor
        ``(m,)`` int64 grid orientation; each pair of owner and index occurs once.
    angle_deg : Tensor
        ``(m,)`` float64 geodesic distance.

    Notes
    -----
    With ``b`` the angle between the two directions and ``d`` the in-plane angle left after the
    shortest rotation between them, the distance ``t`` obeys ``cos(t/2) = cos(b/2) cos(d/2)``: so
    near directions are found first, from coarse pixels to fine, and for each the in-plane angles
    are one interval. Cost and memory go with the number of neighbours, not with the grid.
    """
    queries = rotations.to(torch.float64)
    if perturbation is not None:
        # The distance of G P from Q is that of G from Q Pᵀ.
        queries = queries @ perturbation.to(queries).T
    chunk = max(1, _PAIRS_AT_ONCE // n_pixels(_FIRST_DESCENT_ORDER))
    found = []
    for start in range(0, len(queries), chunk):
        part = queries[start : start + chunk]
        # Float32 matrices are off unit length by more than small angles are off in cosine.
        directions = torch.nn.functional.normalize(part[:, :, 2], dim=1)
        owner, pixel = _near_directions(directions, grid.order, max_angle_deg)
        row, psi_index, angle = _near_angles(
            part[owner], pixel_frames(pixel, grid.order), grid.n_psi, max_angle_deg
        )
        found.append((owner[row] + start, pixel[row] * grid.n_psi + psi_index, angle))
    if not found:
        empty = torch.empty(0, dtype=torch.int64, device=rotations.device)
        return empty, empty.clone(), empty.to(torch.float64)
    owners, indices, angles = zip(*found, strict=True)
    return torch.cat(owners), torch.cat(indices), torch.cat(angles)


def _near_directions(
    directions: Float[Tensor, "b 3"], order: int, max_angle_deg: float
) -> tuple[Indices, Indices]:
    """Return (owner, pixel) of all pixels within an angle, perhaps with a few just beyond."""
    level = min(order, _FIRST_DESCENT_ORDER)
    nearness = directions @ pixel_directions(level).to(directions).T
    owner, pixel = torch.nonzero(nearness >= _bound(level, order, max_angle_deg), as_tuple=True)
    while level < order:
        level += 1
        owner = owner.repeat_interleave(4)
        four = torch.arange(4, device=pixel.device)
        pixel = (4 * pixel[:, None] + four).reshape(-1)
        nearness = (directions[owner] * directions_of_pixels(pixel, level)).sum(1)
        near = nearness >= _bound(level, order, max_angle_deg)
        owner, pixel = owner[near], pixel[near]
    return owner, pixel


def _bound(level: int, order: int, max_angle_deg: float) -> float:
    """Return the least cosine at which a pixel can have descendants within the angle."""
    reach = 0.0 if level == order else PIXEL_REACH_DEG / 2**level
    return math.cos(math.radians(min(180.0, max_angle_deg + reach))) - 1e-12


def _near_angles(
    queries: Float[Tensor, "pairs 3 3"],
    frames: Float[Tensor, "pairs 3 3"],
    n_psi: int,
    max_angle_deg: float,
) -> tuple[Indices, Indices, Float[Tensor, " m"]]:
    """Return (pair, psi index, angle in degrees) of all in-plane angles within ``max_angle_deg``.

    Half-angle sines are used throughout; cosines of small angles would lose their digits.
    """
    x, y, direction = frames.unbind(-1)
    query_x, query_y, query_direction = queries.unbind(-1)
    between = (direction - query_direction).square().sum(1) / 4  # sin(b/2) squared
    best = torch.atan2(
        (y * query_x).sum(1) - (x * query_y).sum(1), (x * query_x).sum(1) + (y * query_y).sum(1)
    )
    limit = math.sin(math.radians(min(180.0, max_angle_deg)) / 2) ** 2
    # Opposite directions are 180 degrees apart at every in-plane angle: 0 / 0 stands for all.
    window = ((limit - between) / (1 - between)).nan_to_num(nan=1.0).clamp(0, 1)
    half_width = 2 * torch.asin(window.sqrt())

    step = 2 * math.pi / n_psi
    first = torch.ceil((best - half_width) / step - 0.5).to(torch.int64)
    last = torch.floor((best + half_width) / step - 0.5).to(torch.int64)
    count = (last - first + 1).clamp(0, n_psi)
    pair = torch.arange(len(count), device=count.device).repeat_interleave(count)
    ends = torch.cumsum(count, 0)
    psi_index = first[pair] + torch.arange(len(pair), device=pair.device) - (ends - count)[pair]

    left = torch.sin(((psi_index.to(torch.float64) + 0.5) * step - best[pair]) / 2).square()
    squared_sine = between[pair] + (1 - between[pair]) * left
    angle = 2 * torch.asin(squared_sine.clamp(0, 1).sqrt())
    return pair, torch.remainder(psi_index, n_psi), torch.rad2deg(angle)


def offset_grid(range_px: float, step_px: float) -> Float[Tensor, "t 2"]:
    """Return trial translations on a square grid inside a circle.

    Parameters
    ----------
    range_px
        Radius of the circle; its rim is inside.
    step_px
        Spacing.

    Returns
    -------
    Tensor
        ``(t, 2)`` float32 (x, y), the origin among them.

    Raises
    ------
    SettingsError
        If the range is negative or the step not positive.
    """
    if range_px < 0 or step_px <= 0:
        raise SettingsError(
            f"Offsets up to {range_px} px in steps of {step_px} px were asked for; the range must "
            "not be negative and the step must be positive: correct them."
        )
    radius = range_px / step_px
    # RELION too takes the rim: 5 in steps of 5/2 must not depend on rounding.
    last = math.floor(radius + 1e-6)
    steps = torch.arange(-last, last + 1)
    grid = torch.cartesian_prod(steps, steps)
    inside = grid.square().sum(1) <= radius**2 * (1 + 1e-6)
    return grid[inside].to(torch.float32) * step_px


def offset_children(offsets: Float[Tensor, "t 2"], step_px: float) -> Float[Tensor, "t 4 2"]:
    """Return the four translations that share the square cell of each coarse one.

    Parameters
    ----------
    offsets
        ``(t, 2)`` on a grid of spacing ``step_px``.
    step_px
        Spacing of the coarse grid; that of the children is half of it.

    Returns
    -------
    Tensor
        ``(t, 4, 2)`` at ``± step / 4`` in x and y.
    """
    signs = torch.tensor([[-1, -1], [-1, 1], [1, -1], [1, 1]], device=offsets.device)
    return offsets[:, None, :] + signs.to(offsets.dtype) * (step_px / 4)
