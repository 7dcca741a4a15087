"""Electron scattering density of an atomic structure on a grid.

``rho(x) = sum_j o_j rho_Zj(x - x_j; B_j)``, each atom's density being the Fourier transform of its
electron scattering factor times ``exp(-B_j |k|^2 / 4)``, and the sum restricted to the frequencies
that the grid can hold. Structures come as tensors; who read them from which file is not known here.
"""

from dataclasses import dataclass
from math import ceil, pi

import gemmi
import numpy as np
import torch
from jaxtyping import Complex, Float
from scipy.fft import next_fast_len
from torch import Tensor

from napari_blush.conventions import Indices, Volume
from napari_blush.errors import AtomicModelError, SettingsError
from napari_blush.numerics.fft import fourier_resize_transform, irfftn_centered, rfftn_centered
from napari_blush.numerics.shells import radius_grid

VITREOUS_ICE_DENSITY = 0.0946
"""Angstrom^-2: 0.93 g/cm3 of H2O with the scattering factors used here, a potential of 4.5 V."""

VOLTS_PER_DENSITY = 47.878
"""Volt angstrom^2, ``h^2 / (2 pi m e)``: turns densities into electrostatic potential."""

_OVERSAMPLING = 1.5
_WIDTH_IN_VOXELS = 1.1  # least standard deviation of an atom, in voxels of the fine grid
_CUTOFF = 3e-6  # where an atom's density is cut off, by that of a Gaussian of its weight
_FINEST_MASK_VOXEL = 1.0  # angstrom; needed to follow atoms of 1.7 A radius
_LAST_ATOMIC_NUMBER = 98


@dataclass(frozen=True, slots=True)
class BulkSolvent:
    """A flat solvent around the structure, which lowers its contrast.

    Parameters
    ----------
    density : float
        Angstrom^-2; what is subtracted inside the structure's envelope. By default that of ice
        less the 0.03 that protein has in its hydrogens: right for structures that lack them,
        which have about 0.13 themselves. ``VITREOUS_ICE_DENSITY`` for those that have them.
    b_factor : float
        Angstrom squared; how soft the boundary is [1]_.

    References
    ----------
    .. [1] A. Fokine, A. Urzhumtsev (2002), Acta Cryst. D58:1387-1392.
    """

    density: float = 0.065
    b_factor: float = 46.0


def density_of_atoms(
    positions: Float[Tensor, "atoms 3"],
    atomic_numbers: Indices,
    b_factors: Float[Tensor, " atoms"],
    *,
    box_size: int,
    voxel_size: float,
    occupancies: Float[Tensor, " atoms"] | None = None,
    solvent: BulkSolvent | None = None,
) -> Volume:
    """Return the density of atoms, band-limited to the grid.

    Parameters
    ----------
    positions : (n, 3)
        (x, y, z) in angstrom in the frame of a map file: voxel ``[k, j, i]`` lies at
        ``voxel_size * (i, j, k)`` (``centered_in_box`` brings a structure there).
    atomic_numbers : (n,) int64
        1 to 98; hydrogens count where they are given.
    b_factors : (n,)
        Angstrom squared, isotropic, not negative.
    box_size : int
        Even.
    voxel_size : float
        Angstrom.
    occupancies : (n,), optional
        Default: 1.
    solvent : BulkSolvent, optional
        Default: the structure in vacuum.

    Returns
    -------
    (box_size, box_size, box_size) float32
        In angstrom^-2, on the device of ``positions``: the sum over voxels, times the volume of
        a voxel, is the sum of scattering factors at zero angle.

    Raises
    ------
    AtomicModelError
        When there is no atom, one is outside the box, or an element or B-factor is impossible.
    SettingsError
        When the grid is impossible.

    Notes
    -----
    Atoms are laid out by gemmi on a grid 1.5 times finer, blurred to at least 1.1 of its voxels;
    the blur is taken back on the transform and the transform cropped. Against direct summation
    every shell up to Nyquist is right to 5e-4 of its power's root, unless it holds less than 1e-4
    of the strongest. The box is periodic: tails of atoms near a wall come in on the other side.
    Scattering factors: neutral atoms, five Gaussians [1]_. Anisotropic displacement is not known.
    Memory: 20 bytes per voxel of the finer grid; with solvent its voxels are at most 1 A.

    References
    ----------
    .. [1] International Tables for Crystallography C (2006), table 4.3.2.2.
    """
    if box_size <= 0 or box_size % 2 or not voxel_size > 0:
        raise SettingsError(
            f"A grid of {box_size} voxels of {voxel_size} A was asked for; wanted an even number "
            "of voxels above 0 A; correct the box or the voxel size."
        )
    if occupancies is None:
        occupancies = torch.ones_like(b_factors)
    _check_atoms(positions, atomic_numbers, b_factors, occupancies)
    edge = box_size * voxel_size
    _check_inside(positions, edge, voxel_size)
    structure = _gemmi_model(positions, atomic_numbers, b_factors, occupancies)
    spacing = voxel_size / _OVERSAMPLING
    if solvent is not None:
        spacing = min(spacing, _FINEST_MASK_VOXEL)
    fine_box = _fast_even_box(edge / spacing)
    sharpest = float(b_factors.min())
    least_b = max(sharpest, 8 * pi**2 * (_WIDTH_IN_VOXELS * edge / fine_box) ** 2)
    blur = least_b - sharpest
    squared = (radius_grid(box_size, 3) / edge) ** 2
    transform = _band_limited(_fine_density(structure, edge, fine_box, blur, least_b), box_size)
    transform *= torch.exp(0.25 * blur * squared)
    if solvent is not None:
        envelope = _band_limited(_fine_envelope(structure, edge, fine_box), box_size)
        transform -= solvent.density * torch.exp(-0.25 * solvent.b_factor * squared) * envelope
    return irfftn_centered(transform, box_size).to(positions.device)


