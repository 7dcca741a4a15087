"""Atoms from PDB and mmCIF files, as arrays."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gemmi
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from napari_blush.errors import AtomicModelError


@dataclass(frozen=True, slots=True)
class AtomicModel:
    """The atoms of a structure, in the order of the file.

    Parameters
    ----------
    positions : (n, 3) float64
        (x, y, z) in angstrom.
    atomic_number : (n,) int64
    b_iso : (n,) float64
        Angstrom squared.
    occupancy : (n,) float64
    chain, residue_name, atom_name : tuple of str
        The author's labels.
    residue_number : (n,) int64
        The author's numbers, insertion codes left out.
    is_calpha : (n,) bool
        Alpha carbons of amino acids.
    """

    positions: Float[Tensor, "n 3"]
    atomic_number: Int[Tensor, " n"]
    b_iso: Float[Tensor, " n"]
    occupancy: Float[Tensor, " n"]
    chain: tuple[str, ...]
    residue_name: tuple[str, ...]
    residue_number: Int[Tensor, " n"]
    atom_name: tuple[str, ...]
    is_calpha: Bool[Tensor, " n"]

    def __len__(self) -> int:
        return int(self.positions.shape[0])


def read_atoms(path: str | Path, *, waters: bool = False, hydrogens: bool = False) -> AtomicModel:
    """Read the first model of a PDB or mmCIF file, plain or ``.gz``.

    Parameters
    ----------
    path : path
    waters : bool
        Whether to keep water molecules.
    hydrogens : bool
        Whether to keep hydrogen and deuterium.

    Returns
    -------
    AtomicModel
        All alternative positions, each with its occupancy; atoms of zero occupancy, which say
        nothing of the density, are left out.

    Raises
    ------
    AtomicModelError
        When the file is missing, cannot be parsed, holds no atoms, or an atom has no position or
        no known element.
    """
    path = Path(path)
    if not path.is_file():
        raise AtomicModelError(f"Atomic model {path} does not exist; check the path.")
    try:
        structure = gemmi.read_structure(str(path))
    except (ValueError, RuntimeError, OSError, IndexError) as problem:
        reason = " ".join(str(problem).split())
        raise AtomicModelError(
            f"{path} cannot be read as PDB or mmCIF ({reason}); give a .pdb, .ent or .cif file, "
            "plain or .gz."
        ) from problem
    atoms = [
        (chain, residue, atom)
        for chain, residue, atom in _atoms_of(structure)
        if atom.occ > 0
        and (waters or not residue.is_water())
        and (hydrogens or not atom.element.is_hydrogen)
    ]
    if not atoms:
        raise AtomicModelError(
            f"{path} holds no atoms{'' if waters else ' other than water'}; give a file with "
            "atomic coordinates."
        )
    model = AtomicModel(
        positions=torch.tensor([atom.pos.tolist() for _, _, atom in atoms], dtype=torch.float64),
        atomic_number=torch.tensor([atom.element.atomic_number for _, _, atom in atoms]),
        b_iso=torch.tensor([atom.b_iso for _, _, atom in atoms], dtype=torch.float64),
        occupancy=torch.tensor([atom.occ for _, _, atom in atoms], dtype=torch.float64),
        chain=tuple(chain.name for chain, _, _ in atoms),
        residue_name=tuple(residue.name for _, residue, _ in atoms),
        residue_number=torch.tensor([residue.seqid.num or 0 for _, residue, _ in atoms]),
        atom_name=tuple(atom.name for _, _, atom in atoms),
        is_calpha=torch.tensor([_is_calpha(residue, atom) for _, residue, atom in atoms]),
    )
    _check(path, model)
    return model


def _atoms_of(
    structure: gemmi.Structure,
) -> Iterator[tuple[gemmi.Chain, gemmi.Residue, gemmi.Atom]]:
    if len(structure):
        for chain in structure[0]:
            for residue in chain:
                for atom in residue:
                    yield chain, residue, atom


def _is_calpha(residue: gemmi.Residue, atom: gemmi.Atom) -> bool:
    # Calcium is named CA too.
    return (
        atom.name == "CA"
        and atom.element.name == "C"
        and gemmi.find_tabulated_residue(residue.name).is_amino_acid()
    )


def _check(path: Path, model: AtomicModel) -> None:
    wrong = (
        ("no finite position", ~torch.isfinite(model.positions).all(dim=1)),
        ("no known element", model.atomic_number < 1),
        ("no finite B-factor", ~torch.isfinite(model.b_iso)),
    )
    for what, where in wrong:
        if bool(where.any()):
            i = int(torch.nonzero(where)[0])
            raise AtomicModelError(
                f"{path} gives atom {model.atom_name[i]} of {model.residue_name[i]} "
                f"{int(model.residue_number[i])}, chain {model.chain[i]}, {what}; wanted one for "
                "every atom; correct or remove it."
            )
