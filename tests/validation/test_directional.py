"""Conical FSC: closed forms, the whole sphere as one cone, missing cones."""

from math import asin, pi, sqrt

import pytest
import torch

from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.fft import irfftn_centered, rfftn_centered
from napari_blush.numerics.healpix import pixel_directions
from napari_blush.numerics.sharpening import sharpen
from napari_blush.validation.directional import (
    conical_fsc,
    cutoff_shells,
    directional_report,
    sphericity,
)
from napari_blush.validation.lights import Light

BOX, VOXEL = 40, 3.0
Z_AXIS = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)


def halves(generator: torch.Generator, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    signal = sharpen(torch.randn(BOX, BOX, BOX, generator=generator), VOXEL, b_factor=500.0)
    noises = noise * torch.randn(2, BOX, BOX, BOX, generator=generator)
    return signal + noises[0], signal + noises[1]


def without_cone(volume: torch.Tensor, axis: int, half_angle_deg: float) -> torch.Tensor:
    """Take away the signal near an axis (0: z, 1: y, 2: x)."""
    transform = rfftn_centered(volume)
    frequency = torch.stack(
        torch.meshgrid(
            torch.fft.fftfreq(BOX), torch.fft.fftfreq(BOX), torch.fft.rfftfreq(BOX), indexing="ij"
        )
    )
    along = frequency[axis].abs() / frequency.norm(dim=0).clamp(min=1e-9)
    transform[along > torch.cos(torch.deg2rad(torch.tensor(half_angle_deg)))] = 0
    return irfftn_centered(transform, BOX)


def test_a_cone_of_ninety_degrees_is_the_whole_shell(generator: torch.Generator) -> None:
    a, b = halves(generator, 0.05)
    curve = conical_fsc(a, b, Z_AXIS, half_angle=90.0)[0]
    # The package's own FSC counts the plane kx = 0 double.
    torch.testing.assert_close(curve, fourier_shell_correlation(a, b), atol=0.05, rtol=0)
    fine = slice(8, None)
    torch.testing.assert_close(
        curve[fine], fourier_shell_correlation(a, b)[fine], atol=0.01, rtol=0
    )


def test_cones_against_a_plain_loop(generator: torch.Generator) -> None:
    a, b = halves(generator, 0.05)
    axis = torch.nn.functional.normalize(torch.tensor([[1.0, -2.0, 0.5]]).double(), dim=1)
    found = conical_fsc(a, b, axis, half_angle=20.0)[0]
    fa, fb = (torch.fft.fftn(v.double()) for v in (a, b))
    k = torch.fft.fftfreq(BOX, 1 / BOX).double()
    z, y, x = torch.meshgrid(k, k, k, indexing="ij")
    radius = (x**2 + y**2 + z**2).sqrt()
    along = (x * axis[0, 0] + y * axis[0, 1] + z * axis[0, 2]).abs() / radius.clamp(min=1)
    for shell in (4, 9, 17):
        inside = (radius.round() == shell) & (along >= torch.cos(torch.tensor(pi / 9)))
        cross = (fa[inside] * fb[inside].conj()).real.sum()
        norm = (fa[inside].abs() ** 2).sum().sqrt() * (fb[inside].abs() ** 2).sum().sqrt()
        assert found[shell] == pytest.approx(float(cross / norm), abs=1e-4)


def test_alike_everywhere_is_one(generator: torch.Generator) -> None:
    half = halves(generator, 0.0)[0]
    report = directional_report(half, half, VOXEL)
    assert report.area_ratio == pytest.approx(1.0, abs=1e-5)
    assert report.sphericity == pytest.approx(1.0, abs=1e-5)
    assert bool((report.cutoff_shell == BOX // 2).all())


def test_isotropic_noise_is_green(generator: torch.Generator) -> None:
    report = directional_report(*halves(generator, 0.05), VOXEL)
    assert report.area_ratio > 0.75
    assert report.sphericity > 0.93
    assert {check.light for check in report.checks} == {Light.GREEN}


@pytest.mark.parametrize("axis", [0, 2])
def test_a_missing_cone_is_found(generator: torch.Generator, axis: int) -> None:
    signal = sharpen(torch.randn(BOX, BOX, BOX, generator=generator), VOXEL, b_factor=500.0)
    noises = 0.05 * torch.randn(2, BOX, BOX, BOX, generator=generator)
    seen = without_cone(signal, axis, 45.0)
    report = directional_report(seen + noises[0], seen + noises[1], VOXEL)
    assert max(check.light for check in report.checks) is Light.RED
    assert report.area_ratio < 0.2
    assert abs(report.weakest[2 - axis]) > 0.85


def test_the_cutoff_is_interpolated() -> None:
    curves = torch.tensor(
        [
            [1.0, 0.8, 0.543, 0.043, 0.9],
            [1.0, 0.9, 0.9, 0.9, 0.9],
            [1.0, 0.1, 0.9, 0.9, 0.9],
            [1.0, torch.nan, 0.243, 0.043, 0.0],
        ]
    )
    wanted = torch.tensor([2.8, 4.0, 0.0, 2.5]).double()
    torch.testing.assert_close(cutoff_shells(curves), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("ratio", [0.5, 2.0, 3.0])
def test_sphericity_of_an_ellipsoid_in_closed_form(ratio: float) -> None:
    directions = pixel_directions(3).double()
    directions = directions[directions[:, 2] > 0]
    planar, polar = directions[:, :2].norm(dim=1), directions[:, 2]
    radii = (planar**2 + (polar / ratio) ** 2) ** -0.5
    if ratio < 1:
        eccentricity = sqrt(1 - ratio**2)
        tail = ratio**2 / eccentricity * torch.atanh(torch.tensor(eccentricity)).item()
    else:
        eccentricity = sqrt(1 - ratio**-2)
        tail = ratio / eccentricity * asin(eccentricity)
    area, volume = 2 * pi * (1 + tail), 4 / 3 * pi * ratio
    wanted = pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area
    assert sphericity(directions, radii) == pytest.approx(wanted, abs=0.01)
