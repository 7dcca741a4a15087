"""Preferred views against the distributions they claim; seeds; uniform in-plane angles."""

import numpy as np
import pytest
import torch
from scipy import stats

from napari_blush.errors import SettingsError
from napari_blush.numerics.rotations import matrix_to_euler
from napari_blush.simulation.orientations import (
    draw_orientations,
    draw_shifts,
    preferred_views,
    side_views,
)

N = 4000


def test_poses_are_rotations(generator: torch.Generator) -> None:
    for kind in ("uniform", "side", "top"):
        rotations = draw_orientations(50, kind, 20.0, generator)
        identity = torch.eye(3, dtype=torch.float64).expand(50, 3, 3)
        torch.testing.assert_close(rotations @ rotations.mT, identity, atol=1e-12, rtol=0)
        assert torch.linalg.det(rotations).min() > 0.999


def test_uniform_views_cover_the_sphere(generator: torch.Generator) -> None:
    z = draw_orientations(N, "uniform", 1.0, generator)[:, 2, 2].numpy()
    assert stats.kstest(z, stats.uniform(-1, 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize("concentration", [0.5, 20.0, 800.0])
def test_views_follow_scipys_von_mises_fisher(
    concentration: float, generator: torch.Generator
) -> None:
    axis = torch.tensor([[2.0, -1.0, 0.5]], dtype=torch.float64)
    unit = (axis / axis.norm())[0]
    views = preferred_views(N, axis, concentration, generator)[:, :, 2] @ unit
    reference = stats.vonmises_fisher([0, 0, 1], concentration).rvs(
        N, random_state=np.random.default_rng(5)
    )
    assert stats.ks_2samp(views.numpy(), reference[:, 2]).pvalue > 1e-3


def test_several_axes_are_used_alike(generator: torch.Generator) -> None:
    views = draw_orientations(N, "top", 10.0, generator)[:, 2, 2]
    assert (views > 0).double().mean().item() == pytest.approx(0.5, abs=0.03)
    # Near a pole the two tilt components are Gaussian, each with the spread.
    tilt = torch.rad2deg(torch.acos(views.abs()))
    assert (tilt**2).mean().sqrt().item() == pytest.approx(10.0 * 2**0.5, rel=0.05)


def test_side_views_lie_about_the_equator(generator: torch.Generator) -> None:
    rotations = side_views(N, 10.0, generator)
    z = rotations[:, 2, 2].numpy()
    assert stats.kstest(z, stats.norm(0, np.sin(np.radians(10))).cdf).pvalue > 1e-3
    azimuth = torch.atan2(rotations[:, 1, 2], rotations[:, 0, 2]).numpy()
    assert stats.kstest(azimuth, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["side", "top"])
def test_the_in_plane_angle_is_uniform(kind: str, generator: torch.Generator) -> None:
    psi = matrix_to_euler(draw_orientations(N, kind, 15.0, generator))[:, 2] % 360
    assert stats.kstest(psi.numpy(), stats.uniform(0, 360).cdf).pvalue > 1e-3


def test_shifts_have_their_spread_and_limit(generator: torch.Generator) -> None:
    shifts = draw_shifts(N, 1.5, generator)
    assert shifts.std().item() == pytest.approx(1.5, rel=0.04)
    assert shifts.abs().max().item() <= 4.0
    assert not draw_shifts(5, 0.0, generator).any()


def test_the_seed_decides() -> None:
    draws = [
        draw_orientations(9, "side", 10.0, torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("spread", [0.0, -3.0, 91.0, float("nan")])
def test_a_spread_without_sense_is_refused(spread: float, generator: torch.Generator) -> None:
    for kind in ("side", "top"):
        with pytest.raises(SettingsError, match="spread"):
            draw_orientations(3, kind, spread, generator)


def test_a_concentration_without_sense_is_refused(generator: torch.Generator) -> None:
    with pytest.raises(SettingsError, match="concentration"):
        preferred_views(3, torch.eye(3), 0.0, generator)
