"""Point groups: their operators in RELION's settings, and one mate of every direction.

Which axis lies where is RELION's ``--sym``: Cn has its axis on z; Dn a 2-fold on x besides; T a
3-fold on z; O 4-folds on x, y, z; I is I2. Of the icosahedral settings I2 has 2-folds on x, y, z
and 5-folds at ``(±1, 0, φ)``, I1 is I2 turned by 90 degrees about z, and I3 and I4 have a 5-fold
on z and its neighbour at ``-x`` or ``+x``. A volume with operator ``S`` cannot tell ``R`` from
``S @ R``. Groups with mirrors are left out: molecules are chiral.
"""

import math
import re

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from napari_blush.errors import SettingsError
from napari_blush.numerics.rotations import axis_angle_to_matrix

MAX_FOLD = 99
"""Largest n of Cn and Dn, as in RELION."""

_GOLDEN = (1 + math.sqrt(5)) / 2
_Axis = tuple[float, float, float]

_GENERATORS: dict[str, tuple[tuple[int, _Axis], tuple[int, _Axis]]] = {
    "T": ((3, (0.0, 0.0, 1.0)), (2, (0.0, math.sqrt(2), 1.0))),
    "O": ((4, (0.0, 0.0, 1.0)), (3, (1.0, 1.0, 1.0))),
    "I1": ((2, (0.0, 0.0, 1.0)), (5, (0.0, 1.0, _GOLDEN))),
    "I2": ((2, (0.0, 0.0, 1.0)), (5, (1.0, 0.0, _GOLDEN))),
    "I3": ((5, (0.0, 0.0, 1.0)), (2, (-1.0, 0.0, _GOLDEN))),
    "I4": ((5, (0.0, 0.0, 1.0)), (2, (1.0, 0.0, _GOLDEN))),
}
"""Two rotations, (fold, axis), that generate each group."""

_UNIT_CENTRE: _Axis = (0.4369, 0.2113, 0.8743)
"""A direction on no axis or mirror of any group; the asymmetric unit is what is nearest to it."""

_TIE = 1e-9
"""Directions this close (cosine) to a boundary count as inside: rather twice than never."""


def canonical_symbol(text: str) -> str:
    """Return the symbol of a point group as this package writes it.

    Parameters
    ----------
    text
        Like ``"c1"``, ``"D7"``, ``"O"``, ``"i"``; case, blanks and leading zeros do not matter.

    Returns
    -------
    str
        ``Cn``, ``Dn``, ``T``, ``O``, ``I1``, ``I2``, ``I3`` or ``I4``; plain ``I`` is ``I2``.

    Raises
    ------
    SettingsError
        For anything else.
    """
    symbol = text.strip().upper()
    if symbol == "I":
        return "I2"
    if symbol in _GENERATORS:
        return symbol
    matched = re.fullmatch(r"([CD])0*([1-9][0-9]?)", symbol)
    if matched is None:
        raise SettingsError(
            f"Symmetry {text!r} is not a known point group; known are C1 to C{MAX_FOLD}, D1 to "
            f"D{MAX_FOLD}, T, O, I (the same as I2), I1, I2, I3 and I4: choose one of them."
        )
    return matched[1] + matched[2]


def symmetry_operators(symbol: str) -> Float[Tensor, "g 3 3"]:
    """Return all rotations of a point group, identity first.

    Parameters
    ----------
    symbol
        See :func:`canonical_symbol`.

    Returns
    -------
    Tensor
        ``(g, 3, 3)`` float64.

    Raises
    ------
    SettingsError
        If the symbol is unknown.
    """
    symbol = canonical_symbol(symbol)
    if symbol in _GENERATORS:
        return _closure([_axis_rotation(fold, axis) for fold, axis in _GENERATORS[symbol]])
    fold = int(symbol[1:])
    angles = torch.arange(fold, dtype=torch.float64) * 360.0 / fold
    axis = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(fold, 3)
    cyclic = axis_angle_to_matrix(axis, angles)
    if symbol.startswith("C"):
        return cyclic
    return torch.cat([cyclic, cyclic @ _axis_rotation(2, (1.0, 0.0, 0.0))])


def in_asymmetric_unit(
    directions: Float[Tensor, "m 3"], operators: Float[Tensor, "g 3 3"]
) -> Bool[Tensor, " m"]:
    """Return which directions lie in the asymmetric unit.

    Parameters
    ----------
    directions
        ``(m, 3)`` unit vectors (x, y, z): viewing directions, the third columns of rotations.
    operators
        ``(g, 3, 3)`` a whole group, identity first.

    Returns
    -------
    Tensor
        ``(m,)`` bool. Exactly one of the ``g`` mates ``S @ d`` of a direction is inside; on a
        boundary more than one may be, never none.

    Notes
    -----
    The unit is the Voronoi cell of one fixed direction among its own mates, so it is one convex
    piece and needs no table for each group.
    """
    centre = torch.tensor(_UNIT_CENTRE, dtype=torch.float64, device=directions.device)
    mates = operators.to(directions.device, torch.float64) @ (centre / centre.norm())
    nearness = directions.to(torch.float64) @ mates.T
    inside: Tensor = nearness[:, 0] >= nearness.amax(dim=1) - _TIE
    return inside


def _axis_rotation(fold: int, axis: _Axis) -> Float[Tensor, "3 3"]:
    """Return the rotation by ``360 / fold`` degrees about ``axis``."""
    angle = torch.tensor(360.0 / fold, dtype=torch.float64)
    return axis_angle_to_matrix(torch.tensor(axis, dtype=torch.float64), angle)


def _closure(generators: list[Float[Tensor, "3 3"]]) -> Float[Tensor, "g 3 3"]:
    """Return every product of the generators, each once."""
    found = [torch.eye(3, dtype=torch.float64)]
    # The list grows while it is walked: each new element is itself multiplied in turn.
    for element in found:
        for generator in generators:
            product = generator @ element
            if all((product - known).abs().max() > 1e-6 for known in found):
                found.append(product)
    return torch.stack(found)
