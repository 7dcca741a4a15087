"""Random assignments of C, C-tilde, A and e of the paper's equations 1 and 2.

A draw holds numbers only; ``views.py`` applies it. All pairs of a batch are drawn together.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from napari_blush.data_model.training_settings import TrainingSettings
from napari_blush.numerics.rotations import random_rotations

_HALF_AMPLITUDE = math.log(2.0)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What is done to the ``b`` pairs of a batch.

    Parameters
    ----------
    center : (b, 3) int64
        ``[z, y, x]``: the voxel of the map that comes to the middle of the block.
    rotation : (b, 3, 3)
        Left-multiplies (x, y, z): block coordinates to map coordinates.
    shift : (b, 3)
        (x, y, z) in voxels, added to the center.
    interpolated : (b,) bool
        Whether the rotation takes voxels between voxels.
    input_covariance, target_covariance : (b, 3, 3)
        ``C`` in angstrom squared: the filter is ``exp(-k C k / 2)``, ``k`` in 1/angstrom.
    cutoff : (b,)
        Resolution in angstrom of a sharp low-pass; 0 for none.
    noise : (b, 2)
        Amplitude of the added noise at zero frequency and at Nyquist, relative to the map's.
    sphere : (b,)
        Radius of a spherical mask of the input, as a fraction of the greatest; 0 for none.
    """

    center: Int64[Tensor, "b 3"]
    rotation: Float32[Tensor, "b 3 3"]
    shift: Float32[Tensor, "b 3"]
    interpolated: Tensor
    input_covariance: Float32[Tensor, "b 3 3"]
    target_covariance: Float32[Tensor, "b 3 3"]
    cutoff: Float32[Tensor, " b"]
    noise: Float32[Tensor, "b 2"]
    sphere: Float32[Tensor, " b"]


def draw_augmentation(
    settings: TrainingSettings,
    inside: list[Tensor],
    box_sizes: list[int],
    voxel_size: float,
    generator: torch.Generator,
) -> Augmentation:
    """Draw for pairs with mask voxels ``inside`` and the given boxes; CPU tensors."""
    b = len(inside)
    uniform = _Uniform(generator)
    center = torch.stack(
        [
            _center(settings, voxels, box, generator)
            for voxels, box in zip(inside, box_sizes, strict=True)
        ]
    )
    interpolated = uniform(b) < settings.rotation_probability
    any_rotation = random_rotations(b, generator).float()
    rotation = torch.where(interpolated[:, None, None], any_rotation, cube_rotations(b, generator))
    resolution = _log_uniform(
        uniform(b), settings.finest_resolution or voxel_size, settings.coarsest_resolution
    )
    cutoff = _log_uniform(uniform(b), 2 * voxel_size, 1.5 * settings.coarsest_resolution)
    cutoff = torch.where(uniform(b) < settings.cutoff_probability, cutoff, 0.0)
    noise = settings.noise_maximum * uniform(b, 2)
    noise = torch.where(uniform(b, 1) < settings.noise_probability, noise, 0.0)
    sphere = torch.where(uniform(b) < settings.sphere_probability, uniform(b), 0.0)
    return Augmentation(
        center,
        rotation,
        torch.where(interpolated[:, None], uniform(b, 3) - 0.5, 0.0),
        interpolated,
        random_covariance(resolution, settings.input_anisotropy, generator),
        random_covariance(resolution, settings.target_anisotropy, generator),
        cutoff,
        noise,
        sphere,
    )


def random_covariance(
    resolution: Float32[Tensor, " b"], anisotropy: float, generator: torch.Generator
) -> Float32[Tensor, "b 3 3"]:
    r"""Draw the covariances of Gaussian filters.

    Along the axes of a random frame the filters are one half at
    :math:`d\,e^{a_i}`, :math:`a_i` normal with spread ``anisotropy`` and :math:`\sum a_i = 0`: the
    geometric mean of the three resolutions is :math:`d`, whatever the anisotropy.

    Parameters
    ----------
    resolution : (b,)
        ``d`` in angstrom.
    anisotropy : float
    generator : torch.Generator

    Returns
    -------
    Tensor
        ``(b, 3, 3)`` in angstrom squared.
    """
    b = len(resolution)
    spread = anisotropy * torch.randn(b, 3, generator=generator)
    along = resolution[:, None] * torch.exp(spread - spread.mean(dim=1, keepdim=True))
    # exp(-C / (2 d^2)) = 1 / 2
    variance = 2 * _HALF_AMPLITUDE * along.square()
    frame = random_rotations(b, generator).float()
    return frame * variance[:, None, :] @ frame.transpose(1, 2)


def cube_rotations(n: int, generator: torch.Generator) -> Float32[Tensor, "n 3 3"]:
    """Draw among the 24 rotations that take a cubic grid to itself (no mirrors)."""
    order = torch.rand(n, 3, generator=generator).argsort(dim=1)
    signs = 2.0 * torch.randint(0, 2, (n, 3, 1), generator=generator) - 1
    matrices = torch.eye(3)[order] * signs
    handedness: Tensor = torch.linalg.det(matrices).round()
    return matrices * handedness[:, None, None]


class _Uniform:
    """Uniform numbers in [0, 1) from one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def __call__(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator)


def _center(
    settings: TrainingSettings, inside: Tensor, box_size: int, generator: torch.Generator
) -> Tensor:
    """Choose a voxel on the particle, moved by up to a quarter block, or any voxel of the map."""
    chance, choice = torch.rand(2, generator=generator).tolist()
    moved = torch.rand(3, generator=generator)
    if chance >= settings.particle_fraction:
        return (moved * box_size).long()
    near = inside[int(choice * len(inside))] + ((moved - 0.5) * settings.block_size / 2).long()
    return near.clamp(0, box_size - 1)


def _log_uniform(fraction: Float[Tensor, " b"], first: float, last: float) -> Float[Tensor, " b"]:
    exponent = fraction * math.log(max(last, first) / first)
    return torch.exp(exponent).mul(first)
