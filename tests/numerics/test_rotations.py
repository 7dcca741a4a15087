import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.stats import kstest

from napari_blush.numerics.rotations import (
    axis_angle_to_matrix,
    euler_to_matrix,
    geodesic_distance_deg,
    matrix_to_euler,
    matrix_to_quaternion,
    quaternion_to_matrix,
    random_rotations,
)

ORACLE = Path(__file__).parents[1] / "oracles" / "relion_point_groups.json"

angles = st.tuples(st.floats(-400, 400), st.floats(-400, 400), st.floats(-400, 400))
# Tilts that come as close to the poles as floating point does.
near_poles = st.tuples(
    st.floats(-180, 180),
    st.sampled_from([0.0, 180.0]),
    st.floats(-12, 0).map(lambda exponent: 10**exponent),
    st.floats(-180, 180),
)


def _tensor(values: object) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


@settings(deadline=None, max_examples=60)
@given(angles)
def test_euler_is_scipys_intrinsic_zyz(euler: tuple[float, float, float]) -> None:
    expected = Rotation.from_euler("ZYZ", euler, degrees=True).as_matrix()
    torch.testing.assert_close(euler_to_matrix(_tensor(euler)), _tensor(expected))


def test_euler_is_the_transpose_of_relions_matrix() -> None:
    for rows in json.loads(ORACLE.read_text())["operators"].values():
        matrix, euler = _tensor(rows).split([9, 3], dim=1)
        ours = euler_to_matrix(euler).mT.reshape(-1, 9)
        torch.testing.assert_close(ours, matrix, atol=2e-5, rtol=0)


@settings(deadline=None, max_examples=60)
@given(st.tuples(st.floats(-179.9, 179.9), st.floats(1, 179), st.floats(-179.9, 179.9)))
def test_euler_angles_come_back(euler: tuple[float, float, float]) -> None:
    back = matrix_to_euler(euler_to_matrix(_tensor(euler)))
    torch.testing.assert_close(back, _tensor(euler), atol=1e-9, rtol=0)


@settings(deadline=None, max_examples=60)
@given(near_poles)
def test_euler_angles_give_the_matrix_back_near_the_poles(
    parts: tuple[float, float, float, float],
) -> None:
    rot, pole, away, psi = parts
    matrix = euler_to_matrix(_tensor([rot, abs(pole - away), psi]))
    euler = matrix_to_euler(matrix)
    assert 0 <= euler[1] <= 180
    assert euler[[0, 2]].abs().max() <= 180
    # Closer to a pole than 1e-12 it is taken for the pole itself.
    torch.testing.assert_close(euler_to_matrix(euler), matrix, atol=1e-11, rtol=0)


def test_rot_is_zero_at_the_poles() -> None:
    euler = matrix_to_euler(euler_to_matrix(_tensor([[30, 0, 40], [30, 180, 40]])))
    torch.testing.assert_close(euler, _tensor([[0, 0, 70], [0, 180, 10]]))


def test_float32_matrices_give_float64_angles(generator: torch.Generator) -> None:
    exact = random_rotations(200, generator)
    euler = matrix_to_euler(exact.to(torch.float32))
    assert euler.dtype == torch.float64
    assert geodesic_distance_deg(euler_to_matrix(euler), exact).max() < 2e-5


def test_distance_is_scipys_magnitude(generator: torch.Generator) -> None:
    a, b = random_rotations(500, generator), random_rotations(500, generator)
    relative = Rotation.from_matrix(a.numpy()).inv() * Rotation.from_matrix(b.numpy())
    expected = _tensor(np.degrees(relative.magnitude()))
    torch.testing.assert_close(geodesic_distance_deg(a, b), expected)
    crossed = geodesic_distance_deg(a[:3, None], b[None, :4])
    assert crossed.shape == (3, 4)
    torch.testing.assert_close(crossed[2, 1], geodesic_distance_deg(a[2], b[1]))


