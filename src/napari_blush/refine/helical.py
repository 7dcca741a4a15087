"""What helical symmetry asks of a run: its screw axis, and halves that share no filament."""

from math import radians, sin

import torch
from jaxtyping import Bool
from torch import Tensor

from napari_blush.data_model.particles import Particles
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import SettingsError
from napari_blush.numerics.healpix import pixel_directions
from napari_blush.numerics.helix import Helix
from napari_blush.refine.events import Message
from napari_blush.refine.schedule import Geometry

_ROUNDING = 1e-9
"""Of a height above the equator."""

ALONG_AN_AXIS = ("C", "D")
"""Point groups that have the axis of a filament as their own."""


def helix_of(settings: RefinementSettings, geometry: Geometry) -> Helix | None:
    """Return the screw axis that the settings name, None without one.

    Raises
    ------
    SettingsError
        When only one of twist and rise is given, the point group has no axis of its own along z, or
        the central part of the box holds no more than one asymmetric unit.
    """
    twist, rise = settings.helical_twist, settings.helical_rise
    if twist is None and rise is None:
        return None
    if twist is None or rise is None:
        given, missing = ("rise", "twist") if twist is None else ("twist", "rise")
        raise SettingsError(
            f"A helical {given} was given without a {missing}; wanted both; set helical_{missing}."
        )
    if not settings.symmetry.upper().startswith(ALONG_AN_AXIS):
        raise SettingsError(
            f"The point group {settings.symmetry} was given for a helix; wanted C1, Cn or Dn, "
            "whose axis is that of the filament."
        )
    helix = Helix(twist, rise, settings.helical_fraction)
    edge = geometry.box_size * geometry.pixel_size
    if len(helix.copies(edge)) < 2:
        raise SettingsError(
            f"A rise of {rise:g} A was given, and the central {settings.helical_fraction:g} of the "
            f"box are {helix.fraction * edge:.0f} A; wanted at least twice the rise; raise "
            "helical_fraction or extract larger boxes."
        )
    return helix


def near_equator(order: int, range_deg: float, *, descend: int = 0) -> Bool[Tensor, " pixels"]:
    """Return which HEALPix directions a filament that lies in the ice can be seen from.

    Parameters
    ----------
    order : int
    range_deg : float
        How far a filament's axis may rise out of the plane of the image.
    descend : int
        Keep a pixel when any of its descendants this many orders finer is within that.
    """
    height = pixel_directions(order + descend)[:, 2].abs()
    within = height <= sin(radians(range_deg)) + _ROUNDING
    return within.reshape(-1, 4**descend).any(dim=1)


def halves_by_micrograph(particles: Particles, seed: int) -> tuple[Tensor, Message | None]:
    """Return halves of about the same size that share no micrograph, so no filament.

    Segments of one filament overlap: in both halves they would make noise agree.

    Returns
    -------
    subset : (n,) int64
        1 or 2.
    message : Message or None
        A warning where there is one micrograph only, and the halves are drawn at random.
    """
    sizes = torch.bincount(particles.group_index, minlength=1)
    n_groups = int((sizes > 0).sum())
    generator = torch.Generator().manual_seed(seed)
    if n_groups < 2:
        subset = torch.ones(len(particles), dtype=torch.int64)
        subset[torch.randperm(len(particles), generator=generator)[: len(particles) // 2]] = 2
        warning = (
            "All segments are of one micrograph, so both halves may hold parts of one filament and "
            "their FSC may be too high: give segments of more micrographs, or rlnRandomSubset."
        )
        return subset, Message(warning, warning=True)
    order = torch.randperm(len(sizes), generator=generator)
    half_of = torch.ones(len(sizes), dtype=torch.int64)
    counts = [0, 0]
    # The largest first, each to the half that has fewer: nearly equal halves.
    for group in sorted(order.tolist(), key=lambda one: -int(sizes[one])):
        half = int(counts[1] < counts[0])
        half_of[group] = half + 1
        counts[half] += int(sizes[group])
    return half_of[particles.group_index], None
