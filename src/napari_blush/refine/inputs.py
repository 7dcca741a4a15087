"""Checks of what a refinement is given, each failure one sentence."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_blush.data_model.particles import Particles
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import RefinementError, SettingsError
from napari_blush.numerics.masks import background_statistics
from napari_blush.numerics.resample import match_box
from napari_blush.refine.checked_images import CheckedImages
from napari_blush.refine.events import Message
from napari_blush.refine.schedule import Geometry, particle_diameter
from napari_blush.refine.state import RefinementState

SAMPLED_IMAGES = 100
BACKGROUND_MEAN, BACKGROUND_STD = 0.5, (0.5, 2.0)  # beyond: not normalised (RELION's limits)
SAME_SIZE = 1e-3  # relative difference of voxel sizes that is taken for rounding


@dataclass(frozen=True, slots=True)
class CheckedParticles:
    """Box (px), pixel size (angstrom), and what was found out about the images."""

    box_size: int
    pixel_size: float
    normalize_background: bool
    messages: list[Message]


def checked_particles(particles: Particles, settings: RefinementSettings) -> CheckedParticles:
    """Return the common geometry of the particles, and whether they need normalising.

    Raises
    ------
    RefinementError
        When there are none, optics groups or halves cannot be refined, or sampled images hold no
        particle.
    """
    if len(particles) == 0:
        raise RefinementError("There are no particles; wanted some; check the STAR file.")
    _check_optics(particles)
    _check_halves(particles)
    if settings.healpix_order >= settings.local_search_from and not particles.has_poses:
        raise RefinementError(
            f"The search is local from the start (HEALPix order {settings.healpix_order}, local "
            f"from {settings.local_search_from}) and the particles have no poses; wanted poses to "
            "search around; lower --healpix-order or give the particles of another refinement."
        )
    first = particles.optics_groups[0]
    diameter = particle_diameter(settings, first.box_size, first.pixel_size)
    check_diameter(diameter, first.box_size, first.pixel_size)
    return _sampled(particles, first.box_size, first.pixel_size, diameter)


def check_diameter(diameter: float, box_size: int, pixel_size: float) -> None:
    """Refuse a particle that does not fit into its box.

    Raises
    ------
    RefinementError
    """
    length = box_size * pixel_size
    if diameter >= length:
        raise RefinementError(
            f"The particle diameter is {diameter:g} A and the box {length:g} A; wanted a smaller "
            "diameter; lower --particle-diameter or extract larger boxes."
        )


def _check_optics(particles: Particles) -> None:
    first = particles.optics_groups[0]
    for group in particles.optics_groups[1:]:
        if group.box_size != first.box_size or not _close(group.pixel_size, first.pixel_size):
            raise RefinementError(
                f"Optics groups {first.name!r} ({first.box_size} px of {first.pixel_size} A) and "
                f"{group.name!r} ({group.box_size} px of {group.pixel_size} A) cannot be refined "
                "together; wanted one box and pixel size; extract the particles alike."
            )
    if any(group.ctf_premultiplied for group in particles.optics_groups):
        raise RefinementError(
            "The images are multiplied by their CTF already (rlnCtfDataAreCtfPremultiplied); "
            "wanted plain images; extract the particles without that option."
        )


def _check_halves(particles: Particles) -> None:
    subset = particles.random_subset
    odd = int(((subset != 1) & (subset != 2)).sum())
    if odd and bool((subset != 0).any()):
        raise RefinementError(
            f"{odd} of {len(subset)} particles belong to neither half; wanted all in half 1 or 2, "
            "or none; correct or remove rlnRandomSubset."
        )
    halves = [int((subset == half).sum()) for half in (1, 2)]
    if (odd and len(subset) < 2) or (not odd and min(halves) == 0):
        raise RefinementError(
            f"The halves have {halves[0]} and {halves[1]} of {len(subset)} particles; wanted some "
            "in each; give more particles or correct rlnRandomSubset."
        )


def _sampled(
    particles: Particles, box_size: int, pixel_size: float, diameter: float
) -> CheckedParticles:
    """Look at some images spread over the set."""
    chosen = torch.linspace(0, len(particles) - 1, min(SAMPLED_IMAGES, len(particles))).long()
    images = CheckedImages(particles.images).read(chosen)
    if images.shape[-1] != box_size:
        raise RefinementError(
            f"The images are {images.shape[-1]} px wide and the optics table says {box_size}; "
            "wanted the same; correct rlnImageSize."
        )
    constant = images.flatten(1).std(1) < 1e-12
    if bool(constant.any()):
        raise RefinementError(
            f"Image {int(chosen[constant][0]) + 1} is constant; wanted a particle; remove it or "
            "extract it again."
        )
    mean, std = background_statistics(images, diameter / 2 / pixel_size)
    ratio, spread = float((mean.abs() / std).mean()), float(std.mean())
    fine = ratio <= BACKGROUND_MEAN and BACKGROUND_STD[0] <= spread <= BACKGROUND_STD[1]
    messages = []
    if not fine:
        messages.append(
            Message(
                f"The background of the images has mean/sd {ratio:.2f} and sd {spread:.2f}, not 0 "
                "and 1: each image is normalised as it is read.",
                warning=True,
            )
        )
    return CheckedParticles(box_size, pixel_size, not fine, messages)


def checked_reference(
    volume: Tensor, voxel_size: float, geometry: Geometry
) -> tuple[Tensor, list[Message]]:
    """Return the start map in the particles' box, and what had to be done to it."""
    _check_cube(volume, voxel_size, "start map")
    if float(volume.std()) < 1e-20:
        raise RefinementError(
            "The start map is constant; wanted a density; check the file given as reference."
        )
    return _fitted(volume, voxel_size, geometry, "start map")


