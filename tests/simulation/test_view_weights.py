"""Weights of views: held to a slow sum, to geometry, and to what is inserted."""

from typing import Any

import pytest
import torch

from napari_blush.errors import SettingsError
from napari_blush.numerics.fft import half_spectrum_multiplicity
from napari_blush.numerics.packing import packed_coordinates
from napari_blush.numerics.rotations import random_rotations
from napari_blush.numerics.shells import radius_grid, shell_mean
from napari_blush.simulation.view_weights import (
    ViewPlan,
    draw_squared_ctf,
    draw_views,
    weight_volume,
)

BOX, R_MAX = 16, 5


def slow_weights(rotations: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Spread every coefficient and its mate over eight voxels of the full transform, in loops."""
    coordinates = packed_coordinates(BOX, R_MAX, torch.device("cpu"))
    full = torch.zeros(BOX + 2, BOX + 2, BOX + 2, dtype=torch.float64)
    center = BOX // 2 + 1
    for rotation, row in zip(rotations, weights, strict=True):
        for kx, ky, weight in zip(coordinates.kx, coordinates.ky, row, strict=True):
            for sign in (1, -1):
                x, y, z = (sign * (rotation @ torch.tensor([kx, ky, 0.0]).double())).tolist()
                for corner in range(8):
                    share, place = 1.0, []
                    for axis, at in enumerate((z, y, x)):
                        below = torch.tensor(at).floor().item()
                        up = (corner >> axis) & 1
                        share *= at - below if up else 1 - (at - below)
                        place.append(int(below) + up + center)
                    full[place[0], place[1], place[2]] += share * weight
    order = torch.fft.fftfreq(BOX, 1 / BOX).round().long() + center
    return full[order][:, order][:, :, center : center + BOX // 2 + 1]


def test_weights_are_the_slow_sum() -> None:
    generator = torch.Generator().manual_seed(0)
    rotations = random_rotations(2, generator).double()
    weights = torch.rand(2, len(packed_coordinates(BOX, R_MAX, torch.device("cpu"))))
    found = weight_volume(rotations, weights, BOX, R_MAX)
    inside = radius_grid(BOX, 3) < R_MAX - 1
    inside[0, 0, 0] = False
    expected = slow_weights(rotations, weights).float()
    torch.testing.assert_close(found[inside], expected[inside], atol=1e-4, rtol=1e-4)


def test_uniform_views_weigh_as_one_over_the_radius() -> None:
    count, box = 2000, 32
    coordinates = packed_coordinates(box, 14, torch.device("cpu"))
    rotations = random_rotations(count, torch.Generator().manual_seed(0)).double()
    weights = weight_volume(rotations, torch.ones(count, len(coordinates)), box, 14)
    mean = shell_mean(weights, box, 3)[4:12]
    # A slice holds 2 pi k coefficients of the 4 pi k^2 of a shell.
    expected = count / (2 * torch.arange(4, 12))
    assert (mean / expected - 1).abs().max() < 0.05
    total = (weights * half_spectrum_multiplicity(box)).sum()
    assert total == pytest.approx(2 * count * len(coordinates), rel=0.05)


def test_views_along_z_leave_the_pole_empty() -> None:
    plan = ViewPlan(count=300, kind="top", spread_deg=10.0)
    generator = torch.Generator().manual_seed(0)
    rotations = draw_views(plan, torch.zeros(1, 3, dtype=torch.float64), generator)
    squared = draw_squared_ctf(plan, BOX, 4.0, R_MAX, generator)
    weights = weight_volume(rotations, squared, BOX, R_MAX)
    assert weights[4:6, 0, 0].sum() == 0
    assert weights[0, 0, 4:6].min() > 0


def test_views_of_several_axes_look_along_them() -> None:
    axes = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    plan = ViewPlan(count=200, kind="several", spread_deg=8.0, preferred_share=0.8)
    views = draw_views(plan, axes, torch.Generator().manual_seed(0))[:, :, 2]
    nearest = (views @ axes.T).amax(dim=1)
    assert (nearest > 0.9).float().mean() == pytest.approx(0.8, abs=0.1)
    assert len(views) == 200


def test_few_micrographs_leave_the_zeros_of_their_ctf() -> None:
    one = ViewPlan(count=50, micrographs=1, defocus_um=(2.0, 2.0))
    many = ViewPlan(count=50, micrographs=40, defocus_um=(0.8, 2.5))
    least = [
        draw_squared_ctf(plan, 64, 3.0, 30, torch.Generator().manual_seed(0)).mean(dim=0).min()
        for plan in (one, many)
    ]
    assert least[0] < 0.01 < least[1]


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"count": 5, "micrographs": 0}, {"count": 5, "preferred_share": 1.5}]
)
def test_an_impossible_plan_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="at least 1"):
        ViewPlan(**wrong)
