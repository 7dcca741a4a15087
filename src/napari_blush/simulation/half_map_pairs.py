r"""Pairs of half-maps of made-up experiments, by the exact noise model of a reconstruction.

The unregularized reconstruction of a half is, at each Fourier voxel, data divided by weight. With
images ``CTF V + noise`` the data are ``W V + n``, where the weight ``W`` is the sum of the squared
CTFs that fell there and ``n`` has the power :math:`\sigma^2 W`. That is drawn here directly: no
image is made, and the result has the spectrum, the anisotropy and the texture of a reconstruction
from thousands of them.
"""

from dataclasses import dataclass, replace
from math import ceil

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from napari_blush.conventions import Spectrum, Volume
from napari_blush.numerics.fft import irfftn_centered, rfftn_centered
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.rotations import random_rotations
from napari_blush.numerics.shells import radius_grid, shell_index_grid, shell_mean, spectrum_to_grid
from napari_blush.simulation.atomic_density import density_of_atoms
from napari_blush.simulation.experiment_plan import ExperimentPlan
from napari_blush.simulation.structures import (
    Structure,
    alignment_b_factors,
    domain_profile,
    with_thermal_b_factors,
)
from napari_blush.simulation.surroundings import distance_from_atoms, loose_blobs, micelle_belt
from napari_blush.simulation.view_weights import draw_squared_ctf, draw_views, weight_volume

SNR_AT_THRESHOLD = 1 / 6
"""Signal to noise power of a half where the FSC between the halves is 1/7, that is 0.143."""

WEIGHT_FLOOR = 1e-3  # of the shell's mean weight, as the reconstruction has it
CORNER_EDGE_PX = 3.0  # cosine edge beyond the sphere inscribed in the box
RIM_PX = 4.0  # thickness of the shell of solvent whose mean density is called zero

_ORDERED = 400.0  # angstrom squared of B-factor in excess, up to which atoms belong to the mask
_PROTEIN_REACH = 3.0  # angstrom from the voxel of an atom to the surface of the molecule
_SMOOTHED_SHELLS = 3  # over which signal and noise are averaged before they are compared
_SOLVENT_SHARE = 0.45  # of the density of matter that is that of the solvent it displaces
_SOLVENT_B_FACTOR = 170.0  # angstrom squared, how soft the displaced volume of an atom is
_WIDEST_ATOM = 2000.0  # angstrom squared; wider ones only cost time
_MARGIN_PX = 10  # voxels between atoms and the walls of the box their density is made in


@dataclass(frozen=True, slots=True)
class Specimen:
    """What the microscope sees, on the grid of the half-maps.

    Parameters
    ----------
    density : (n, n, n) float32
        Everything that images share, as blurred as the poses' errors make it.
    mask : (n, n, n) float32
        Soft, in [0, 1]: the ordered molecule.
    """

    density: Volume
    mask: Volume


@dataclass(frozen=True, slots=True)
class HalfMapPair:
    """Two half-maps with independent noise, and a mask of what is ordered in them.

    Parameters
    ----------
    half1, half2 : (n, n, n) float32
        Unfiltered, of standard deviation 1 on average.
    mask : (n, n, n) float32
        Soft, in [0, 1].
    voxel_size : float
        Angstrom.
    """

    half1: Volume
    half2: Volume
    mask: Volume
    voxel_size: float


def simulate_pair(
    structure: Structure, plan: ExperimentPlan, generator: torch.Generator
) -> HalfMapPair:
    """Make the half-maps of one experiment.

    Parameters
    ----------
    structure : Structure
    plan : ExperimentPlan
    generator : torch.Generator
        Decides all that the plan leaves open; the same state gives the same pair.

    Returns
    -------
    HalfMapPair

    Notes
    -----
    About half a second at a box of 64 on one core. The noise of the halves is independent but for
    what they share below ``plan.join_resolution``.
    """
    specimen = make_specimen(structure, plan, generator)
    weights = draw_weights(plan, generator)
    signal = rfftn_centered(specimen.density)
    noise = noise_spectrum(signal, weights, plan)
    transforms = noisy_transforms(signal, weights, noise, plan, generator)
    half1, half2 = (inside_sphere(irfftn_centered(half, plan.box_size)) for half in transforms)
    scale = (0.5 * (half1.var() + half2.var())).sqrt()
    return HalfMapPair(half1 / scale, half2 / scale, specimen.mask, plan.voxel_size)