def checked_mask(
    mask: Tensor, voxel_size: float, geometry: Geometry
) -> tuple[Tensor, list[Message]]:
    """Return the solvent mask in the particles' box.

    Raises
    ------
    SettingsError
        When it leaves [0, 1] or is empty.
    """
    _check_cube(mask, voxel_size, "mask")
    low, high = float(mask.min()), float(mask.max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise SettingsError(
            f"The mask has values from {low:.3g} to {high:.3g}; wanted 0 to 1; threshold and "
            "soften the map to make a mask."
        )
    if high < 0.5:
        raise SettingsError(
            f"The mask is empty (its largest value is {high:.3g}); wanted 1 where the particle is; "
            "lower the threshold it was made with."
        )
    fitted, notes = _fitted(mask, voxel_size, geometry, "mask")
    return fitted.clamp(0, 1), notes


def _fitted(
    volume: Tensor, voxel_size: float, geometry: Geometry, what: str
) -> tuple[Tensor, list[Message]]:
    same_box = volume.shape[0] == geometry.box_size
    if same_box and _close(voxel_size, geometry.pixel_size):
        return volume.to(torch.float32), []
    note = Message(
        f"The {what} ({volume.shape[0]} px of {voxel_size:g} A) was rescaled to the particles' "
        f"{geometry.box_size} px of {geometry.pixel_size:g} A.",
        warning=True,
    )
    fitted = match_box(volume.to(torch.float32), voxel_size, geometry.pixel_size, geometry.box_size)
    return fitted.to(torch.float32), [note]


def _check_cube(volume: Tensor, voxel_size: float, what: str) -> None:
    if volume.ndim != 3 or len(set(volume.shape)) != 1:
        raise RefinementError(
            f"The {what} has shape {tuple(volume.shape)}; wanted a cube; choose a 3-D map."
        )
    if not bool(torch.isfinite(volume).all()):
        raise RefinementError(
            f"The {what} holds values that are not numbers; wanted finite voxels; check the file."
        )
    if not (math.isfinite(voxel_size) and voxel_size > 0):
        raise RefinementError(
            f"The {what} has a voxel size of {voxel_size:g} A; wanted more than zero; correct the "
            "header of the file."
        )


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= SAME_SIZE * b


def check_state(state: RefinementState, particles: Particles, geometry: Geometry) -> None:
    """Refuse to go on from a state of other particles.

    Raises
    ------
    RefinementError
        When the number of particles, their halves or their box are not those of the state.
    """
    box = int(state.models[0].reference.shape[0])
    if len(state.random_subset) != len(particles) or box != geometry.box_size:
        raise RefinementError(
            f"The run to go on from has {len(state.random_subset)} particles of {box} px and "
            f"there are {len(particles)} of {geometry.box_size} px; wanted the same; give the "
            "particles that the run was started with."
        )
    given = particles.random_subset
    if bool((given != 0).any()) and not torch.equal(given, state.random_subset):
        raise RefinementError(
            "The particles have other random halves than the run to go on from; wanted the same; "
            "give the particles that the run was started with."
        )
