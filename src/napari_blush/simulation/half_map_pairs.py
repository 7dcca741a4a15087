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
from napari_blush.numerics.fft import fourier_resize, irfftn_centered, rfftn_centered
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.shells import radius_grid, shell_index_grid, shell_mean, spectrum_to_grid
from napari_blush.simulation.assemblies import GridSymmetry, grid_symmetrized
from napari_blush.simulation.experiment_plan import ExperimentPlan
from napari_blush.simulation.specimens import make_specimen
from napari_blush.simulation.structures import Structure
from napari_blush.simulation.view_weights import draw_squared_ctf, draw_views, weight_volume

SNR_AT_THRESHOLD = 1 / 6
"""Signal to noise power of a half where the FSC between the halves is 1/7, that is 0.143."""

WEIGHT_FLOOR = 1e-3  # of the shell's mean weight, as the reconstruction has it
CORNER_EDGE_PX = 3.0  # cosine edge beyond the sphere inscribed in the box
RIM_PX = 4.0  # thickness of the shell of solvent whose mean density is called zero

_SMOOTHED_SHELLS = 3  # over which signal and noise are averaged before they are compared
_INSIDE = 0.5  # of the mask
_NO_WEIGHT = 1e-6  # of the largest
_FINER = 1.5  # times the voxels along an edge, for images of finer pixels


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
    if plan.finer:
        return _coarsened(simulate_pair(structure, _finer(plan), generator), plan)
    specimen = make_specimen(structure, plan, generator)
    weights = draw_weights(plan, generator)
    signal = rfftn_centered(specimen.density)
    window = noise_window(specimen.mask, plan)
    noise = noise_spectrum(signal, weights, plan, window)
    transforms = noisy_transforms(signal, weights, noise, plan, generator, window)
    half1, half2 = (inside_sphere(irfftn_centered(half, plan.box_size)) for half in transforms)
    scale = (0.5 * (half1.var() + half2.var())).sqrt()
    return HalfMapPair(half1 / scale, half2 / scale, specimen.mask, plan.voxel_size)


def _finer(plan: ExperimentPlan) -> ExperimentPlan:
    """Return the plan on finer voxels; what went to Nyquist goes to the new one."""
    box_size = 2 * round(_FINER * plan.box_size / 2)
    r_max = box_size // 2 if plan.r_max == plan.box_size // 2 else plan.r_max
    voxel_size = plan.voxel_size * plan.box_size / box_size
    return replace(plan, finer=False, box_size=box_size, voxel_size=voxel_size, r_max=r_max)


def _coarsened(pair: HalfMapPair, plan: ExperimentPlan) -> HalfMapPair:
    half1, half2, mask = (
        fourier_resize(volume, plan.box_size) for volume in (pair.half1, pair.half2, pair.mask)
    )
    return HalfMapPair(half1, half2, mask.clamp(0, 1), plan.voxel_size)


def draw_weights(plan: ExperimentPlan, generator: torch.Generator) -> Float[Tensor, "2 n n half"]:
    """Draw the views of both halves and return their weights, before any symmetry."""
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
    window: Volume | None = None,
) -> Spectrum:
    """Return the power of the images' noise with which the halves reach the planned resolution.

    Parameters
    ----------
    signal : (n, n, n // 2 + 1) complex
        Transform of the density.
    weights : (2, n, n, n // 2 + 1)
        From ``draw_weights``.
    plan : ExperimentPlan
    window : (n, n, n), optional
        From ``noise_window``; default: noise that is even everywhere.

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
    weights = symmetrized(weights, plan.symmetry)
    even = torch.ones(n, n, n) if window is None else window
    inside = (_sphere(n) * even).square().mean()
    at_unit_scale = noise_power(weights, color).mean(dim=0) * inside
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
    window: Volume | None = None,
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
    window : (n, n, n), optional
        What the noise is multiplied by in real space, from ``noise_window``.

    Returns
    -------
    (2, n, n, n // 2 + 1) complex64
        Transforms of the unregularized reconstructions.
    """
    n = plan.box_size
    amplitude = spectrum_to_grid(noise, n, 3).sqrt() * n**-1.5
    copies = len(symmetry_operators(plan.symmetry))
    data = []
    for weight in weights:
        white = rfftn_centered(torch.randn(n, n, n, generator=generator))
        drawn = amplitude * weight.sqrt() * white
        if copies > 1:
            summed = copies * grid_symmetrized(irfftn_centered(drawn, n), plan.symmetry)
            drawn = rfftn_centered(summed)
        data.append(drawn)
    weights = symmetrized(weights, plan.symmetry)
    shared = shell_index_grid(n, 3) <= ceil(n * plan.voxel_size / plan.join_resolution)
    mean_data, mean_weight = (data[0] + data[1]) / 2, weights.mean(dim=0)
    halves = []
    for own_data, own_weight in zip(data, weights, strict=True):
        weight = torch.where(shared, mean_weight, own_weight)
        divisor = _floored(weight).clamp(min=1e-30)
        solved = torch.where(shared, mean_data, own_data) / divisor * (weight > 0)
        if window is not None:
            solved = rfftn_centered(irfftn_centered(solved, n) * window)
        halves.append(weight / divisor * signal + solved)
    return torch.stack(halves)


def noise_window(mask: Volume, plan: ExperimentPlan) -> Volume:
    r"""Return how strong noise is in real space, 1 far from the particle.

    :math:`1 + a \exp(-r^2 / 2 s^2)` about the middle of the box, ``s`` half the radius of the
    particle. Images are turned and moved to where their noise fits the reference, which is where
    the particle is; refinements at low signal have up to twice the noise there.
    """
    n = mask.shape[-1]
    axis = torch.arange(n, dtype=torch.float32) - n // 2
    squared = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    spread = (squared[mask > _INSIDE].max() if bool((mask > _INSIDE).any()) else squared.max()) / 4
    return 1 + plan.excess_noise * torch.exp(-squared / (2 * spread))


def symmetrized(
    weights: Float[Tensor, "2 n n half"], symmetry: GridSymmetry
) -> Float[Tensor, "2 n n half"]:
    """Sum the weights over the copies of every view that a point group makes."""
    copies, n = len(symmetry_operators(symmetry)), weights.shape[-2]
    if copies == 1:
        return weights
    kernels = [
        grid_symmetrized(irfftn_centered(w.to(torch.complex64), n), symmetry) for w in weights
    ]
    summed = torch.stack([copies * rfftn_centered(kernel).real for kernel in kernels])
    # What the transforms round to is no weight, and nothing comes from beyond the last slice.
    radius = radius_grid(n, 3)
    reached = radius <= radius[(weights > 0).any(dim=0)].max()
    return torch.where(reached & (summed > _NO_WEIGHT * summed.amax()), summed, 0.0)


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
