"""Views: closed forms of the efficiency, counts, missing views; pose certainty."""

from math import pi

import pytest
import torch

from napari_blush.errors import SettingsError
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import random_rotations
from napari_blush.simulation.orientations import draw_orientations
from napari_blush.validation.angular_distribution import (
    angular_distribution,
    pose_certainty,
    trend_check,
    uniform_expectation,
)
from napari_blush.validation.lights import Light


def test_uniform_views_are_efficient(generator: torch.Generator) -> None:
    report = angular_distribution(random_rotations(20_000, generator).double())
    assert report.efficiency == pytest.approx(1.0, abs=0.02)
    assert report.unseen == 0
    assert int(report.counts.sum()) == report.n_particles == 20_000
    mean, deviation = uniform_expectation(20_000, len(report.counts))
    assert report.counts.double().mean() == pytest.approx(mean)
    assert report.counts.double().std() == pytest.approx(deviation, rel=0.15)
    assert {check.light for check in report.checks} == {Light.GREEN}


def test_side_views_alone_have_the_closed_form(generator: torch.Generator) -> None:
    # Great circles through one axis: S = 2 / (pi sin(theta)), and 1 / <1 / S> = 8 / pi^2.
    rotations = draw_orientations(20_000, "side", 0.5, generator)
    report = angular_distribution(rotations)
    assert report.efficiency == pytest.approx(8 / pi**2, abs=0.02)
    z = report.directions[:, 2]
    off_axis = z.abs() < 0.9
    wanted = 2 / (pi * (1 - z**2).sqrt())
    assert (report.sampling - wanted)[off_axis].abs().mean() < 0.05


def test_top_views_alone_leave_space_empty(generator: torch.Generator) -> None:
    report = angular_distribution(draw_orientations(5_000, "top", 5.0, generator))
    assert report.efficiency == 0
    # Filled is what lies within some 20 degrees of the equator.
    assert 0.4 < report.unseen < 0.9
    assert {check.light for check in report.checks} == {Light.RED}


def test_symmetry_mates_are_views_too(generator: torch.Generator) -> None:
    top = draw_orientations(5_000, "top", 8.0, generator)[:1000]
    alone = angular_distribution(top)
    mates = angular_distribution(top, symmetry_operators("O"))
    assert int(mates.counts.sum()) == 24 * 1_000
    assert mates.n_particles == 1_000
    # A cube looked at along one axis is seen along all three; its diagonals stay thin.
    assert mates.unseen < 0.1 < 0.3 < alone.unseen
    assert alone.efficiency == 0


def test_no_particles_are_refused() -> None:
    with pytest.raises(SettingsError, match="at least one"):
        angular_distribution(torch.zeros(0, 3, 3))


def test_particles_that_disagree_are_found_in_their_group(generator: torch.Generator) -> None:
    likelihood = torch.randn(1000, generator=generator, dtype=torch.float64)
    group = torch.arange(1000) % 2
    likelihood[group == 1] += 1000
    likelihood[[10, 11, 500]] -= 20
    found = pose_certainty(torch.full((1000,), 0.5), likelihood, group)
    assert found.outliers.nonzero().flatten().tolist() == [10, 11, 500]
    assert {check.light for check in found.checks} == {Light.GREEN}


@pytest.mark.parametrize(
    ("level", "light"), [(0.5, Light.GREEN), (0.05, Light.YELLOW), (0.01, Light.RED)]
)
def test_the_light_of_p_max(level: float, light: Light) -> None:
    found = pose_certainty(torch.full((10,), level))
    assert [check.light for check in found.checks] == [light]


def test_the_trend() -> None:
    assert trend_check([0.5, 0.6]) is None
    rising, falling = trend_check([0.1, 0.2, 0.3, 0.4]), trend_check([0.5, 0.6, 0.6, 0.1])
    assert rising is not None and rising.light is Light.GREEN
    assert falling is not None and falling.light is Light.RED