@settings(deadline=None, max_examples=60)
@given(
    angles,
    st.one_of(st.floats(1e-7, 1e-3), st.floats(0, 180), st.floats(179.999, 180)),
    st.sampled_from([(1.0, 0.0, 0.0), (1.0, 2.0, -2.0), (-3.0, 0.1, 5.0)]),
)
def test_distance_is_exact_at_both_ends(
    euler: tuple[float, float, float], angle: float, axis: tuple[float, float, float]
) -> None:
    base = euler_to_matrix(_tensor(euler))
    turned = base @ axis_angle_to_matrix(_tensor(axis), _tensor(angle))
    distance = float(geodesic_distance_deg(base, turned))
    assert distance == pytest.approx(angle, rel=1e-6, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(angles, angles, angles)
def test_distance_does_not_depend_on_the_frame(
    first: tuple[float, float, float],
    second: tuple[float, float, float],
    frame: tuple[float, float, float],
) -> None:
    a, b, f = (euler_to_matrix(_tensor(euler)) for euler in (first, second, frame))
    expected = geodesic_distance_deg(a, b)
    for left, right in ((f @ a, f @ b), (a @ f, b @ f), (b, a)):
        torch.testing.assert_close(
            geodesic_distance_deg(left, right), expected, atol=1e-6, rtol=1e-9
        )


def test_axis_angle_is_scipys_rotation_vector(generator: torch.Generator) -> None:
    axis = torch.randn(100, 3, generator=generator, dtype=torch.float64)
    angle = 360 * torch.rand(100, generator=generator, dtype=torch.float64)
    vector = torch.deg2rad(angle)[:, None] * axis / axis.norm(dim=1, keepdim=True)
    expected = Rotation.from_rotvec(vector.numpy()).as_matrix()
    torch.testing.assert_close(axis_angle_to_matrix(axis, angle), _tensor(expected))


def test_quaternions_are_scipys(generator: torch.Generator) -> None:
    q = torch.randn(300, 4, generator=generator, dtype=torch.float64)
    expected = Rotation.from_quat(q.numpy(), scalar_first=True)
    matrices = quaternion_to_matrix(q)
    torch.testing.assert_close(matrices, _tensor(expected.as_matrix()))
    back = _tensor(expected.as_quat(canonical=True, scalar_first=True))
    torch.testing.assert_close(matrix_to_quaternion(matrices), back)


def test_quaternions_of_half_turns() -> None:
    axes = _tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, -2, 3]])
    half_turns = axis_angle_to_matrix(axes, torch.full((5,), 180.0))
    q = matrix_to_quaternion(half_turns)
    torch.testing.assert_close(q.norm(dim=1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(quaternion_to_matrix(q), half_turns, atol=1e-12, rtol=0)


def test_batches_of_any_shape(generator: torch.Generator) -> None:
    euler = 180 * torch.rand(2, 3, 3, generator=generator)
    matrices = euler_to_matrix(euler)
    assert matrices.shape == (2, 3, 3, 3)
    assert matrix_to_euler(matrices).shape == (2, 3, 3)
    assert matrix_to_quaternion(matrices).shape == (2, 3, 4)
    torch.testing.assert_close(matrices[1, 2], euler_to_matrix(euler[1, 2]))


def test_random_rotations_are_uniform(generator: torch.Generator) -> None:
    n = 5000
    rotations = random_rotations(n, generator)
    eye = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(rotations @ rotations.mT, eye.expand(n, 3, 3), atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(n, dtype=torch.float64))
    # Under the Haar measure the angle to any fixed rotation has the density (1 - cos t) / pi.
    fixed = euler_to_matrix(_tensor([10, 50, -70]))
    t = torch.deg2rad(geodesic_distance_deg(rotations, fixed))
    assert kstest(t.numpy(), lambda x: (x - np.sin(x)) / math.pi).pvalue > 1e-3
    # Each direction then is uniform on the sphere, so each coordinate is uniform in [-1, 1].
    for axis in range(3):
        assert kstest(rotations[:, axis, 2].numpy(), "uniform", args=(-1, 2)).pvalue > 1e-3


def test_random_rotations_follow_the_generator() -> None:
    first, again, other = (
        random_rotations(4, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
