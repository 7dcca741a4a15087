"""Wave aberrations beyond defocus: Zernike expansions and axial coma from a tilted beam.

Everything here is a phase in radian at points ``(x, y)`` of the Fourier plane in 1/angstrom. The
polynomials are used as they stand on that plane, not scaled to a unit disc, which is how RELION
defines the coefficients it writes. The functions know nothing of images, boxes or optics groups.
"""

from collections.abc import Sequence
from math import factorial, isqrt, pi

import torch
from jaxtyping import Float
from torch import Tensor


def odd_zernike_indices(position: int) -> tuple[int, int]:
    """Return ``(m, n)`` of the coefficient at ``position`` in an antisymmetric expansion.

    The order is by rising odd ``n``, then by ``m = -n, -n + 2, ... n`` (``rlnOddZernike``):
    tilts ``(-1, 1), (1, 1)``, then trefoil and coma ``(-3, 3), (-1, 3), (1, 3), (3, 3)``, ...
    """
    # k (k + 1) terms stand before those of n = 2 k + 1.
    k = (isqrt(1 + 4 * position) - 1) // 2
    n = 2 * k + 1
    return 2 * (position - k * (k + 1)) - n, n


def even_zernike_indices(position: int) -> tuple[int, int]:
    """Return ``(m, n)`` of the coefficient at ``position`` in a symmetric expansion.

    The order is by rising even ``n``, then by ``m = -n, -n + 2, ... n`` (``rlnEvenZernike``):
    constant ``(0, 0)``, then astigmatism and defocus ``(-2, 2), (0, 2), (2, 2)``, ...
    """
    # k^2 terms stand before those of n = 2 k.
    k = isqrt(position)
    return 2 * (position - k * k) - 2 * k, 2 * k


def zernike_polynomial(
    m: int, n: int, x: Float[Tensor, "*k"], y: Float[Tensor, "*k"]
) -> Float[Tensor, "*k"]:
    """Evaluate ``R_n^|m|(r) cos(m phi)``, or ``R_n^|m|(r) sin(|m| phi)`` for negative ``m``.

    Parameters
    ----------
    m, n : int
        Azimuthal and radial order, ``|m| <= n``, of the same parity.
    x, y : tensors of one shape
        Cartesian coordinates, in the unit of the coefficients (1/angstrom).

    Returns
    -------
    tensor of that shape
        Not normalized: ``R_n^m(1) = 1``.

    References
    ----------
    .. [1] F. Zernike (1934), Physica 1:689-704.
    """
    order = abs(m)
    r2 = x * x + y * y
    # r^|m| e^(i |m| phi) = (x + i y)^|m|: no angle is needed, and the origin is no special case.
    real, imaginary = torch.ones_like(x), torch.zeros_like(x)
    for _ in range(order):
        real, imaginary = real * x - imaginary * y, real * y + imaginary * x
    radial = torch.zeros_like(x)
    for j in range((n - order) // 2 + 1):
        coefficient = (-1) ** j * factorial(n - j)
        coefficient //= (
            factorial(j) * factorial((n + order) // 2 - j) * factorial((n - order) // 2 - j)
        )
        radial = radial + coefficient * r2 ** ((n - order) // 2 - j)
    return radial * (real if m >= 0 else imaginary)


def odd_zernike_phase(
    coefficients: Sequence[float], x: Float[Tensor, "*k"], y: Float[Tensor, "*k"]
) -> Float[Tensor, "*k"]:
    """Sum an antisymmetric Zernike expansion (``rlnOddZernike``); radian at ``(x, y)`` in 1/A."""
    phase = torch.zeros_like(x)
    for position, coefficient in enumerate(coefficients):
        if coefficient:
            phase = phase + coefficient * zernike_polynomial(*odd_zernike_indices(position), x, y)
    return phase


def even_zernike_phase(
    coefficients: Sequence[float], x: Float[Tensor, "*k"], y: Float[Tensor, "*k"]
) -> Float[Tensor, "*k"]:
    """Sum a symmetric Zernike expansion (``rlnEvenZernike``); radian at ``(x, y)`` in 1/A."""
    phase = torch.zeros_like(x)
    for position, coefficient in enumerate(coefficients):
        if coefficient:
            phase = phase + coefficient * zernike_polynomial(*even_zernike_indices(position), x, y)
    return phase


def with_beam_tilt(
    odd_zernike: Sequence[float],
    beam_tilt_mrad: tuple[float, float],
    spherical_aberration_mm: float,
    wavelength_angstrom: float,
) -> tuple[float, ...]:
    """Put the axial coma of a tilted beam into an antisymmetric Zernike expansion.

    ``-2 pi Cs lambda^2 r^2 (tilt . (x, y))``, with ``r^2 x = (Z_3^1 + 2 Z_1^1) / 3``.

    Parameters
    ----------
    odd_zernike : sequence of float
        ``rlnOddZernike``, radian; may be empty.
    beam_tilt_mrad : (float, float)
        Along x and y, ``rlnBeamTiltX/Y``.
    spherical_aberration_mm, wavelength_angstrom : float

    Returns
    -------
    tuple of float
        Coefficients of the same kind.

    Notes
    -----
    As RELION 3.1 does: the tilt *replaces* the two coma coefficients and is added to the two of
    first order, whose compensation it is. (RELION writes files that hold either the one or the
    other coma, never both.) The minus sign is RELION's.

    References
    ----------
    .. [1] R.M. Glaeser, D. Typke, P.C. Tiemeijer, J. Pulokas, A. Cheng (2011), J. Struct. Biol.
       174:1-10.
    """
    if not any(beam_tilt_mrad):
        return tuple(odd_zernike)
    coefficients = list(odd_zernike) + [0.0] * (5 - len(odd_zernike))
    scale = -2.0 * pi * spherical_aberration_mm * 1e7 * wavelength_angstrom**2
    coma_x, coma_y = (scale * 1e-3 * tilt / 3.0 for tilt in beam_tilt_mrad)
    coefficients[3], coefficients[4] = coma_y, coma_x
    coefficients[0] += 2.0 * coma_y
    coefficients[1] += 2.0 * coma_x
    return tuple(coefficients)
