"""Structures: sizes, B-factors, domains; blur by pose errors against copies that are turned."""

from math import pi

import pytest
import torch

from napari_blush.errors import AtomicModelError
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.fft import rfftn_centered
from napari_blush.numerics.rotations import axis_angle_to_matrix
from napari_blush.numerics.shells import shell_mean
from napari_blush.simulation.atomic_density import density_of_atoms
from napari_blush.simulation.structures import (
    Structure,
    alignment_b_factors,
    domain_profile,
    with_thermal_b_factors,
)


def ball(n_atoms: int = 400, radius: float = 30.0) -> Structure:
    generator = torch.Generator().manual_seed(0)
    positions = torch.randn(n_atoms, 3, generator=generator)
    positions = positions / positions.norm(dim=1, keepdim=True)
    positions = radius * positions * torch.rand(n_atoms, 1, generator=generator) ** (1 / 3)
    return Structure(positions, torch.full((n_atoms,), 6), torch.linspace(10, 60, n_atoms))


def test_mass_counts_hydrogens() -> None:
    # Alanine in a chain: C3 H5 N O, 71.08 Da, without its hydrogens.
    numbers = torch.tensor([6, 6, 6, 7, 8]).repeat(1000)
    chain = Structure(torch.zeros(5000, 3), numbers, torch.zeros(5000))
    assert chain.mass_kda == pytest.approx(71.08, rel=0.05)


def test_diameter_and_center() -> None:
    structure = Structure(
        torch.tensor([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0]]), torch.tensor([6, 6]), torch.ones(2)
    )
    assert structure.diameter == pytest.approx(10.0)
    assert structure.centered().positions[:, 0].tolist() == [-5.0, 5.0]
    with pytest.raises(AtomicModelError, match="0 atoms"):
        structure.selected(torch.zeros(2, dtype=torch.bool)).centered()


def test_b_factors_come_to_the_scale_asked_for() -> None:
    scaled = with_thermal_b_factors(ball(), 80.0, 2.0)
    assert scaled.b_factors.quantile(0.01) == pytest.approx(80.0, abs=1.0)
    spread = scaled.b_factors.max() - scaled.b_factors.min()
    assert spread == pytest.approx(100.0, rel=0.05)


def test_a_domain_is_a_ball_about_an_outer_atom() -> None:
    structure = ball()
    for seed in range(5):
        profile = domain_profile(structure, 12.0, torch.Generator().manual_seed(seed))
        assert profile.max() == 1
        assert profile.min() == 0
        inside = structure.positions[profile == 1]
        assert torch.cdist(inside, inside).max() <= 24.0 + 1e-3
        assert structure.positions[profile > 0].norm(dim=1).max() > 20.0


def test_blur_is_that_of_turned_and_shifted_copies() -> None:
    angle_error, shift_error, n_copies = 4.0, 1.0, 60
    structure = ball(150).blurred(30.0)
    generator = torch.Generator().manual_seed(1)

    def density(given: Structure) -> torch.Tensor:
        return density_of_atoms(
            given.positions + 64.0,
            given.atomic_numbers,
            given.b_factors,
            box_size=32,
            voxel_size=4.0,
        )

    copies = torch.zeros(32, 32, 32)
    for _ in range(n_copies):
        tilt = angle_error * torch.randn(3, generator=generator)
        turn = axis_angle_to_matrix(tilt[None], tilt.norm()[None])[0]
        moved = structure.rotated(turn)
        shift = shift_error * torch.randn(3, generator=generator)
        copies += density(Structure(moved.positions + shift, moved.atomic_numbers, moved.b_factors))
    blurred = density(structure.blurred(alignment_b_factors(structure, angle_error, shift_error)))
    fsc = fourier_shell_correlation(copies / n_copies, blurred)
    # The blur of an atom is taken as even in all directions, which at 13 A still matters little.
    assert fsc[:10].min() > 0.95
    power = [
        shell_mean(rfftn_centered(v).abs().square(), 32, 3) for v in (copies / n_copies, blurred)
    ]
    ratio = (power[1] / power[0])[1:9].sqrt()
    assert (ratio - 1).abs().max() < 0.12
    sharp = shell_mean(rfftn_centered(density(structure)).abs().square(), 32, 3)
    assert (power[0] / sharp)[9].sqrt() < 0.85


def test_blur_at_the_center_is_that_of_the_shifts_alone() -> None:
    structure = Structure(torch.zeros(1, 3), torch.tensor([6]), torch.zeros(1))
    assert alignment_b_factors(structure, 5.0, 0.7)[0] == pytest.approx(8 * pi**2 * 0.49)
