"""Maps averaged over point groups: moved voxels exactly, other rotations to the last frequency."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.filters import low_pass_at_shell
from napari_blush.numerics.map_symmetry import rotate_map, symmetrize_map
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import axis_angle_to_matrix, random_rotations


def coordinates(n: int) -> torch.Tensor:
    """``(n^3, 3)`` places (x, y, z) of all voxels, in the order in which they lie."""
    axis = torch.arange(n, dtype=torch.float64) - n // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], dim=-1).reshape(-1, 3)


def blobs(n: int, generator: torch.Generator, operators: torch.Tensor, sigma: float):
    """Sums of Gaussians at random places near the center, and at all mates of these places."""
    places = (torch.rand(6, 3, generator=generator, dtype=torch.float64) - 0.5) * n * 0.5
    weights = torch.rand(6, generator=generator, dtype=torch.float64) + 0.5
    grid = coordinates(n)

    def density(matrix: torch.Tensor) -> torch.Tensor:
        distance = torch.cdist(grid, places @ matrix.T) ** 2
        return (torch.exp(-distance / (2 * sigma**2)) @ weights).reshape(n, n, n)

    return density(torch.eye(3, dtype=torch.float64)), sum(
        density(operator) for operator in operators
    ) / len(operators)


def by_trigonometric_sums(volume: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """The map's own trigonometric polynomial at ``places (m, 3)``, a sum over all frequencies."""
    n = volume.shape[-1]
    frequency = torch.arange(-(n // 2) + 1, n // 2)
    transform = torch.fft.fftn(torch.fft.ifftshift(volume))
    kz, ky, kx = torch.meshgrid(frequency, frequency, frequency, indexing="ij")
    k = torch.stack([kx, ky, kz], dim=-1).reshape(-1, 3).double()
    waves = torch.exp(2j * torch.pi / n * (places @ k.T))
    return (waves @ transform[kz, ky, kx].reshape(-1)).real / n**3


@pytest.mark.parametrize("n", [8, 9])
@pytest.mark.parametrize("symbol", ["O", "D2", "C4"])
def test_rotations_of_the_axes_only_move_voxels(n: int, symbol: str, generator) -> None:
    volume = torch.randn(n, n, n, generator=generator, dtype=torch.float64)
    grid = coordinates(n)
    for operator in symmetry_operators(symbol):
        index = ((grid @ operator).round().long() + n // 2) % n  # the place that feeds each voxel
        expected = volume[index[:, 2], index[:, 1], index[:, 0]].reshape(n, n, n)
        assert torch.equal(rotate_map(volume, operator), expected)


@pytest.mark.parametrize("symbol", ["C1", "C2", "C4", "D2", "D4", "O"])
def test_such_groups_are_imposed_to_the_last_bit_but_one(symbol: str, generator) -> None:
    volume = torch.randn(10, 10, 10, generator=generator, dtype=torch.float64)
    operators = symmetry_operators(symbol)
    once = symmetrize_map(volume, operators)
    for operator in operators:
        assert torch.allclose(rotate_map(once, operator), once, atol=1e-14)
    assert torch.allclose(symmetrize_map(once, operators), once, atol=1e-14)
    assert float(once.mean()) == pytest.approx(float(volume.mean()), abs=1e-14)
    mean = sum(rotate_map(volume, operator) for operator in operators) / len(operators)
    assert torch.allclose(once, mean, atol=1e-14)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_rotation_is_that_of_the_trigonometric_polynomial(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rotation = random_rotations(1, generator)[0].double()
    n = 20
    grid = coordinates(n)
    volume = torch.randn(n, n, n, generator=generator, dtype=torch.float64)
    # Nothing near the edge of the box: there the polynomial repeats itself.
    window = torch.exp(-grid.square().sum(dim=1) / (2 * 2.2**2)).reshape(n, n, n)
    volume = low_pass_at_shell(volume, 3.0) * window
    near = torch.nonzero(grid.norm(dim=1) < n / 2 - 1).flatten()
    some = near[torch.randperm(len(near), generator=generator)[:300]]
    expected = by_trigonometric_sums(volume, grid[some] @ rotation)  # R^-1 x, as rows
    made = rotate_map(volume, rotation).reshape(-1)[some]
    assert float((made - expected).norm() / expected.norm()) < 2e-3


@pytest.mark.parametrize("symbol", ["C3", "C7", "D3", "T", "I1", "I2", "I3"])
def test_every_group_is_the_mean_of_densities_at_all_mates(symbol: str, generator) -> None:
    operators = symmetry_operators(symbol)
    density, expected = blobs(24, generator, operators, 1.6)
    made = symmetrize_map(density, operators)
    assert float((made - expected).norm() / expected.norm()) < 2e-3
    single = symmetrize_map(density.float(), operators)
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), made, atol=1e-5)


def test_fine_shells_keep_their_amplitude(generator) -> None:
    """What a trilinear or cubic interpolation would damp: noise up to 0.85 of Nyquist."""
    n = 32
    noise = torch.randn(n, n, n, generator=generator, dtype=torch.float64)
    noise = low_pass_at_shell(noise * soft_sphere(n, 8.0, 4.0), 13.0)
    noise = noise * soft_sphere(n, 12.0, 3.0)
    axis = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    rotation = axis_angle_to_matrix(axis, torch.tensor(37.0, dtype=torch.float64))
    there = rotate_map(noise, rotation)
    back = rotate_map(there, rotation.T)
    assert float((back - noise).norm() / noise.norm()) < 0.02
    assert float(there.norm() / noise.norm()) == pytest.approx(1, abs=0.01)
    assert bool((fourier_shell_correlation(back, noise)[:14] > 0.999).all())


def test_a_constant_around_the_particle_stays(generator) -> None:
    operators = symmetry_operators("C3")
    density, _ = blobs(24, generator, operators, 1.6)
    raised = symmetrize_map(density + 5.0, operators)
    assert torch.allclose(raised - 5.0, symmetrize_map(density, operators), atol=1e-6)


def test_the_map_given_is_left_as_it_was(generator) -> None:
    volume = torch.randn(8, 8, 8, generator=generator)
    before = volume.clone()
    for symbol in ("C1", "D2", "C3"):
        symmetrize_map(volume, symmetry_operators(symbol))
    assert torch.equal(volume, before)
