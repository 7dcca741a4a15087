import math
from pathlib import Path
from typing import Any

import gemmi
import mrcfile
import numpy as np
import pytest
import torch
from scipy.constants import N_A, e, h, m_e

from napari_blush.errors import AtomicModelError, SettingsError
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.fft import fourier_resize, rfftn_centered
from napari_blush.numerics.filters import b_factor as apply_b_factor
from napari_blush.numerics.shells import shell_index_grid
from napari_blush.simulation.atomic_density import (
    VITREOUS_ICE_DENSITY,
    VOLTS_PER_DENSITY,
    BulkSolvent,
    centered_in_box,
    density_of_atoms,
)


def some_atoms(
    n: int, edge: float, generator: torch.Generator, least_b: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    positions = edge * (0.25 + 0.5 * torch.rand(n, 3, generator=generator, dtype=torch.float64))
    numbers = torch.tensor([1, 6, 7, 8, 16])[torch.randint(5, (n,), generator=generator)]
    b_factors = least_b + 40 * torch.rand(n, generator=generator, dtype=torch.float64)
    return positions, numbers, b_factors


def scattering_factor(number: int, squared_frequency: np.ndarray) -> np.ndarray:
    table = gemmi.Element(number).c4322
    return sum(
        a * np.exp(-b * squared_frequency / 4) for a, b in zip(table.a, table.b, strict=True)
    )


def summed_directly(
    positions: torch.Tensor, numbers: torch.Tensor, b_factors: torch.Tensor, n: int, voxel: float
) -> torch.Tensor:
    """The half transform about voxel n // 2, atom by atom."""
    edge = n * voxel
    k = np.fft.fftfreq(n, voxel)
    kz, ky, kx = np.meshgrid(k, k, np.fft.rfftfreq(n, voxel), indexing="ij")
    squared = kx**2 + ky**2 + kz**2
    total = np.zeros(squared.shape, complex)
    for (x, y, z), number, b in zip(
        (positions - edge / 2).tolist(), numbers.tolist(), b_factors.tolist(), strict=True
    ):
        amplitude = scattering_factor(number, squared) * np.exp(-b * squared / 4)
        total += amplitude * np.exp(-2j * np.pi * (kx * x + ky * y + kz * z))
    return torch.from_numpy(total / voxel**3)


def largest_shell_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Over the shells below the Nyquist planes, relative to the power of the shell."""
    n = found.shape[0]
    shell = shell_index_grid(n, 3)
    errors = [
        float((found - expected)[shell == s].norm() / expected[shell == s].norm())
        for s in range(n // 2)
    ]
    return max(errors)


@pytest.mark.parametrize(
    ("voxel", "least_b"), [(0.8, 0.0), (1.5, 0.0), (1.5, 60.0), (3.0, 0.0), (4.0, 100.0)]
)
def test_is_the_sum_over_atoms(voxel: float, least_b: float, generator: torch.Generator) -> None:
    n = 24
    positions, numbers, b_factors = some_atoms(25, n * voxel, generator, least_b)
    density = density_of_atoms(positions, numbers, b_factors, box_size=n, voxel_size=voxel)
    assert density.dtype == torch.float32
    expected = summed_directly(positions, numbers, b_factors, n, voxel)
    assert largest_shell_error(rfftn_centered(density.double()), expected) < 5e-4


def test_agrees_with_structure_factors_of_gemmi(generator: torch.Generator) -> None:
    n, voxel = 32, 1.2
    edge = n * voxel
    positions, numbers, b_factors = some_atoms(40, edge, generator, 10.0)
    occupancies = 0.3 + 0.7 * torch.rand(40, generator=generator, dtype=torch.float64)
    density = density_of_atoms(
        positions, numbers, b_factors, box_size=n, voxel_size=voxel, occupancies=occupancies
    )
    structure = gemmi.SmallStructure()
    structure.cell = gemmi.UnitCell(edge, edge, edge, 90, 90, 90)
    structure.spacegroup_hm = "P 1"
    for i in range(40):
        site = gemmi.SmallStructure.Site()
        site.element = gemmi.Element(int(numbers[i]))
        site.fract = structure.cell.fractionalize(gemmi.Position(*positions[i].tolist()))
        site.occ, site.u_iso = float(occupancies[i]), float(b_factors[i]) / (8 * math.pi**2)
        structure.add_site(site)
    structure.setup_cell_images()
    calculator = gemmi.StructureFactorCalculatorE(structure.cell)
    # Ours runs over exp(-2 pi i k.x), with phases about the corner when it is not centered.
    transform = torch.fft.rfftn(density.double()) * voxel**3
    for hkl in [(0, 0, 0), (1, 0, 0), (0, 2, 0), (0, 0, 3), (4, -5, 6), (12, 3, -9), (1, -14, 2)]:
        expected = np.conj(calculator.calculate_sf_from_small_structure(structure, hkl))
        found = complex(transform[hkl[2], hkl[1], hkl[0]])
        assert found == pytest.approx(expected, abs=5e-3)


def test_adds_up_to_forward_scattering(generator: torch.Generator) -> None:
    positions, numbers, b_factors = some_atoms(30, 48.0, generator)
    occupancies = torch.rand(30, generator=generator, dtype=torch.float64)
    density = density_of_atoms(
        positions, numbers, b_factors, box_size=24, voxel_size=2.0, occupancies=occupancies
    )
    expected = sum(
        float(o) * float(scattering_factor(int(z), np.zeros(1))[0])
        for o, z in zip(occupancies, numbers, strict=True)
    )
    assert float(density.double().sum()) * 2.0**3 == pytest.approx(expected, rel=2e-4)


def test_an_atom_lies_at_its_voxel() -> None:
    atom = torch.tensor([[7.0, 12.0, 21.0]]) * 1.5
    density = density_of_atoms(
        atom, torch.tensor([6]), torch.tensor([30.0]), box_size=32, voxel_size=1.5
    )
    assert divmod(int(density.argmax()), 32 * 32) == (21, 12 * 32 + 7)


def test_a_coarser_grid_holds_the_same_density(generator: torch.Generator) -> None:
    positions, numbers, b_factors = some_atoms(30, 48.0, generator)
    fine, coarse = (
        density_of_atoms(positions, numbers, b_factors, box_size=n, voxel_size=48.0 / n)
        for n in (40, 20)
    )
    error = (fourier_resize(fine, 20) - coarse).norm() / coarse.norm()
    assert float(error) < 5e-4


def test_b_factors_act_on_the_density(generator: torch.Generator) -> None:
    positions, numbers, b_factors = some_atoms(30, 48.0, generator)
    sharp, soft = (
        density_of_atoms(positions, numbers, b_factors + more, box_size=24, voxel_size=2.0)
        for more in (0.0, 75.0)
    )
    error = (apply_b_factor(sharp, 2.0, 75.0) - soft).norm() / soft.norm()
    assert float(error) < 5e-4


def test_solvent_lowers_the_inside_only() -> None:
    # A ball of radius 14 A of atoms on a lattice, in a box of 80 A.
    axis = torch.arange(-14.0, 15.0, 2.0, dtype=torch.float64)
    lattice = torch.cartesian_prod(axis, axis, axis)
    positions = lattice[lattice.norm(dim=1) < 14] + 40.0
    atoms: tuple[Any, ...] = (
        positions,
        torch.full((len(positions),), 6),
        torch.full((len(positions),), 20.0, dtype=torch.float64),
    )
    solvent = BulkSolvent(density=0.08, b_factor=200.0)
    vacuum = density_of_atoms(*atoms, box_size=40, voxel_size=2.0)
    solvated = density_of_atoms(*atoms, box_size=40, voxel_size=2.0, solvent=solvent)
    removed = vacuum - solvated
    corner = 2.0 * torch.arange(40.0) - 40.0
    radius = torch.cartesian_prod(corner, corner, corner).norm(dim=1).reshape(40, 40, 40)
    torch.testing.assert_close(
        removed[radius < 8], torch.full_like(removed[radius < 8], 0.08), rtol=0, atol=2e-3
    )
    assert float(removed[radius > 25].abs().max()) < 2e-3
    # The envelope is the ball and about an atom's radius around it.
    volume = float(removed.sum()) * 8 / 0.08
    assert 14.0 < (3 * volume / (4 * math.pi)) ** (1 / 3) < 16.5


def test_constants_are_those_of_nature() -> None:
    assert pytest.approx(h**2 / (2 * math.pi * m_e * e) * 1e20, rel=1e-4) == VOLTS_PER_DENSITY
    water = 2 * sum(gemmi.Element("H").c4322.a) + sum(gemmi.Element("O").c4322.a)
    molecules = 0.93e-24 / 18.015 * N_A
    assert water * molecules == pytest.approx(VITREOUS_ICE_DENSITY, rel=2e-3)


def test_centers_the_extent() -> None:
    positions = torch.tensor([[-5.0, 0.0, 3.0], [7.0, 2.0, 3.0], [0.0, 0.0, 9.0]])
    moved = centered_in_box(positions, 10, 3.0)
    middle = (moved.amin(0) + moved.amax(0)) / 2
    torch.testing.assert_close(middle, torch.full((3,), 15.0))
    torch.testing.assert_close(moved - moved[0], positions - positions[0])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"atomic_numbers": torch.tensor([6, 0])}, "atomic numbers from 0"),
        ({"atomic_numbers": torch.tensor([6, 99])}, "to 99"),
        ({"atomic_numbers": torch.tensor([6])}, "1 atomic numbers"),
        ({"b_factors": torch.tensor([10.0, -1.0])}, "B-factor of -1.0"),
        ({"b_factors": torch.tensor([10.0, math.nan])}, "B-factor of nan"),
        ({"positions": torch.tensor([[5.0, 5.0, 5.0], [5.0, -4.0, 5.0]])}, "inside the box"),
        ({"positions": torch.tensor([[5.0, 5.0, 5.0], [5.0, 5.0, 31.2]])}, "inside the box"),
    ],
)
def test_impossible_atoms_are_refused(changed: dict[str, Any], told: str) -> None:
    usual: dict[str, Any] = {
        "positions": torch.full((2, 3), 10.0),
        "atomic_numbers": torch.tensor([6, 8]),
        "b_factors": torch.tensor([10.0, 10.0]),
    }
    with pytest.raises(AtomicModelError, match=told):
        density_of_atoms(**usual | changed, box_size=16, voxel_size=2.0)


def test_no_atom_is_refused() -> None:
    none = torch.zeros(0)
    with pytest.raises(AtomicModelError, match="0 positions"):
        density_of_atoms(none.reshape(0, 3), none.long(), none, box_size=16, voxel_size=2.0)
    with pytest.raises(AtomicModelError, match="0 atoms"):
        centered_in_box(none.reshape(0, 3), 16, 2.0)


@pytest.mark.parametrize(("box_size", "voxel_size"), [(15, 2.0), (0, 2.0), (16, 0.0)])
def test_impossible_grids_are_refused(box_size: int, voxel_size: float) -> None:
    atom = torch.ones(1, 3), torch.tensor([6]), torch.tensor([10.0])
    with pytest.raises(SettingsError, match="even number"):
        density_of_atoms(*atom, box_size=box_size, voxel_size=voxel_size)


@pytest.mark.real_data
def test_agrees_with_the_density_others_made(data_dir: Path) -> None:
    # Made apart from this package, with gemmi's factors and a solvent of their own.
    truth = data_dir / "simulated" / "tiny64" / "truth"
    with mrcfile.open(truth / "truth.mrc") as file:
        expected, voxel = torch.from_numpy(file.data.copy()).float(), float(file.voxel_size.x)
    structure = gemmi.read_structure(str(truth / "model.pdb"))
    atoms = [site.atom for site in structure[0].all()]
    density = density_of_atoms(
        torch.tensor([atom.pos.tolist() for atom in atoms], dtype=torch.float64),
        torch.tensor([atom.element.atomic_number for atom in atoms]),
        torch.tensor([atom.b_iso for atom in atoms], dtype=torch.float64),
        box_size=len(expected),
        voxel_size=voxel,
        occupancies=torch.tensor([atom.occ for atom in atoms], dtype=torch.float64),
        solvent=BulkSolvent(),
    )
    assert float(fourier_shell_correlation(density, expected)[:31].min()) > 0.97