def centered_in_box(
    positions: Float[Tensor, "atoms 3"], box_size: int, voxel_size: float
) -> Float[Tensor, "atoms 3"]:
    """Shift a structure so that the middle of its extent comes to voxel ``box_size // 2``.

    The middle of the extent, not the center of mass, so that the box can be as small as possible.

    Raises
    ------
    AtomicModelError
        When there is no atom.
    """
    if len(positions) == 0:
        raise AtomicModelError("Given 0 atoms to center; wanted at least one; check the structure.")
    middle = 0.5 * (positions.amin(dim=0) + positions.amax(dim=0))
    return positions - middle + (box_size // 2) * voxel_size


def _check_atoms(
    positions: Tensor, atomic_numbers: Tensor, b_factors: Tensor, occupancies: Tensor
) -> None:
    n = len(positions)
    lengths = len(atomic_numbers), len(b_factors), len(occupancies)
    if n == 0 or any(length != n for length in lengths):
        raise AtomicModelError(
            f"Given {n} positions with {lengths[0]} atomic numbers, {lengths[1]} B-factors and "
            f"{lengths[2]} occupancies; wanted one of each for at least one atom; check the "
            "structure."
        )
    least, last = int(atomic_numbers.min()), int(atomic_numbers.max())
    if least < 1 or last > _LAST_ATOMIC_NUMBER:
        raise AtomicModelError(
            f"Given atomic numbers from {least} to {last}; scattering factors are known from 1 to "
            f"{_LAST_ATOMIC_NUMBER}; drop the other atoms."
        )
    numbers = torch.cat([positions.flatten(), b_factors, occupancies])
    if not bool(torch.isfinite(numbers).all()) or float(b_factors.min()) < 0:
        raise AtomicModelError(
            f"Given a lowest B-factor of {float(b_factors.min())}; wanted finite positions, "
            "occupancies and B-factors of 0 or more; correct the structure."
        )


def _check_inside(positions: Tensor, edge: float, voxel_size: float) -> None:
    # Voxels reach half their size to either side of where they lie.
    low, high = float(positions.min()), float(positions.max())
    if low < -0.5 * voxel_size or high >= edge - 0.5 * voxel_size:
        raise AtomicModelError(
            f"Atoms reach from {low:.1f} to {high:.1f} A; wanted all inside the box, which ends at "
            f"{edge - 0.5 * voxel_size:.1f} A; enlarge the box, shift the structure into it, or "
            "drop what is outside."
        )


def _gemmi_model(
    positions: Tensor, atomic_numbers: Tensor, b_factors: Tensor, occupancies: Tensor
) -> gemmi.Model:
    """Put all atoms into one residue; gemmi's calculators look at nothing else."""
    elements = {number: gemmi.Element(number) for number in set(atomic_numbers.tolist())}
    residue, atom = gemmi.Residue(), gemmi.Atom()
    columns = (positions, atomic_numbers, b_factors, occupancies)
    for (x, y, z), number, b_factor, occupancy in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        atom.pos = gemmi.Position(x, y, z)
        atom.element = elements[number]
        atom.b_iso = b_factor
        atom.occ = occupancy
        residue.add_atom(atom)
    chain, model = gemmi.Chain("A"), gemmi.Model(1)
    chain.add_residue(residue)
    model.add_chain(chain)
    return model


def _fast_even_box(at_least: float) -> int:
    box = ceil(at_least - 1e-6)
    while box % 2 or next_fast_len(box) != box:
        box += 1
    return box


def _prepare(grid: gemmi.FloatGrid, edge: float, fine_box: int) -> None:
    grid.set_unit_cell(gemmi.UnitCell(edge, edge, edge, 90.0, 90.0, 90.0))
    grid.spacegroup = gemmi.SpaceGroup(1)
    grid.set_size(fine_box, fine_box, fine_box)


def _fine_density(
    structure: gemmi.Model, edge: float, fine_box: int, blur: float, least_b: float
) -> Volume:
    calculator = gemmi.DensityCalculatorE()
    _prepare(calculator.grid, edge, fine_box)
    calculator.blur = blur
    calculator.cutoff = _CUTOFF * (4 * pi / least_b) ** 1.5
    calculator.add_model_density_to_grid(structure)
    return _as_volume(calculator.grid)


def _fine_envelope(structure: gemmi.Model, edge: float, fine_box: int) -> Volume:
    """Return 1 inside the structure's envelope, 0 outside."""
    grid = gemmi.FloatGrid()
    _prepare(grid, edge, fine_box)
    gemmi.SolventMasker(gemmi.AtomicRadiiSet.VanDerWaals).put_mask_on_float_grid(grid, structure)
    return 1.0 - _as_volume(grid)


def _as_volume(grid: gemmi.FloatGrid) -> Volume:
    # gemmi's axes are [x, y, z] with x running fastest: transposed, that is our memory order.
    return torch.from_numpy(np.array(grid.array.T, order="C"))


def _band_limited(fine: Volume, box_size: int) -> Complex[Tensor, "m m half"]:
    return fourier_resize_transform(rfftn_centered(fine), fine.shape[0], box_size, 3)
