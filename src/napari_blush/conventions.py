"""The law of the house: axes, units, signs and Fourier layout; and the tensor aliases.

Axes
    Volumes are ``[z, y, x]``, images ``[y, x]``. Vectors are ``(x, y, z)`` columns.
    The origin of real space is voxel ``n // 2`` on every axis; boxes are even and cubic.
Fourier layout
    Half transforms of real arrays, *not* shifted: DC at ``[0, 0, 0]``, the last axis (x) holds the
    non-negative frequencies, ``n // 2 + 1`` of them. Transforms are unnormalised forward and
    divided by the number of voxels backward, and they are *centred*: phases refer to voxel
    ``n // 2``. Frequencies are counted in Fourier voxels of the unpadded box; shell ``s`` holds
    ``round(|k|) == s`` and lies at the resolution ``n * voxel_size / s`` in angstrom.
Rotations
    A pose is a matrix ``R`` that takes image coordinates to volume coordinates and left-multiplies
    columns: the central slice of ``R`` at ``(kx, ky)`` is the volume's transform at
    ``R @ (kx, ky, 0)``. ``R`` is ``Rotation.from_euler("ZYZ", [rot, tilt, psi])`` of SciPy with
    RELION's ``rlnAngleRot/Tilt/Psi`` in degrees (RELION's own matrix is ``R.T``). The viewing
    direction is ``R[:, 2]``. A volume with symmetry operator ``S`` cannot tell ``R`` from
    ``S @ R``.
Shifts
    ``shifts_angstrom`` are ``(x, y)`` and are RELION's ``rlnOriginX/YAngst``: the translation to
    *apply to the image* so that its particle comes to the centre. Multiplying an image's
    transform by ``exp(-2 pi i (kx sx + ky sy) / n)`` (``s`` in pixels) applies it.
Units
    Angstrom, degrees, kilovolts and millimetres at the borders; pixels and radians inside, and
    the unit is in the name wherever two are possible.
Contrast
    Protein is white (positive), as in RELION's particles.
"""

from typing import TypeAlias

from jaxtyping import Complex, Float, Int
from torch import Tensor

Volume: TypeAlias = Float[Tensor, "n n n"]
"""Real-space map, ``[z, y, x]``."""

RfftVolume: TypeAlias = Complex[Tensor, "n n half"]
"""Half transform of a map, DC at ``[0, 0, 0]``."""

ImageStack: TypeAlias = Float[Tensor, "b n n"]
"""Images, ``[image, y, x]``."""

RfftStack: TypeAlias = Complex[Tensor, "b n half"]
"""Half transforms of images."""

PackedStack: TypeAlias = Complex[Tensor, "b k"]
"""Fourier coefficients of images, packed by shell (``numerics.packing``)."""

RotationMatrices: TypeAlias = Float[Tensor, "*batch 3 3"]
"""Rotations; left-multiply (x, y, z) columns, image frame to volume frame."""

Spectrum: TypeAlias = Float[Tensor, " shells"]
"""One value per shell, ``n // 2 + 1`` of them."""

Indices: TypeAlias = Int[Tensor, " m"]
"""Integer indices."""

FSC_GOLD_STANDARD = 0.143
"""Resolution threshold between two half-maps (Rosenthal & Henderson 2003)."""

FSC_AGAINST_TRUTH = 0.5
"""Resolution threshold between a full map and a known density."""
