"""A tiny set of particles with everything that can differ between images, and slow references.

The references share nothing with the package but its conventions: numpy, float64, explicit sums.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.particles import ImagesInMemory, Particles
from napari_blush.data_model.poses import Poses
from napari_blush.likelihood.half_model import HalfModel
from napari_blush.likelihood.prepared_images import MASK_EDGE_PX, ImagePreparation
from napari_blush.numerics.packing import PackedCoordinates, packed_coordinates
from napari_blush.numerics.rotations import random_rotations

Real = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

PIXEL_SIZE = 3.0


def optics(box_size: int, **changes: Any) -> OpticsGroup:
    """Return an optics group of a box."""
    plain: dict[str, Any] = {
        "name": "one",
        "voltage_kv": 300.0,
        "spherical_aberration_mm": 2.7,
        "amplitude_contrast": 0.1,
        "pixel_size": PIXEL_SIZE,
        "box_size": box_size,
    }
    return OpticsGroup(**{**plain, **changes})


def particles_of(
    images: torch.Tensor,
    *,
    groups: tuple[OpticsGroup, ...] | None = None,
    poses: Poses | None = None,
    seed: int = 0,
    **changes: Any,
) -> Particles:
    """Return particles of ``images (m, n, n)`` with defocus, groups and norms drawn at random."""
    m, box_size, _ = images.shape
    generator = torch.Generator().manual_seed(seed)
    groups = groups or (optics(box_size), optics(box_size, voltage_kv=200.0))

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        drawn = torch.rand(*shape, generator=generator, dtype=torch.float64)
        return low + (high - low) * drawn

    defocus = torch.stack(
        [uniform(4e3, 9e3, m), uniform(4e3, 9e3, m), uniform(0.0, 180.0, m)], dim=1
    )
    if poses is None:
        poses = Poses(random_rotations(m, generator).double(), uniform(-6.0, 6.0, m, 2))
    fields: dict[str, Any] = {
        "images": ImagesInMemory(images),
        "optics_groups": groups,
        "optics_group_index": torch.arange(m) % len(groups),
        "defocus": defocus,
        "phase_shift_deg": uniform(0.0, 30.0, m),
        "ctf_b_factor": uniform(0.0, 40.0, m),
        "ctf_scale": uniform(0.9, 1.1, m),
        "poses": poses,
        "has_poses": True,
        "random_subset": torch.ones(m, dtype=torch.int64),
        "group_index": torch.arange(m) // 2 % 2,
        "group_names": ("a", "b"),
        "norm_correction": uniform(0.8, 1.2, m),
    }
    return Particles(**{**fields, **changes})


def model_of(reference: torch.Tensor, n_groups: int = 2, **changes: Any) -> HalfModel:
    """Return a model with coloured noise, preferred directions and unequal scales."""
    shells = reference.shape[0] // 2 + 1
    shell = torch.arange(shells, dtype=torch.float32)
    sigma2 = torch.stack([(1.0 + g) * (0.5 + 2.0 / (1.0 + shell)) for g in range(n_groups)])
    pdf = 1.0 + torch.arange(12, dtype=torch.float32) % 5
    fields: dict[str, Any] = {
        "reference": reference,
        "sigma2_noise": sigma2,
        "sigma_offset_angstrom": 5.0,
        "pdf_direction": pdf / pdf.sum(),
        "pdf_order": 0,
        "group_scale": torch.tensor([0.8, 1.2]),
        "average_norm": 0.9,
        "data_vs_prior": 10.0 - 2.0 * shell,
        "tau2": torch.ones(shells),
    }
    return HalfModel(**{**fields, **changes})


def radius_grid(box_size: int) -> Real:
    """Return the distance of each pixel from pixel ``n // 2``."""
    axis = np.arange(box_size) - box_size // 2
    return np.hypot(axis[:, None], axis[None])


def soft_mask(box_size: int, radius_px: float) -> Real:
    """Return the circular mask, its cosine edge beyond the radius."""
    beyond = np.clip((radius_grid(box_size) - radius_px) / MASK_EDGE_PX, 0, 1)
    return 0.5 * (1 + np.cos(np.pi * beyond))


