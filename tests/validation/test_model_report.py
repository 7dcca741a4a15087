"""Residues, completeness, magnification and hand, on a made-up protein; planted faults."""

from dataclasses import replace

import pytest
import torch

from napari_blush.errors import AtomicModelError
from napari_blush.io.atoms import AtomicModel
from napari_blush.io.mrc import MapFile
from napari_blush.validation.lights import Check, Light
from napari_blush.validation.model_completeness import completeness
from napari_blush.validation.model_density import PlacedModel, model_density, placed_model
from napari_blush.validation.model_report import ModelReport, model_report
from napari_blush.validation.residue_correlation import residue_correlation

BOX, VOXEL = 40, 3.0


@pytest.fixture(scope="module")
def atoms() -> AtomicModel:
    """Return 100 residues of five atoms, strewn in a lopsided body, in two chains."""
    generator = torch.Generator().manual_seed(3)
    n = 500
    centers = torch.randn(n // 5, 3, generator=generator, dtype=torch.float64)
    centers = centers * torch.tensor([22.0, 15.0, 11.0], dtype=torch.float64)
    centers[60:, 0] = centers[60:, 0].abs() + 4
    atoms = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    walk = centers.repeat_interleave(5, dim=0) + 1.5 * atoms
    return AtomicModel(
        positions=walk - (walk.amin(0) + walk.amax(0)) / 2 + BOX * VOXEL / 2,
        atomic_number=torch.tensor([7, 6, 6, 8, 6] * (n // 5)),
        b_iso=torch.full((n,), 40.0, dtype=torch.float64),
        occupancy=torch.ones(n, dtype=torch.float64),
        chain=("A",) * 300 + ("B",) * 200,
        residue_name=("GLY",) * n,
        residue_number=torch.arange(n) // 5,
        atom_name=("N", "CA", "C", "O", "CB") * (n // 5),
        is_calpha=torch.arange(n) % 5 == 1,
    )


@pytest.fixture(scope="module")
def halves(atoms: AtomicModel) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    density = model_density(placed(atoms), BOX, VOXEL)
    noise = 2.0 * density.std() * torch.randn(2, *density.shape, generator=generator)
    return density + noise[0], density + noise[1]


def placed(atoms: AtomicModel) -> PlacedModel:
    return placed_model(atoms, MapFile(torch.zeros(BOX, BOX, BOX), VOXEL))


def judged(
    halves: tuple[torch.Tensor, torch.Tensor], atoms: AtomicModel, voxel: float = VOXEL
) -> ModelReport:
    average = (halves[0] + halves[1]) / 2
    return model_report(MapFile(average, voxel), atoms, halves=halves)


def check_of(report: ModelReport, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


def mirrored(volume: torch.Tensor) -> torch.Tensor:
    return volume.flip(0).roll(1, 0)


def test_a_right_map_is_green(
    halves: tuple[torch.Tensor, torch.Tensor], atoms: AtomicModel
) -> None:
    report = judged(halves, atoms)
    assert [check.light for check in report.checks] == [Light.GREEN] * 5
    assert report.placement.magnification == pytest.approx(1.0, abs=0.003)
    assert report.placement.shift_angstrom == 0


def test_a_voxel_size_wrong_by_two_percent_is_found_and_named(
    halves: tuple[torch.Tensor, torch.Tensor], atoms: AtomicModel
) -> None:
    # What a program docks: the model's middle stays in the particle's middle.
    wrong = 1.02 * VOXEL
    middle = atoms.positions.mean(dim=0)
    docked = replace(atoms, positions=atoms.positions + 0.02 * middle)
    report = judged(halves, docked, wrong)
    assert check_of(report, "magnification").light is Light.RED
    assert report.placement.magnification == pytest.approx(1.02, abs=0.004)
    assert check_of(report, "as it is / mirrored").light is Light.GREEN


def test_a_swapped_hand_is_found(
    halves: tuple[torch.Tensor, torch.Tensor], atoms: AtomicModel
) -> None:
    report = judged((mirrored(halves[0]), mirrored(halves[1])), atoms)
    assert check_of(report, "as it is / mirrored").light is Light.RED
    assert check_of(report, "map against model").light is Light.RED
    assert check_of(report, "residues, median").light is not Light.GREEN


def test_noise_copied_into_both_halves_is_found(
    halves: tuple[torch.Tensor, torch.Tensor], atoms: AtomicModel
) -> None:
    generator = torch.Generator().manual_seed(5)
    copied = 10 * halves[0].std() * torch.randn(BOX, BOX, BOX, generator=generator)
    report = judged((halves[0] + copied, halves[1] + copied), atoms)
    assert report.half_resolution == pytest.approx(2 * VOXEL)
    assert check_of(report, "map against model").light is Light.RED


def test_a_map_alone_is_judged_without_halves(
    halves: tuple[torch.Tensor, torch.Tensor], atoms: AtomicModel
) -> None:
    report = model_report(MapFile(halves[0], VOXEL), atoms)
    assert report.half_resolution is None
    assert len(report.checks) == 4


def test_residues_against_a_plain_loop(
    halves: tuple[torch.Tensor, torch.Tensor], atoms: AtomicModel
) -> None:
    density = model_density(placed(atoms), BOX, VOXEL)
    radius = 5.0
    found = residue_correlation(halves[0], density, placed(atoms), VOXEL, radius)
    assert len(found.correlation) == 100
    grid = VOXEL * torch.stack(
        torch.meshgrid(*[torch.arange(BOX, dtype=torch.float64)] * 3, indexing="ij"), dim=-1
    ).flip(-1)

    def plain(chosen: torch.Tensor) -> float:
        inside = (torch.cdist(grid.reshape(-1, 3), chosen) <= radius).any(dim=1)
        pair = torch.stack([halves[0].flatten()[inside], density.flatten()[inside]])
        return float(torch.corrcoef(pair.double())[0, 1])

    for i in (0, 17, 99):
        chosen = atoms.positions[5 * i : 5 * i + 5]
        assert found.correlation[i] == pytest.approx(plain(chosen), abs=1e-6)
    assert found.chain_correlation["B"] == pytest.approx(plain(atoms.positions[300:]), abs=1e-6)


def test_a_misplaced_residue_stands_out(atoms: AtomicModel) -> None:
    density = model_density(placed(atoms), BOX, VOXEL)
    moved = atoms.positions.clone()
    moved[50:55] += torch.tensor([0.0, 0.0, 40.0])
    wrong = replace(atoms, positions=moved)
    predicted = model_density(placed(wrong), BOX, VOXEL)
    found = residue_correlation(density, predicted, placed(wrong), VOXEL, 5.0)
    assert int(found.correlation.argmin()) == 10
    assert found.correlation[10] < 0.5 < 0.95 < found.correlation.median()


def test_completeness_counts_what_is_near(atoms: AtomicModel) -> None:
    shift = torch.zeros_like(atoms.positions)
    shift[:300, 0], shift[300:, 0] = 2.9, 500.0  # chain B is not built
    result = completeness(replace(atoms, positions=atoms.positions + shift), atoms)
    # Some C-alpha of chain B lie within 3 A of what was built of chain A.
    there, wanted = (atoms.positions[atoms.is_calpha] + s for s in (shift[atoms.is_calpha], 0))
    matched = sum(float((there - at).norm(dim=1).min()) <= 3 for at in wanted)
    assert 60 <= matched < 80
    assert (result.n_reference, result.n_built, result.n_matched) == (100, 100, matched)
    assert result.fraction == matched / 100
    assert result.by_chain["A"] == 1.0
    assert result.rmsd < 2.9 + 1e-9
    nothing = replace(atoms, is_calpha=torch.zeros(len(atoms), dtype=torch.bool))
    assert completeness(nothing, atoms).fraction == 0
    with pytest.raises(AtomicModelError, match="wanted a protein"):
        completeness(atoms, nothing)
