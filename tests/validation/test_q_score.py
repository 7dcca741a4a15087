"""Q-scores: written out for single atoms, in closed form, and where they must fall."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_blush.io.atoms import AtomicModel, read_atoms
from napari_blush.io.mrc import MapFile, read_map
from napari_blush.validation.model_density import placed_model
from napari_blush.validation.q_score import RADII, atom_q_scores, even_directions, q_scores

BOX, VOXEL = 40, 0.5


def peaks(positions: torch.Tensor, width: float) -> torch.Tensor:
    """Return the sum of Gaussian peaks."""
    axis = torch.arange(BOX, dtype=torch.float64) * VOXEL
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    total = torch.zeros(BOX, BOX, BOX, dtype=torch.float64)
    for px, py, pz in positions.tolist():
        total += torch.exp(-((x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2) / (2 * width**2))
    return total.float()


MIDDLE = torch.tensor([[9.7, 10.1, 10.4]], dtype=torch.float64)


@pytest.mark.parametrize("width", [0.6, 0.8, 1.2, 2.0])
def test_one_gaussian_atom_in_closed_form(width: float) -> None:
    # Two functions of the radius alone: a correlation of 21 numbers with 21 numbers.
    r = RADII.numpy()
    wanted = np.corrcoef(np.exp(-(r**2) / (2 * width**2)), np.exp(-(r**2) / (2 * 0.6**2)))[0, 1]
    found = float(atom_q_scores(3 * peaks(MIDDLE, width) - 7, MIDDLE, VOXEL)[0])
    assert found == pytest.approx(wanted, abs=2e-3)
    assert (found > 0.998) == (width == 0.6)


def test_a_hole_scores_below_zero_and_noise_near_it(generator: torch.Generator) -> None:
    assert float(atom_q_scores(-peaks(MIDDLE, 0.6), MIDDLE, VOXEL)[0]) < -0.99
    noise = torch.randn(BOX, BOX, BOX, generator=generator)
    places = 5 + 10 * torch.rand(60, 3, generator=generator, dtype=torch.float64)
    scores = atom_q_scores(noise, places, VOXEL)
    assert abs(float(scores.mean())) < 0.1
    assert math.isnan(float(atom_q_scores(torch.ones(BOX, BOX, BOX), MIDDLE, VOXEL)[0]))


def test_crowded_atoms_are_those_written_out(generator: torch.Generator) -> None:
    positions = 7 + 6 * torch.rand(40, 3, generator=generator, dtype=torch.float64)
    volume = peaks(positions, 0.7) + 0.05 * torch.randn(BOX, BOX, BOX, generator=generator)
    found = atom_q_scores(volume, positions, VOXEL)
    directions = even_directions(32).numpy()
    spots = positions.numpy()
    spline = ndimage.spline_filter(volume.double().numpy(), order=3)
    for atom in range(0, 40, 7):
        u, v, w = [], [], []
        for r in RADII.tolist():
            kept = []
            for direction in directions:
                point = spots[atom] + r * direction
                distances = np.linalg.norm(spots - point, axis=1)
                if (np.delete(distances, atom) > 0.9 * r + 1e-9).all():
                    kept.append(point)
            for point in kept:
                at = (point / VOXEL)[::-1][:, None]
                u.append(ndimage.map_coordinates(spline, at, order=3, prefilter=False)[0])
                v.append(math.exp(-0.5 * (r / 0.6) ** 2))
                w.append(1 / len(kept))
        u, v, w = (np.array(each) for each in (u, v, w))
        u, v = (each - np.average(each, weights=w) for each in (u, v))
        wanted = (w * u * v).sum() / math.sqrt((w * u * u).sum() * (w * v * v).sum())
        assert float(found[atom]) == pytest.approx(wanted, abs=1e-4)


def test_jqscore_says_the_same() -> None:
    # It draws eight points a sphere and reads between voxels linearly: single atoms scatter. Were
    # points kept only where no atom is nearer, the mean would be off by 0.03.
    oracle = json.loads((Path(__file__).parents[1] / "oracles" / "jqscore.json").read_text())
    voxel, wanted = oracle["voxel_size"], np.array(oracle["q"])
    axis = np.arange(oracle["box"]) * voxel
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    total = np.zeros(x.shape)
    for (px, py, pz), width in zip(oracle["positions"], oracle["widths"], strict=True):
        squared = (x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2
        total += np.exp(-squared / (2 * width**2)) / width**3
    places = torch.tensor(oracle["positions"], dtype=torch.float64)
    found = atom_q_scores(torch.from_numpy(total).float(), places, voxel).numpy()
    assert abs((found - wanted).mean()) < 0.02
    assert np.median(np.abs(found - wanted)) < 0.015
    assert np.corrcoef(found, wanted)[0, 1] > 0.98


def test_directions_are_even() -> None:
    directions = even_directions(32)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(32, dtype=torch.float64))
    assert directions.mean(dim=0).norm() < 0.02
    assert (directions @ directions.T - 2 * torch.eye(32)).max() < math.cos(math.radians(25))


@pytest.fixture
def model(generator: torch.Generator) -> AtomicModel:
    """Return nine residues of four atoms in two chains, some 2.5 A apart."""
    n = 36
    grid = torch.cartesian_prod(*[torch.arange(4, dtype=torch.float64)] * 3)[:n] * 2.5 + 6
    return AtomicModel(
        positions=grid,
        atomic_number=torch.full((n,), 6),
        b_iso=torch.full((n,), 20.0, dtype=torch.float64),
        occupancy=torch.ones(n, dtype=torch.float64),
        chain=("A",) * 20 + ("B",) * 16,
        residue_name=("ALA",) * n,
        residue_number=torch.arange(n) // 4,
        atom_name=("N", "CA", "C", "CB") * (n // 4),
        is_calpha=torch.arange(n) % 4 == 1,
    )


def test_residues_and_chains_are_means_and_a_wrong_residue_shows(model: AtomicModel) -> None:
    volume = peaks(model.positions, 0.6)
    placed = placed_model(model, MapFile(volume, VOXEL))
    right = q_scores(volume, placed, VOXEL)
    torch.testing.assert_close(right.residue, right.atom.reshape(9, 4).mean(dim=1))
    assert right.chain["B"] == pytest.approx(float(right.atom[20:].mean()))
    assert right.mean > 0.9
    moved = model.positions.clone()
    moved[8:12] += torch.tensor([1.25, 1.25, 1.25], dtype=torch.float64)
    wrong = q_scores(volume, replace(placed, positions=moved), VOXEL)
    assert int(wrong.residue.argmin()) == 2
    assert float(wrong.residue[2]) < 0.3 < float(right.residue[2])


@pytest.mark.real_data
def test_the_fitted_model_scores_better_than_one_that_is_shifted() -> None:
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("NAPARI_BLUSH_DATA", beside)) / "betagal_dev"
    truth = read_map(folder / "truth_from_8bk7_3.54A_box64.mrc")
    placed = placed_model(read_atoms(folder / "8bk7_fitted_in_map_frame.cif.gz"), truth)
    chosen = placed.positions[::40]
    # At 7 A atoms are not told apart: points differ by little, but a shift of 3 A is worse.
    right = atom_q_scores(truth.volume, chosen, truth.voxel_size).nanmean()
    wrong = atom_q_scores(truth.volume, chosen + 3.0, truth.voxel_size).nanmean()
    assert float(right) > float(wrong) + 0.1