def transform(image: Real, coordinates: PackedCoordinates) -> Complex:
    """Return the coefficients of an image, each a sum over all pixels, divided by ``n``."""
    n = coordinates.box_size
    axis = np.arange(n) - n // 2
    along_x = np.exp(-2j * np.pi / n * np.outer(coordinates.kx.numpy(), axis))
    along_y = np.exp(-2j * np.pi / n * np.outer(coordinates.ky.numpy(), axis))
    return np.einsum("kr,rc,kc->k", along_y, image, along_x) / n


def contrast(particles: Particles, row: int, coordinates: PackedCoordinates) -> Real:
    """Return the CTF of one particle by its formula."""
    group = particles.optics_groups[int(particles.optics_group_index[row])]
    volts = 1e3 * group.voltage_kv
    wavelength = 12.2643247 / np.sqrt(volts * (1 + 0.978466e-6 * volts))
    step = 1 / (group.box_size * group.pixel_size)
    kx, ky = (k.numpy().astype(float) * step for k in (coordinates.kx, coordinates.ky))
    u2, angle = kx**2 + ky**2, np.arctan2(ky, kx)
    u, v, astigmatism = particles.defocus[row].tolist()
    defocus = (u + v) / 2 + (u - v) / 2 * np.cos(2 * (angle - np.radians(astigmatism)))
    gamma = np.pi / 2 * group.spherical_aberration_mm * 1e7 * wavelength**3 * u2**2
    gamma = gamma - np.pi * wavelength * defocus * u2 - np.arcsin(group.amplitude_contrast)
    gamma = gamma - np.radians(float(particles.phase_shift_deg[row]))
    envelope = np.exp(-float(particles.ctf_b_factor[row]) * u2 / 4)
    return -np.sin(gamma) * envelope * float(particles.ctf_scale[row])


@dataclass(frozen=True)
class SlowImage:
    """One image as the E-step sees it: transforms, transfer function, noise variance, origin."""

    masked: Complex
    unmasked: Complex
    ctf: Real
    variance: Real
    base: Real
    masked_pixels: Real


def slow_image(
    particles: Particles,
    row: int,
    model: HalfModel,
    preparation: ImagePreparation,
    *,
    shift_px: Real,
    norm: float,
) -> SlowImage:
    """Prepare one image step by step; the fill outside the mask is the background's mean."""
    image = particles.images.read(torch.tensor([row]))[0].numpy().astype(float)
    n = len(image)
    coordinates = packed_coordinates(n, n // 2)
    outside = radius_grid(n) > preparation.mask_radius_px
    if preparation.normalize_background:
        image = (image - image[outside].mean()) / image[outside].std()
    image = image * (model.average_norm / norm)
    base = np.round(shift_px)
    image = np.roll(image, (int(base[1]), int(base[0])), axis=(0, 1))
    mask = soft_mask(n, preparation.mask_radius_px)
    masked = image * mask + image[outside].mean() * (1 - mask)
    group = int(particles.optics_group_index[row])
    sigma2 = model.sigma2_noise[group].double().numpy()
    scale = float(model.group_scale[particles.group_index[row]])
    return SlowImage(
        transform(masked, coordinates),
        transform(image, coordinates),
        scale * contrast(particles, row, coordinates),
        sigma2[coordinates.shell.numpy()],
        base,
        masked,
    )


@pytest.fixture(name="particles_of")
def particles_fixture() -> Callable[..., Particles]:
    """Return the maker of particles."""
    return particles_of


@pytest.fixture(name="optics")
def optics_fixture() -> Callable[..., OpticsGroup]:
    """Return the maker of optics groups."""
    return optics


@pytest.fixture(name="model_of")
def model_fixture() -> Callable[..., HalfModel]:
    """Return the maker of models."""
    return model_of


@pytest.fixture(name="slow_image")
def slow_image_fixture() -> Callable[..., SlowImage]:
    """Return the slow reference of image preparation."""
    return slow_image


@pytest.fixture(name="soft_mask")
def soft_mask_fixture() -> Callable[..., Real]:
    """Return the slow reference of the circular mask."""
    return soft_mask