def make_specimen(
    structure: Structure, plan: ExperimentPlan, generator: torch.Generator
) -> Specimen:
    """Put a structure into the box as the experiment found it: turned, incomplete, flexible.

    Parameters
    ----------
    structure : Structure
    plan : ExperimentPlan
    generator : torch.Generator

    Returns
    -------
    Specimen
        Density in angstrom^-2 less that of the solvent.
    """
    structure = structure.centered().rotated(random_rotations(1, generator)[0])
    if plan.missing_radius > 0:
        kept = domain_profile(structure, plan.missing_radius, generator) < 0.5
        structure = structure.selected(kept) if int(kept.sum()) > len(kept) // 3 else structure
    structure = with_thermal_b_factors(structure, plan.b_factor, plan.b_spread)
    flexible = torch.zeros_like(structure.b_factors)
    if plan.flexible_radius > 0:
        profile = domain_profile(structure, plan.flexible_radius, generator)
        flexible = plan.flexible_b_factor * profile.to(flexible)
    blur = alignment_b_factors(structure, plan.angle_error_deg, plan.shift_error)
    structure = structure.blurred(flexible + blur)
    offset = plan.off_center * torch.randn(3, generator=generator)
    center = plan.box_size // 2 * plan.voxel_size
    structure = replace(structure, positions=structure.positions + offset.to(structure.positions))
    placed = structure.positions + center
    density = _density(structure, plan)
    distance = distance_from_atoms(placed, plan.box_size, plan.voxel_size)
    density = density + _surroundings(density, distance, plan, generator)
    ordered = placed[flexible < _ORDERED]
    to_ordered = distance_from_atoms(
        ordered if len(ordered) else placed, plan.box_size, plan.voxel_size
    )
    beyond = to_ordered - _PROTEIN_REACH - plan.mask_extension
    mask = 0.5 + 0.5 * torch.cos(torch.pi * (beyond / plan.mask_edge).clamp(0, 1))
    return Specimen(density, mask)


def draw_weights(plan: ExperimentPlan, generator: torch.Generator) -> Float[Tensor, "2 n n half"]:
    """Draw the views of both halves and return the weights of their reconstructions."""
    axes = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    weights = []
    for _ in range(2):
        rotations = draw_views(plan.views, axes, generator)
        squared = draw_squared_ctf(
            plan.views, plan.box_size, plan.voxel_size, plan.r_max, generator
        )
        weights.append(weight_volume(rotations, squared, plan.box_size, plan.r_max))
    return torch.stack(weights)


