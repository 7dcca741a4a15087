"""Sets of our own making: structures of the shared set, as particles with the truth beside them."""

import subprocess
import sys
from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt

from measuring.datasets import shared_data_folder

CARBON, BELT_B_FACTOR = 6, 600.0
BELT_ATOMS_PER_CUBIC_ANGSTROM = 0.03  # about that of a detergent micelle's tails
BELT_WIDTH, BELT_HEIGHT = 22.0, 36.0


def simulate(model: Path, folder: Path, settings: dict[str, object]) -> None:
    """Run ``napari-blush simulate`` with the given options into ``folder``."""
    command = [sys.executable, "-m", "napari_blush", "simulate", str(model)]
    command += ["--output", str(folder)]
    for name, value in settings.items():
        command += [f"--{name}", str(value)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def write_model(path: Path, name: str, *, belt: bool = False) -> None:
    """Write a structure of the shared set as mmCIF, if asked with a smooth belt around it.

    The belt is what a detergent micelle looks like: carbon atoms at random in a ring about the z
    axis, with B-factors so large that only a smooth body of density is left of them.
    """
    file = shared_data_folder() / "models" / "train_models.npz"
    if not file.is_file():
        raise SystemExit(f"There is no {file}: name the shared data in NAPARI_BLUSH_DATA.")
    models = np.load(file)
    known = models["ids"].tolist()
    if name not in known:
        raise SystemExit(f"{name} is not in {file}; it has {', '.join(known[:10])}, ...")
    first, end = models["offsets"][known.index(name) :][:2]
    positions = models["xyz_centi_angstrom"][:, first:end].T / 100.0
    numbers, b_factors = models["atomic_number"][first:end], models["b_iso"][first:end]
    if belt:
        around = belt_positions(positions)
        positions = np.concatenate([positions, around])
        numbers = np.concatenate([numbers, np.full(len(around), CARBON)])
        b_factors = np.concatenate([b_factors, np.full(len(around), BELT_B_FACTOR)])
    write_atoms(path, name, positions, numbers, b_factors)


def belt_positions(positions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return random positions in a ring that hugs the middle of a structure."""
    center = positions.mean(0)
    near = positions[np.abs(positions[:, 2] - center[2]) < BELT_HEIGHT / 2]
    inner = float(np.percentile(np.linalg.norm((near - center)[:, :2], axis=1), 90))
    outer = inner + BELT_WIDTH
    generator = np.random.default_rng(0)
    volume = np.pi * (outer**2 - inner**2) * BELT_HEIGHT
    n = int(volume * BELT_ATOMS_PER_CUBIC_ANGSTROM)
    radius = np.sqrt(generator.uniform(inner**2, outer**2, n))
    angle = generator.uniform(0, 2 * np.pi, n)
    z = generator.uniform(-BELT_HEIGHT / 2, BELT_HEIGHT / 2, n)
    ring: npt.NDArray[np.float64] = np.stack(
        [radius * np.cos(angle), radius * np.sin(angle), z], axis=1
    )
    around: npt.NDArray[np.float64] = center + ring
    return around


def write_atoms(
    path: Path,
    name: str,
    positions: npt.NDArray[np.float64],
    numbers: npt.NDArray[np.int64],
    b_factors: npt.NDArray[np.float64],
) -> None:
    """Write atoms as mmCIF."""
    chain = gemmi.Chain("A")
    rows = zip(positions.tolist(), numbers.tolist(), b_factors.tolist(), strict=True)
    for serial, (position, number, b_factor) in enumerate(rows, start=1):
        # A residue for each atom: nothing but positions, elements and B-factors is looked at.
        residue = gemmi.Residue()
        residue.name, residue.seqid = "UNK", gemmi.SeqId(serial, " ")
        residue.het_flag = "A"
        atom = gemmi.Atom()
        atom.element = gemmi.Element(number)
        atom.name = atom.element.name
        atom.pos = gemmi.Position(*position)
        atom.b_iso, atom.occ = b_factor, 1.0
        residue.add_atom(atom)
        chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    structure = gemmi.Structure()
    structure.name = name
    structure.add_model(model)
    structure.make_mmcif_document().write_file(str(path))
