"""``train-simulate`` from a library of structures to a folder of half-map pairs."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_blush.cli.main import main
from napari_blush.io.mrc import read_map
from napari_blush.io.structure_library import StructureLibrary

OPTIONS = ("--box", "32", "--voxel-size", "4", "--resolution-finest", "9", "--mass-min", "1")


def write_library(folder: Path, n_structures: int = 6) -> Path:
    generator = np.random.default_rng(0)
    counts = [200 + 10 * i for i in range(n_structures)]
    total = sum(counts)
    ids = [f"T{i:03d}" for i in range(n_structures)]
    np.savez(
        folder / "library.npz",
        xyz_centi_angstrom=(1200 * generator.standard_normal((3, total))).astype(np.int16),
        atomic_number=np.full(total, 6, np.uint8),
        b_iso=generator.integers(20, 60, total).astype(np.uint8),
        offsets=np.cumsum([0, *counts]),
        ids=np.array(ids),
    )
    lines = ["cluster\tid", *(f"c{i // 2}\t{name}" for i, name in enumerate(ids))]
    (folder / "library.tsv").write_text("\n".join(lines) + "\n")
    return folder / "library.npz"


def simulate(library: Path, output: Path, *options: str) -> int:
    return main(["train-simulate", str(library), "--output", str(output), *OPTIONS, *options])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def made(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "pairs"
    assert simulate(library, folder, "--n-entries", "3", "--seed", "7") == 0
    return folder


def test_every_entry_is_two_halves_and_a_mask_and_nothing_else(made: Path) -> None:
    rows = table(made / "pairs.tsv")
    assert len(rows) == 3
    assert all(row["kept"] == "yes" for row in rows)
    for row in rows:
        files = sorted(path.name for path in (made / row["entry"]).iterdir())
        assert files == ["half1.mrc", "half2.mrc", "mask.mrc"]
        maps = [read_map(made / row["entry"] / name) for name in files]
        assert {map_file.volume.shape[-1] for map_file in maps} == {int(row["box_size"])}
        assert all(map_file.voxel_size == pytest.approx(4.0) for map_file in maps)
        assert not torch.equal(maps[0].volume, maps[1].volume)
        assert 6 < float(row["resolution_angstrom"]) < 60
    assert sorted(path.name for path in made.iterdir() if path.is_file()) == [
        "clusters.tsv",
        "pairs.tsv",
        "settings.yaml",
    ]


def test_no_cluster_straddles_splits(made: Path) -> None:
    of_cluster = {row["cluster"]: row["split"] for row in table(made / "clusters.tsv")}
    assert of_cluster.keys() == {"c0", "c1", "c2"}
    assert all(of_cluster[row["cluster"]] == row["split"] for row in table(made / "pairs.tsv"))


def test_the_same_seed_makes_the_same_files(library: Path, made: Path, tmp_path: Path) -> None:
    assert simulate(library, tmp_path, "--settings", str(made / "settings.yaml")) == 0
    assert (tmp_path / "pairs.tsv").read_text() == (made / "pairs.tsv").read_text()
    for row in table(made / "pairs.tsv"):
        relative = Path(row["entry"]) / "half1.mrc"
        assert (tmp_path / relative).read_bytes() == (made / relative).read_bytes()


def test_atoms_come_in_angstrom(library: Path) -> None:
    positions, numbers, b_factors = StructureLibrary(library).atoms(1)
    assert positions.shape == (210, 3)
    assert positions.std() == pytest.approx(12.0, rel=0.1)
    assert (numbers == 6).all()
    assert b_factors.min() >= 20


@pytest.mark.parametrize("level", ["poses", "refinement"])
def test_images_are_made_and_reconstructed(library: Path, tmp_path: Path, level: str) -> None:
    few = ("--images-min", "80", "--images-max", "80", "--resolution-coarsest", "12")
    options = ("--level", level, "--n-entries", "1", "--max-iterations", "3", "--seed", "1", *few)
    assert simulate(library, tmp_path, *options, "--iterations-kept", "2") == 0
    rows = table(tmp_path / "pairs.tsv")
    assert len(rows) == (1 if level == "poses" else 2)
    for row in rows:
        halves = [read_map(tmp_path / row["entry"] / f"half{i}.mrc").volume for i in (1, 2)]
        mask = read_map(tmp_path / row["entry"] / "mask.mrc").volume
        inside = (halves[0] + halves[1])[mask > 0.9].mean()
        assert inside > (halves[0] + halves[1])[mask < 0.1].mean() + 0.5
        assert not torch.equal(halves[0], halves[1])


def test_a_library_without_clusters_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = write_library(tmp_path)
    (tmp_path / "library.tsv").write_text("cluster\tid\nc0\tT000\n")
    assert simulate(library, tmp_path / "out") == 1
    assert "no cluster for 5 structures" in capsys.readouterr().err


def test_a_file_that_is_no_library_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "other.npz", xyz=np.zeros(3))
    assert simulate(tmp_path / "other.npz", tmp_path / "out") == 1
    assert "lacks xyz_centi_angstrom" in capsys.readouterr().err


def test_structures_that_do_not_fit_are_told(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(library, tmp_path, "--mass-min", "200", "--mass-max", "300") == 2
    assert "0 of 400 entries" in capsys.readouterr().err
