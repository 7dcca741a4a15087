import gzip
from pathlib import Path

import gemmi
import numpy as np
import pytest
import torch

from napari_blush.errors import AtomicModelError
from napari_blush.io.atoms import read_atoms

PDB = """\
CRYST1   50.000   50.000   50.000  90.00  90.00  90.00 P 1           1
ATOM      1  N   ALA A   1      11.104   6.134  -6.504  1.00 10.50           N
ATOM      2  CA AALA A   1      11.639   6.071  -5.147  0.60 20.00           C
ATOM      3  CA BALA A   1      11.700   6.100  -5.100  0.40 25.00           C
ATOM      4  HA  ALA A   1      12.000   6.100  -5.100  1.00 25.00           H
ATOM      5  C   ALA A   2A     10.639   5.071  -4.147  0.00 20.00           C
ATOM      6  P    DG B   7       1.000   2.000   3.000  1.00 40.00           P
HETATM    7 CA    CA C   1       4.000   5.000   6.000  1.00 30.00          CA
HETATM    8  O   HOH W   1       7.000   8.000   9.000  1.00 50.00           O
END
"""


@pytest.fixture
def pdb(tmp_path: Path) -> Path:
    path = tmp_path / "a.pdb"
    path.write_text(PDB)
    return path


def test_fields(pdb: Path) -> None:
    model = read_atoms(pdb)
    assert len(model) == 5
    assert model.atom_name == ("N", "CA", "CA", "P", "CA")
    assert model.atomic_number.tolist() == [7, 6, 6, 15, 20]
    assert model.positions.dtype == torch.float64
    np.testing.assert_allclose(model.positions[0], [11.104, 6.134, -6.504])
    np.testing.assert_allclose(model.b_iso, [10.5, 20, 25, 40, 30])
    np.testing.assert_allclose(model.occupancy, [1, 0.6, 0.4, 1, 1], rtol=1e-6)
    assert model.chain == ("A", "A", "A", "B", "C")
    assert model.residue_name == ("ALA", "ALA", "ALA", "DG", "CA")
    assert model.residue_number.tolist() == [1, 1, 1, 7, 1]
    assert model.is_calpha.tolist() == [False, True, True, False, False]


def test_waters_and_hydrogens_on_request(pdb: Path) -> None:
    assert "HOH" in read_atoms(pdb, waters=True).residue_name
    assert 1 in read_atoms(pdb, hydrogens=True).atomic_number
    assert len(read_atoms(pdb, waters=True, hydrogens=True)) == 7


@pytest.mark.parametrize("name", ["b.cif", "b.cif.gz", "b.pdb.gz", "b.ent"])
def test_formats_agree(tmp_path: Path, pdb: Path, name: str) -> None:
    structure = gemmi.read_structure(str(pdb))
    text = structure.make_mmcif_document().as_string() if "cif" in name else PDB
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    one, other = read_atoms(pdb), read_atoms(path)
    torch.testing.assert_close(one.positions, other.positions, atol=1e-3, rtol=0)
    assert torch.equal(one.atomic_number, other.atomic_number)
    assert torch.equal(one.is_calpha, other.is_calpha)
    assert one.chain == other.chain


def test_first_model_only(tmp_path: Path) -> None:
    atom = PDB.splitlines(keepends=True)[1]
    path = tmp_path / "nmr.pdb"
    path.write_text(f"MODEL        1\n{atom}ENDMDL\nMODEL        2\n{atom}{atom}ENDMDL\nEND\n")
    assert len(read_atoms(path)) == 1


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.pdb", "", "holds no atoms"),
        ("a.cif", "hello", "cannot be read as PDB or mmCIF"),
        ("a.cif.gz", "not compressed", "a.cif.gz"),
        ("a.mrc", "hello", "a.mrc"),
        ("a.pdb", PDB.splitlines()[8] + "\nEND\n", "no atoms other than water"),
        ("a.pdb", PDB.replace("           N\n", "           X\n"), "atom N of ALA 1, .* no known"),
        ("a.cif", "data_x\n_cell.length_a 10\n", "holds no atoms"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(AtomicModelError, match=words) as caught:
        read_atoms(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_coordinates(tmp_path: Path, pdb: Path) -> None:
    text = gemmi.read_structure(str(pdb)).make_mmcif_document().as_string()
    assert " 11.104 " in text
    (tmp_path / "a.cif").write_text(text.replace(" 11.104 ", " ? "))
    with pytest.raises(AtomicModelError, match="no finite position"):
        read_atoms(tmp_path / "a.cif")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(AtomicModelError, match="does not exist"):
        read_atoms(tmp_path / "none.pdb")
    with pytest.raises(AtomicModelError, match="does not exist"):
        read_atoms(tmp_path)


@pytest.mark.real_data
def test_real_model(data_dir: Path) -> None:
    model = read_atoms(data_dir / "betagal_dev" / "8bk7_fitted_in_map_frame.cif.gz")
    # Four chains of beta-galactosidase, 1,023 residues each, a few of them not resolved.
    n_calpha = int(model.is_calpha.sum())
    assert 4 * 1000 < n_calpha < 4 * 1024
    assert n_calpha % 4 == 0
    assert len(set(model.chain)) >= 4