def noise_spectrum(
    signal: Complex[Tensor, "n n half"],
    weights: Float[Tensor, "2 n n half"],
    plan: ExperimentPlan,
) -> Spectrum:
    """Return the power of the images' noise with which the halves reach the planned resolution.

    Parameters
    ----------
    signal : (n, n, n // 2 + 1) complex
        Transform of the density.
    weights : (2, n, n, n // 2 + 1)
    plan : ExperimentPlan

    Returns
    -------
    (n // 2 + 1,) float32
        The noise of a Fourier voxel has this power divided by the voxel's weight. It has the
        color of the plan, and its scale is such that signal and noise have the ratio 1 to 6 at
        the planned resolution and no less before, with what the sphere round the box takes from
        the noise.
    """
    n = plan.box_size
    shells = torch.arange(n // 2 + 1, dtype=torch.float32)
    color = plan.color.power(shells / (n * plan.voxel_size))
    at_unit_scale = noise_power(weights, color).mean(dim=0) * _sphere(n).square().mean()
    solved = (weights > 0).float().mean(dim=0)
    ratio = _smooth(shell_mean(signal.abs().square() * solved, n, 3)) / _smooth(at_unit_scale)
    shell = min(round(n * plan.voxel_size / plan.resolution), plan.r_max)
    return color * ratio[1 : shell + 1].min() / SNR_AT_THRESHOLD


def noise_power(weights: Float[Tensor, "2 n n half"], noise: Spectrum) -> Float[Tensor, "2 shells"]:
    r"""Return the expected power of the noise of each half by shell.

    :math:`\langle \sigma^2 / W \rangle`, before the sphere is cut out; weights below the floor
    count as the floor, and voxels that no slice passed hold no noise.
    """
    n = weights.shape[-2]
    grid = spectrum_to_grid(noise, n, 3)
    power = grid * weights / _floored(weights).square().clamp(min=1e-30)
    return shell_mean(power, n, 3)


def noisy_transforms(
    signal: Complex[Tensor, "n n half"],
    weights: Float[Tensor, "2 n n half"],
    noise: Spectrum,
    plan: ExperimentPlan,
    generator: torch.Generator,
) -> Complex[Tensor, "2 n n half"]:
    """Solve both halves for data that were never images.

    Parameters
    ----------
    signal : (n, n, n // 2 + 1) complex
        Transform of the density.
    weights : (2, n, n, n // 2 + 1)
    noise : (n // 2 + 1,)
        From ``noise_spectrum``.
    plan : ExperimentPlan
    generator : torch.Generator

    Returns
    -------
    (2, n, n, n // 2 + 1) complex64
        Transforms of the unregularized reconstructions.
    """
    n = plan.box_size
    amplitude = spectrum_to_grid(noise, n, 3).sqrt() * n**-1.5
    data = []
    for weight in weights:
        white = rfftn_centered(torch.randn(n, n, n, generator=generator))
        data.append(weight * signal + amplitude * weight.sqrt() * white)
    shared = shell_index_grid(n, 3) <= ceil(n * plan.voxel_size / plan.join_resolution)
    mean_data, mean_weight = (data[0] + data[1]) / 2, weights.mean(dim=0)
    halves = []
    for own_data, own_weight in zip(data, weights, strict=True):
        joined_data = torch.where(shared, mean_data, own_data)
        joined_weight = torch.where(shared, mean_weight, own_weight)
        halves.append(joined_data / _floored(joined_weight).clamp(min=1e-30))
    return torch.stack(halves)


def inside_sphere(volume: Volume) -> Volume:
    """Return a map inside the sphere inscribed in the box, its rim at density zero on average."""
    n = volume.shape[-1]
    corner = _sphere(n)
    rim = corner - soft_sphere(n, n / 2 - RIM_PX, CORNER_EDGE_PX)
    return (volume - (volume * rim).sum() / rim.sum()) * corner


def _floored(weights: Float[Tensor, "*half_map n n half"]) -> Float[Tensor, "*half_map n n half"]:
    n = weights.shape[-2]
    mean = shell_mean(weights, n, 3)
    return torch.maximum(weights, WEIGHT_FLOOR * spectrum_to_grid(mean, n, 3))


def _smooth(spectrum: Spectrum) -> Spectrum:
    """Average logarithms over neighboring shells; protein has dips that say nothing here."""
    logarithm = spectrum.clamp(min=1e-30).log()[None, None]
    reach = _SMOOTHED_SHELLS // 2
    padded = torch.nn.functional.pad(logarithm, (reach, reach), mode="replicate")
    return torch.nn.functional.avg_pool1d(padded, _SMOOTHED_SHELLS, 1)[0, 0].exp()


def _sphere(box_size: int) -> Volume:
    return soft_sphere(box_size, box_size / 2, CORNER_EDGE_PX)


def _density(structure: Structure, plan: ExperimentPlan) -> Volume:
    """Make the density in a box that just holds the structure, less the solvent it displaces.

    Solvent is taken away as a filter, ``1 - c exp(-B k^2 / 4)``: where matter is packed as protein
    is, that is what a flat solvent in the structure's envelope does to the transform (correlation
    0.97 and more in every shell to 6 A), it costs nothing, and parts that are blurred displace
    blurred solvent.
    """
    reach = float(structure.positions.abs().max()) / plan.voxel_size
    box_size = min(plan.box_size, 2 * (int(reach) + _MARGIN_PX))
    vacuum = density_of_atoms(
        structure.positions + box_size // 2 * plan.voxel_size,
        structure.atomic_numbers,
        structure.b_factors.clamp(max=_WIDEST_ATOM),
        box_size=box_size,
        voxel_size=plan.voxel_size,
    )
    squared = (radius_grid(box_size, 3) / (box_size * plan.voxel_size)).square()
    solvent = _SOLVENT_SHARE * torch.exp(-0.25 * _SOLVENT_B_FACTOR * squared)
    density = irfftn_centered(rfftn_centered(vacuum) * (1 - solvent), box_size)
    before = plan.box_size // 2 - box_size // 2
    return torch.nn.functional.pad(density, (before, plan.box_size - box_size - before) * 3)


def _surroundings(
    density: Volume, distance: Volume, plan: ExperimentPlan, generator: torch.Generator
) -> Volume:
    if plan.surroundings == "none":
        return torch.zeros_like(density)
    if plan.surroundings == "micelle":
        height, thickness, axis = (
            25 + 15 * float(torch.rand(1, generator=generator)),
            10 + 20 * float(torch.rand(1, generator=generator)),
            torch.randn(3, generator=generator),
        )
        shape = micelle_belt(
            distance,
            plan.voxel_size,
            axis,
            generator,
            height=height,
            thickness=thickness,
            resolution=plan.surroundings_resolution,
        )
    else:
        shape = loose_blobs(
            distance,
            plan.voxel_size,
            generator,
            count=int(torch.randint(1, 6, (1,), generator=generator)),
            radius=12 + 10 * float(torch.rand(1, generator=generator)),
            resolution=plan.surroundings_resolution,
        )
    molecule = density[distance < 2 * plan.voxel_size].mean().clamp(min=0)
    return plan.surroundings_contrast * molecule * shape
