import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_blush.errors import SettingsError
from napari_blush.numerics.healpix import (
    MAX_ORDER,
    PIXEL_REACH_DEG,
    directions_of_pixels,
    n_pixels,
    pixel_angles,
    pixel_directions,
    pixel_frames,
)
from napari_blush.numerics.rotations import euler_to_matrix, geodesic_distance_deg

ORACLE = Path(__file__).parents[1] / "oracles" / "healpy_nested.json"
HEALPY = {
    int(order): torch.tensor(rows, dtype=torch.float64)
    for order, rows in json.loads(ORACLE.read_text())["orders"].items()
}


def _angle_deg(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.rad2deg(2 * torch.asin((a - b).norm(dim=-1) / 2))


@pytest.mark.parametrize("order", HEALPY)
def test_directions_are_healpys(order: int) -> None:
    pixels, directions = HEALPY[order][:, 0].to(torch.int64), HEALPY[order][:, 1:]
    ours = directions_of_pixels(pixels, order)
    torch.testing.assert_close(ours, directions, atol=2e-15, rtol=0)
    if order <= 5:
        torch.testing.assert_close(pixel_directions(order)[pixels], directions, atol=2e-15, rtol=0)


@pytest.mark.parametrize("order", range(5))
def test_angles_point_along_the_directions(order: int) -> None:
    rot, tilt = pixel_angles(order)
    assert rot.min() >= 0
    assert rot.max() < 360
    along = euler_to_matrix(torch.stack([rot, tilt, torch.zeros_like(rot)], dim=1))[:, :, 2]
    torch.testing.assert_close(along, pixel_directions(order), atol=1e-14, rtol=0)
    assert len(rot) == n_pixels(order)


def test_directions_near_a_pole_keep_their_digits() -> None:
    order = MAX_ORDER
    # The last pixel of a northern face touches the pole: z = 1 - 1 / (3 n_side^2).
    pole = directions_of_pixels(torch.tensor([4**order - 1]), order)[0]
    below = 1 / (3 * 4**order)
    assert float(pole[:2].norm()) == pytest.approx((2 * below - below**2) ** 0.5, rel=1e-14, abs=0)


@pytest.mark.parametrize("order", range(5))
def test_the_rings_are_those_of_equal_areas(order: int) -> None:
    """The k-th ring of a cap has 4k pixels at 1 - z = k^2 / 3 n^2; belt rings have 4 n."""
    n_side = 2**order
    heights, counts = (
        pixel_directions(order)[:, 2].sort().values.round(decimals=9).unique(return_counts=True)
    )
    ring = torch.arange(1, 4 * n_side)
    from_pole = torch.minimum(ring, 4 * n_side - ring).clamp(max=n_side)
    assert torch.equal(counts, 4 * from_pole)
    # Archimedes: the area above a ring's middle is that of the pixels above and half of its own.
    area_above = (torch.cumsum(counts, 0) - counts / 2) / n_pixels(order)
    belt = from_pole == n_side
    torch.testing.assert_close(
        (1 + heights[belt]).to(torch.float32) / 2, area_above[belt], atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("order", range(7))
def test_descendants_stay_within_reach(order: int) -> None:
    down = 1 if order > 3 else 4
    parents = pixel_directions(order).repeat_interleave(4**down, dim=0)
    away = _angle_deg(parents, pixel_directions(order + down)).max()
    steps = sum(0.5**level for level in range(down)) / 2
    assert away < steps * PIXEL_REACH_DEG / 2**order
    assert away > 0.7 * steps * PIXEL_REACH_DEG / 2**order


@pytest.mark.parametrize("order", range(6))
def test_frames_are_rotations_onto_the_directions(order: int) -> None:
    frames = pixel_frames(torch.arange(n_pixels(order)), order)
    torch.testing.assert_close(frames[:, :, 2], pixel_directions(order), atol=1e-15, rtol=0)
    eye = torch.eye(3, dtype=torch.float64).expand_as(frames)
    torch.testing.assert_close(frames @ frames.mT, eye, atol=1e-13, rtol=0)
    assert torch.linalg.det(frames).min() > 0


@settings(deadline=None, max_examples=30)
@given(st.integers(1, MAX_ORDER), st.data())
def test_frames_of_children_are_carried_by_the_shortest_rotation(
    order: int, data: st.DataObject
) -> None:
    """No rotation that takes the old direction to the new is shorter than the arc between them."""
    pixels = torch.tensor(
        data.draw(st.lists(st.integers(0, n_pixels(order) - 1), min_size=1, max_size=20))
    )
    parents, frames = pixel_frames(pixels // 4, order - 1), pixel_frames(pixels, order)
    arc = _angle_deg(parents[:, :, 2], frames[:, :, 2])
    torch.testing.assert_close(geodesic_distance_deg(parents, frames), arc, rtol=1e-6, atol=1e-9)
    assert arc.min() > 0


def test_base_frames_have_euler_angles_without_psi() -> None:
    rot, tilt = pixel_angles(0)
    expected = euler_to_matrix(torch.stack([rot, tilt, torch.zeros_like(rot)], dim=1))
    torch.testing.assert_close(pixel_frames(torch.arange(12), 0), expected)


@pytest.mark.parametrize("order", [-1, MAX_ORDER + 1])
def test_unknown_orders_are_refused(order: int) -> None:
    with pytest.raises(SettingsError, match=f"order {order}"):
        n_pixels(order)
    with pytest.raises(SettingsError, match="orders go from 0 to"):
        directions_of_pixels(torch.tensor([0]), order)
