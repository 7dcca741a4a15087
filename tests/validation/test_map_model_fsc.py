"""A map against a model: gemmi's structure factors, Servalcat's curves, closed forms."""

import json
import os
from pathlib import Path

import gemmi
import numpy as np
import pytest
import torch

from napari_blush.errors import AtomicModelError, SettingsError
from napari_blush.io.atoms import AtomicModel, read_atoms
from napari_blush.io.mrc import MapFile, read_map
from napari_blush.numerics.filters import b_factor
from napari_blush.validation.map_model_fsc import (
    fit_scale,
    half_map_prediction,
    map_model_fsc,
)
from napari_blush.validation.model_density import model_density, model_mask, placed_model

BOX, VOXEL = 24, 2.0
ORACLE = Path(__file__).parents[1] / "oracles" / "servalcat_fsc_betagal.json"


def some_atoms(generator: torch.Generator, n: int = 40) -> AtomicModel:
    middle = BOX * VOXEL / 2
    positions = middle + 6 * torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return AtomicModel(
        positions=positions.clamp(3, BOX * VOXEL - 6),
        atomic_number=torch.tensor([6, 7, 8, 16] * (n // 4)),
        b_iso=20 + 60 * torch.rand(n, generator=generator, dtype=torch.float64),
        occupancy=torch.ones(n, dtype=torch.float64),
        chain=("A",) * n,
        residue_name=("ALA",) * n,
        residue_number=torch.arange(n) // 5,
        atom_name=("X",) * n,
        is_calpha=torch.arange(n) % 5 == 0,
    )


def structure_factors(atoms: AtomicModel) -> np.ndarray:
    """Sum gemmi's electron structure factors directly, for ``kx >= 0`` up to Nyquist."""
    edge = BOX * VOXEL
    cell = gemmi.UnitCell(edge, edge, edge, 90, 90, 90)
    residue = gemmi.Residue()
    for i in range(len(atoms)):
        atom = gemmi.Atom()
        atom.pos = gemmi.Position(*atoms.positions[i].tolist())
        atom.element = gemmi.Element(int(atoms.atomic_number[i]))
        atom.b_iso = float(atoms.b_iso[i])
        residue.add_atom(atom)
    chain, model = gemmi.Chain("A"), gemmi.Model(1)
    chain.add_residue(residue)
    model.add_chain(chain)
    calculator = gemmi.StructureFactorCalculatorE(cell)
    full = np.fft.fftfreq(BOX, 1 / BOX).astype(int)
    out = np.zeros((BOX, BOX, BOX // 2 + 1), dtype=complex)
    for i, z in enumerate(full):
        for j, y in enumerate(full):
            for x in range(BOX // 2 + 1):
                if x * x + y * y + z * z <= (BOX // 2 + 0.5) ** 2:
                    # Crystallography transforms with the other sign.
                    found = calculator.calculate_sf_from_model(model, [x, int(y), int(z)])
                    out[i, j, x] = found.conjugate()
    return out


def plain_fsc(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlate two half transforms shell by shell, as the definition reads."""
    full = np.fft.fftfreq(BOX, 1 / BOX)
    z, y, x = np.meshgrid(full, full, np.arange(BOX // 2 + 1), indexing="ij")
    shell = np.rint(np.sqrt(x**2 + y**2 + z**2)).astype(int)
    curve = np.ones(BOX // 2 + 1)
    for s in range(1, BOX // 2 + 1):
        inside = shell == s
        cross = (a[inside] * b[inside].conj()).real.sum()
        curve[s] = cross / np.sqrt((abs(a[inside]) ** 2).sum() * (abs(b[inside]) ** 2).sum())
    return curve


def test_curves_are_those_of_directly_summed_structure_factors(
    generator: torch.Generator,
) -> None:
    atoms = some_atoms(generator)
    given = MapFile(torch.zeros(BOX, BOX, BOX), VOXEL)
    density = model_density(placed_model(atoms, given), BOX, VOXEL)
    volume = density + 0.3 * density.std() * torch.randn(density.shape, generator=generator)
    ours = map_model_fsc(volume, density, torch.ones_like(density), VOXEL).fsc_sum
    observed = np.fft.rfftn(volume.numpy().astype(float))
    theirs = plain_fsc(observed, structure_factors(atoms))
    assert 0.2 < theirs.min() < 0.9
    # The Nyquist shell holds both signs of a frequency, which sampling adds up.
    np.testing.assert_allclose(ours[:-1], theirs[:-1], atol=2e-3)


def test_scale_and_b_factor_are_recovered(generator: torch.Generator) -> None:
    atoms = some_atoms(generator)
    given = MapFile(torch.zeros(BOX, BOX, BOX), VOXEL)
    density = model_density(placed_model(atoms, given), BOX, VOXEL)
    volume = 3.5 * b_factor(density, VOXEL, 80.0)
    fit = fit_scale(volume, density, VOXEL)
    assert fit is not None
    assert fit.b_factor == pytest.approx(80.0, abs=1.0)
    assert fit.scale == pytest.approx(3.5, rel=0.01)
    # Noise in the map does not bias what is regressed on the model.
    noisy = volume + 0.5 * volume.std() * torch.randn(volume.shape, generator=generator)
    fit = fit_scale(noisy, density, VOXEL)
    assert fit is not None
    assert fit.scale == pytest.approx(3.5, rel=0.1)


def test_a_fit_to_the_noise_of_one_half_shows(generator: torch.Generator) -> None:
    atoms = some_atoms(generator)
    given = MapFile(torch.zeros(BOX, BOX, BOX), VOXEL)
    density = model_density(placed_model(atoms, given), BOX, VOXEL)
    noise = 0.5 * density.std() * torch.randn(2, *density.shape, generator=generator)
    halves = density + noise[0], density + noise[1]
    mask = torch.ones_like(density)
    honest = map_model_fsc((halves[0] + halves[1]) / 2, density, mask, VOXEL, halves)
    fitted = density + 0.5 * noise[0]
    cheat = map_model_fsc((halves[0] + halves[1]) / 2, fitted, mask, VOXEL, halves)
    assert abs(honest.gap() or 0.0) < 0.02 < 0.05 < (cheat.gap() or 0.0)


def test_no_model_no_agreement(generator: torch.Generator) -> None:
    atoms = some_atoms(generator)
    given = MapFile(torch.zeros(BOX, BOX, BOX), VOXEL)
    density = model_density(placed_model(atoms, given), BOX, VOXEL)
    noise = torch.randn(density.shape, generator=generator)
    report = map_model_fsc(noise, density, torch.ones_like(density), VOXEL)
    assert report.resolution > BOX * VOXEL / 3
    assert report.fit is None
    assert report.gap() is None


def test_a_prediction_crosses_a_half_where_halves_cross_the_gold_standard() -> None:
    # The threshold of 0.143 is 1/7, rounded.
    assert float(half_map_prediction(torch.tensor([1 / 7]))) == pytest.approx(0.5)


def test_boxes_must_agree() -> None:
    with pytest.raises(SettingsError, match="wanted one box"):
        map_model_fsc(*torch.zeros(2, 8, 8, 8), torch.zeros(6, 6, 6), 1.0)


def test_the_frame_of_the_map_counts(generator: torch.Generator) -> None:
    atoms = some_atoms(generator)
    origin = (-10.0, 4.0, 7.0)
    plain = placed_model(atoms, MapFile(torch.zeros(BOX, BOX, BOX), VOXEL))
    moved = MapFile(torch.zeros(BOX, BOX, BOX), VOXEL, origin)
    shifted = AtomicModel(
        atoms.positions + torch.tensor(origin, dtype=torch.float64),
        *(getattr(atoms, name) for name in list(AtomicModel.__slots__)[1:]),
    )
    torch.testing.assert_close(placed_model(shifted, moved).positions, plain.positions)
    far = MapFile(torch.zeros(BOX, BOX, BOX), VOXEL, (500.0, 0.0, 0.0))
    with pytest.raises(AtomicModelError, match="wanted a model fitted in this map"):
        placed_model(atoms, far)


def test_the_mask_is_one_near_atoms_and_falls_off() -> None:
    at = torch.tensor([[20.0, 24.0, 28.0]], dtype=torch.float64)
    mask = model_mask(at, BOX, VOXEL, radius=4.0, edge=6.0)
    axis = torch.arange(BOX) * VOXEL
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    distance = ((x - 20) ** 2 + (y - 24) ** 2 + (z - 28) ** 2).double().sqrt()
    assert bool((mask[distance <= 4.0] == 1).all())
    assert bool((mask[distance > 4.0 + 6.0 + VOXEL] == 0).all())
    assert mask[14, 12, 10 + 3] == pytest.approx(0.75, abs=1e-6)  # a third into the edge


@pytest.mark.real_data
def test_curves_are_those_of_servalcat() -> None:
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("NAPARI_BLUSH_DATA", beside)) / "betagal_dev"
    oracle = json.loads(ORACLE.read_text())
    halves = [read_map(folder / "relion313_reference" / f"half{h}_unfil.mrc") for h in (1, 2)]
    mask = read_map(folder / "mask_soft_box64.mrc").volume
    atoms = read_atoms(folder / "8bk7_fitted_in_map_frame.cif.gz", waters=True)
    density = model_density(placed_model(atoms, halves[0]), 64, 3.54)
    average = (halves[0].volume + halves[1].volume) / 2
    pair = halves[0].volume, halves[1].volume
    report = map_model_fsc(average, density, mask, 3.54, pair)
    fine = slice(oracle["shell"].index(14), oracle["shell"].index(31) + 1)
    for name in ("fsc_sum", "fsc_half1", "fsc_half2"):
        np.testing.assert_allclose(getattr(report, name)[14:32], oracle[name][fine], atol=0.02)
    assert report.resolution == pytest.approx(8.09, abs=0.02)
