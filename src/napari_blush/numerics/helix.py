r"""A screw axis along z: copies of a filament's asymmetric unit summed, and carried along the box.

A density with helical symmetry is the same after a turn by the twist about z and a step by the rise
along it: :math:`v(R_z(\mathrm{twist})\, x + \mathrm{rise}\, \hat z) = v(x)`. A positive twist turns
x towards y while z rises: a right-handed screw for twists up to 180 degrees (RELION's sign).
"""

from dataclasses import dataclass
from math import cos, floor, radians, sin

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.errors import SettingsError
from napari_blush.numerics.map_symmetry import turn_about_z
from napari_blush.numerics.slice_backends import slice_kernels
from napari_blush.numerics.slice_insertion import SliceAccumulator

_EDGE_PX = 3.0
"""Over which the copies take over from the map itself along the axis."""


@dataclass(frozen=True, slots=True)
class Helix:
    """A screw axis along z through the center.

    Parameters
    ----------
    twist_deg : float
        Turn from one asymmetric unit to the next.
    rise_angstrom : float
        Step along z, above 0.
    fraction : float
        Central part of the box, along z, whose units are averaged; in (0, 1].

    Raises
    ------
    SettingsError
        When the rise or the fraction is out of range.
    """

    twist_deg: float
    rise_angstrom: float
    fraction: float = 0.3

    def __post_init__(self) -> None:
        if not self.rise_angstrom > 0 or not 0 < self.fraction <= 1:
            raise SettingsError(
                f"A helix with a rise of {self.rise_angstrom:g} A over {self.fraction:g} of the "
                "box was given; wanted a rise above 0 and a part from 0 to 1."
            )

    def copies(self, box_angstrom: float) -> range:
        """Return which units are averaged: ``-m`` to ``m``, as far as the central part reaches."""
        reach = floor(self.fraction * box_angstrom / 2 / self.rise_angstrom)
        return range(-reach, reach + 1)

    def turn(self, number: int) -> Float[Tensor, "3 3"]:
        """Return the rotation to unit ``number``, float64."""
        angle = radians(self.twist_deg * number)
        rows = [[cos(angle), -sin(angle), 0.0], [sin(angle), cos(angle), 0.0], [0.0, 0.0, 1.0]]
        return torch.tensor(rows, dtype=torch.float64)


def symmetrize_along_helix(sums: SliceAccumulator, helix: Helix, voxel_size: float) -> int:
    r"""Sum the copies of accumulated transforms that a screw axis makes, in place.

    Copy :math:`h` is :math:`e^{-2 \pi i k_z h\, \mathrm{rise}} F(R^{-h} k)`, its weight the turned
    weight. As for point groups neither sum is divided by the number of copies.

    Parameters
    ----------
    sums : SliceAccumulator
        Hermitian.
    helix : Helix
    voxel_size : float
        Angstrom.

    Returns
    -------
    int
        Copies, the map itself included.

    References
    ----------
    He & Scheres (2017). J. Struct. Biol. 198, 163-176 (symmetry in Fourier space, central part).
    """
    edge = sums.box_size * voxel_size
    copies = helix.copies(edge)
    kernels = slice_kernels(sums.device)
    center = sums.data.shape[0] // 2
    cycles = torch.arange(-center, center + 1, device=sums.device) / sums.padding
    data, weight = torch.zeros_like(sums.data), torch.zeros_like(sums.weight)
    for number in copies:
        # The kernel reads the sums at O k: for the turned copy O is the turn back.
        back = helix.turn(-number)[None].contiguous()
        turned, turned_weight = kernels.symmetrize((sums.data, sums.weight), back)
        angle = (-2 * torch.pi * number * helix.rise_angstrom / edge) * cycles.double()
        data += turned * torch.polar(torch.ones_like(angle), angle).to(data.dtype)[:, None, None]
        weight += turned_weight
    sums.data.copy_(data)
    sums.weight.copy_(weight)
    return len(copies)


def carried_along_helix(volume: Volume, helix: Helix, voxel_size: float) -> Volume:
    """Return a map whose ends along z are copies of its middle.

    Parameters
    ----------
    volume : (n, n, n)
        With the symmetry of the helix in its middle.
    helix : Helix
    voxel_size : float
        Angstrom.

    Returns
    -------
    (n, n, n)
        The map as it was within the central part, and beyond it the unit around the middle that
        lies there; zero outside the inscribed cylinder.

    Notes
    -----
    For references only: a filament goes on beyond the part of the box that its map is averaged
    over, and so do the images that are compared with it.
    """
    n = int(volume.shape[-1])
    axis = (torch.arange(n, dtype=torch.float64) - n // 2).to(volume.device)
    radius = (axis[:, None] ** 2 + axis[None, :] ** 2).sqrt()
    volume = volume * ((n / 2 - _EDGE_PX - radius) / _EDGE_PX + 1).clamp(0, 1).to(volume.dtype)
    rise = helix.rise_angstrom / voxel_size
    units = (axis / rise).round()
    # The plane of the middle that each plane repeats, by the trigonometric interpolant along z.
    place = axis - units * rise + n // 2
    cycles = torch.arange(n // 2 + 1, device=volume.device, dtype=torch.float64) / n
    angle = -2 * torch.pi * place[:, None] * cycles
    between = torch.fft.irfft(torch.polar(torch.ones_like(angle), angle), n=n, dim=1)
    stepped = (between.to(volume.dtype) @ volume.reshape(n, -1)).reshape(volume.shape)
    carried = torch.empty_like(volume)
    for unit in sorted(set(units.tolist())):
        planes = (units == unit).nonzero().flatten()
        carried[planes] = turn_about_z(stepped[planes], helix.twist_deg * unit)
    reach = helix.fraction * n / 2
    kept = ((reach - axis.abs()) / _EDGE_PX + 0.5).clamp(0, 1).to(volume.dtype)[:, None, None]
    return kept * volume + (1 - kept) * carried
