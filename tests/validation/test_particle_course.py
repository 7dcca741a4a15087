"""Particles over iterations: quantiles, turns by the nearest mate, lights, drawings."""

import pytest
import torch
from torch import Tensor

from napari_blush.errors import SettingsError
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import euler_to_matrix, random_rotations
from napari_blush.validation.angular_distribution import trend_check
from napari_blush.validation.judged_poses import at_last_sampling
from napari_blush.validation.lights import Light
from napari_blush.validation.particle_course import (
    ParticleState,
    course_drawings,
    particle_course,
    turned_by,
)

N = 200


def about_z(degrees: Tensor) -> Tensor:
    zero = torch.zeros_like(degrees)
    return euler_to_matrix(torch.stack([degrees, zero, zero], dim=-1))


def test_turns_are_those_of_the_nearest_mate(generator: torch.Generator) -> None:
    poses = random_rotations(N, generator).double()
    angle = 3 + 80 * torch.rand(N, generator=generator, dtype=torch.float64)
    turned = about_z(angle) @ poses
    one = symmetry_operators("C1")
    torch.testing.assert_close(turned_by(poses, turned, one), angle, atol=1e-4, rtol=0)
    # Four-fold about z: by the nearest multiple of 90 degrees.
    four = turned_by(poses, turned, symmetry_operators("C4"))
    wanted = (angle - 90 * (angle / 90).round()).abs()
    torch.testing.assert_close(four, wanted, atol=1e-4, rtol=0)
    # A mate is the same pose.
    mates = symmetry_operators("D2")[2].double() @ poses
    assert turned_by(poses, mates, symmetry_operators("D2")).max() < 1e-3


def states(
    generator: torch.Generator, share_that_jumps: float = 0.0, n_iterations: int = 4
) -> list[ParticleState]:
    poses = random_rotations(N, generator).double()
    made = []
    for iteration in range(1, n_iterations + 1):
        if iteration == n_iterations:
            jumps = torch.arange(N) < share_that_jumps * N
            poses = torch.where(jumps[:, None, None], random_rotations(N, generator), poses)
        level = torch.linspace(0, iteration / n_iterations, N, dtype=torch.float64)
        made.append(ParticleState(iteration, level, -100 + level, 1000 / (level + 0.01), poses))
    return made


@pytest.mark.parametrize(
    ("share", "light"), [(0.0, Light.GREEN), (0.2, Light.YELLOW), (0.5, Light.RED)]
)
def test_poses_that_do_not_rest(share: float, light: Light, generator: torch.Generator) -> None:
    course = particle_course(states(generator, share), symmetry_operators("C1"))
    (check,) = course.checks
    assert check.light is light
    assert course.turned_deg is not None
    # One in a thousand random poses lies within 15 degrees of where it was.
    assert float((course.turned_deg > 15).double().mean()) == pytest.approx(share, abs=0.01)


def test_quantiles_and_those_that_disagree(generator: torch.Generator) -> None:
    outliers = torch.arange(N) < 5
    course = particle_course(states(generator), symmetry_operators("C1"), outliers)
    assert course.iterations == (1, 2, 3, 4)
    assert course.log_likelihood is not None and course.outlier_log_likelihood is not None
    for k in range(4):
        top = (k + 1) / 4
        wanted = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64) * top
        torch.testing.assert_close(course.p_max[k], wanted, atol=0.005, rtol=0)
        torch.testing.assert_close(course.log_likelihood[k], wanted - 100, atol=0.005, rtol=0)
    assert float(course.outlier_log_likelihood[-1]) == pytest.approx(-100 + 2 / 199)
    drawings = course_drawings(course)
    assert len(drawings) == 4
    assert "those that disagree" in drawings[1] and "significant" in drawings[2]


def test_what_is_not_known_is_left_out(generator: torch.Generator) -> None:
    bare = [ParticleState(s.iteration, s.p_max, None, None, s.rotations) for s in states(generator)]
    course = particle_course(bare, symmetry_operators("C1"))
    assert course.log_likelihood is None and course.n_significant is None
    assert len(course_drawings(course)) == 2
    alone = particle_course(bare[:1], symmetry_operators("C1"))
    assert alone.checks == () and course_drawings(alone) == []


def test_p_max_is_compared_where_searches_were_alike() -> None:
    # As in a run on real particles: p_max falls whenever the sampling becomes finer.
    course = [(2, 0.75), (2, 0.82), (3, 0.50), (3, 0.75), (4, 0.42), (5, 0.18), (5, 0.2), (5, 0.19)]
    lines = [
        {"healpix_order": order, "adaptive_oversampling": 1, "average_p_max": p}
        for order, p in course
    ]
    assert at_last_sampling(lines) == [0.18, 0.2, 0.19]
    check = trend_check(at_last_sampling(lines))
    assert check is not None and check.light is Light.GREEN
    lost = trend_check(at_last_sampling([*lines, {**lines[-1], "average_p_max": 0.03}]))
    assert lost is not None and lost.light is Light.RED
    assert at_last_sampling([]) == []


def test_iterations_of_other_particles_are_refused(generator: torch.Generator) -> None:
    made = states(generator)
    short = ParticleState(9, made[0].p_max[:5], None, None, made[0].rotations[:5])
    with pytest.raises(SettingsError, match="the same in each"):
        particle_course([*made, short], symmetry_operators("C1"))
