import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import eval_jacobi

from napari_blush.numerics.aberrations import (
    even_zernike_indices,
    even_zernike_phase,
    odd_zernike_indices,
    odd_zernike_phase,
    with_beam_tilt,
    zernike_polynomial,
)

orders = st.integers(0, 9).flatmap(lambda n: st.sampled_from([(m, n) for m in range(-n, n + 1, 2)]))


def plane(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    points = 2 * torch.rand(2, 50, generator=generator, dtype=torch.float64) - 1
    return points[0], points[1]


def test_coefficients_stand_in_rising_order() -> None:
    odd = [(m, n) for n in range(1, 12, 2) for m in range(-n, n + 1, 2)]
    even = [(m, n) for n in range(0, 12, 2) for m in range(-n, n + 1, 2)]
    assert [odd_zernike_indices(i) for i in range(len(odd))] == odd
    assert [even_zernike_indices(i) for i in range(len(even))] == even


@given(orders)
def test_polynomials_are_those_of_jacobi(order: tuple[int, int]) -> None:
    m, n = order
    x, y = plane(torch.Generator().manual_seed(3))
    r, phi = np.hypot(x.numpy(), y.numpy()), np.arctan2(y.numpy(), x.numpy())
    k = (n - abs(m)) // 2
    radial = (-1) ** k * r ** abs(m) * eval_jacobi(k, abs(m), 0, 1 - 2 * r**2)
    expected = radial * (np.cos(m * phi) if m >= 0 else np.sin(-m * phi))
    found = zernike_polynomial(m, n, x, y)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_polynomials_are_orthogonal_on_the_disc() -> None:
    # Mid-point rule in r and phi; the integral of Z^2 over the disc is pi / (n + 1), m != 0: half.
    r, phi = np.meshgrid((np.arange(400) + 0.5) / 400, 2 * np.pi * np.arange(32) / 32)
    x, y = torch.from_numpy(r * np.cos(phi)), torch.from_numpy(r * np.sin(phi))
    stack = torch.stack([zernike_polynomial(*odd_zernike_indices(i), x, y) for i in range(12)])
    area = torch.from_numpy(r) * (1 / 400) * (2 * np.pi / 32)
    products = torch.einsum("aij,bij,ij->ab", stack, stack, area)
    expected = [math.pi / (2 * (odd_zernike_indices(i)[1] + 1)) for i in range(12)]
    torch.testing.assert_close(products, torch.diag(torch.tensor(expected)).double(),
                               rtol=0, atol=1e-3)  # fmt: skip


def test_odd_phases_are_odd_and_even_ones_even(generator: torch.Generator) -> None:
    x, y = plane(generator)
    coefficients = torch.randn(12, generator=generator).tolist()
    torch.testing.assert_close(
        odd_zernike_phase(coefficients, -x, -y), -odd_zernike_phase(coefficients, x, y)
    )
    torch.testing.assert_close(
        even_zernike_phase(coefficients, -x, -y), even_zernike_phase(coefficients, x, y)
    )


def test_the_tilt_of_a_beam_is_coma(generator: torch.Generator) -> None:
    x, y = plane(generator)
    wavelength, cs_mm, tilt = 0.0197, 2.7, (0.3, -0.8)
    phase = odd_zernike_phase(with_beam_tilt((), tilt, cs_mm, wavelength), x, y)
    along = 1e-3 * (tilt[0] * x + tilt[1] * y)
    expected = -2 * math.pi * cs_mm * 1e7 * wavelength**2 * (x**2 + y**2) * along
    torch.testing.assert_close(phase, expected)


def test_tilt_replaces_coma_and_keeps_the_rest() -> None:
    given_terms = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
    assert with_beam_tilt(given_terms, (0.0, 0.0), 2.7, 0.02) == given_terms
    alone = with_beam_tilt((), (0.1, 0.2), 2.7, 0.02)
    both = with_beam_tilt(given_terms, (0.1, 0.2), 2.7, 0.02)
    assert both[2:5] == (3.0, *alone[3:])
    assert both[5:] == given_terms[5:]
    assert both[:2] == pytest.approx((1.0 + alone[0], 2.0 + alone[1]))
