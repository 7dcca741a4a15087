"""A tiny set of particles with everything that can differ between images, and slow references.

The references share nothing with the package but its conventions: numpy, float64, explicit sums.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.particles import ImagesInMemory, Particles
from napari_blush.data_model.poses import Poses
from napari_blush.data_model.results import SamplingState
from napari_blush.likelihood.expectation import Expectation
from napari_blush.likelihood.half_model import HalfModel
from napari_blush.likelihood.pose_scoring import ExpectationOptions
from napari_blush.likelihood.posterior_sums import PosteriorSums
from napari_blush.likelihood.prepared_images import MASK_EDGE_PX, ImagePreparation, ImagePreparer
from napari_blush.likelihood.search_plan import SearchPlan, make_search_plan
from napari_blush.likelihood.slice_bank import SliceBank
from napari_blush.likelihood.weighted_sums import ImageOutcomes, WeightedSums
from napari_blush.likelihood.work_budget import WorkBudget
from napari_blush.numerics.fft import irfft2_centered, rfft2_centered
from napari_blush.numerics.orientation_grid import asymmetric_pixels, change_pixel_order
from napari_blush.numerics.packing import PackedCoordinates, pack, packed_coordinates, unpack
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import random_rotations
from napari_blush.numerics.shells import shell_index_grid
from napari_blush.numerics.slice_extraction import CentralSlices
from napari_blush.numerics.slice_insertion import SliceAccumulator
from napari_blush.simulation.phantoms import random_blobs

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
    (m00, m01), (m10, m11) = group.magnification_matrix
    kx, ky = m00 * kx + m01 * ky, m10 * kx + m11 * ky
    u2, angle = kx**2 + ky**2, np.arctan2(ky, kx)
    u, v, astigmatism = particles.defocus[row].tolist()
    defocus = (u + v) / 2 + (u - v) / 2 * np.cos(2 * (angle - np.radians(astigmatism)))
    gamma = np.pi / 2 * group.spherical_aberration_mm * 1e7 * wavelength**3 * u2**2
    gamma = gamma - np.pi * wavelength * defocus * u2 - np.arcsin(group.amplitude_contrast)
    gamma = gamma - np.radians(float(particles.phase_shift_deg[row]))
    envelope = np.exp(-float(particles.ctf_b_factor[row]) * u2 / 4)
    return -np.sin(gamma) * envelope * float(particles.ctf_scale[row])


def masked_noise_spectrum(box_size: int, radius_px: float, spectrum: Real) -> Real:
    """Return the variance of the real part, by shell, of noise seen through the circular mask.

    Masking and filling with the background's mean is a matrix; so is the transform; noise of power
    ``spectrum`` (n, n) in the units of ``FT / n`` goes through both.
    """
    n = box_size
    coordinates = packed_coordinates(n, n // 2)
    mask = soft_mask(n, radius_px).ravel()
    outside = (radius_grid(n) > radius_px).ravel()
    matrix = np.diag(mask) + np.outer(1 - mask, outside / outside.sum())
    axis = np.arange(n) - n // 2
    y, x = (grid.ravel() for grid in np.meshgrid(axis, axis, indexing="ij"))
    turns = np.outer(coordinates.kx.numpy(), x) + np.outer(coordinates.ky.numpy(), y)
    rows = np.exp(-2j * np.pi * turns / n) / n @ matrix
    power = np.abs(np.fft.fft2(rows.reshape(-1, n, n))) ** 2 * spectrum / n**2
    shell = coordinates.shell.numpy()
    total = np.bincount(shell, power.sum((1, 2)), minlength=n // 2 + 1)
    counts = np.bincount(shell, minlength=n // 2 + 1)
    return total[: n // 2 + 1] / (2 * np.maximum(counts, 1))[: n // 2 + 1]


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


@dataclass(frozen=True)
class Problem:
    """An E-step that is small enough to be done by brute force.

    ``orders`` are the exhaustive order and that of the sampling; the last pass is
    ``oversampling`` orders finer. Shifts are in pixels of ``PIXEL_SIZE``.
    """

    particles: Particles
    model: HalfModel
    true_shifts_px: torch.Tensor
    orders: tuple[int, int] = (0, 0)
    oversampling: int = 1
    local_sigma_deg: float | None = None
    perturbation: float = 0.2
    offset_range_px: float = 2.0
    offset_step_px: float = 2.0
    signal_r_max: int = 6
    insert_r_max: int = 7
    fraction: float = 0.999
    cross_correlation: bool = False
    zero_mask: bool = True
    symmetry: str = "C1"
    keep_tables: bool = True
    budget: WorkBudget = field(default_factory=lambda: WorkBudget(32, 2**19, 2**24, 2**28))

    @property
    def box_size(self) -> int:
        """Edge of the images."""
        return self.model.reference.shape[0]

    @property
    def coordinates(self) -> PackedCoordinates:
        """All coefficients of the images."""
        return packed_coordinates(self.box_size, self.box_size // 2)

    @property
    def preparation(self) -> ImagePreparation:
        """How images are treated: a mask of three eighths of the box."""
        return ImagePreparation(
            mask_radius_px=0.375 * self.box_size,
            zero_mask=self.zero_mask,
            whiten=not self.cross_correlation,
        )

    @property
    def plan(self) -> SearchPlan:
        """The passes."""
        sampling = SamplingState(
            healpix_order=self.orders[1],
            adaptive_oversampling=self.oversampling,
            offset_range_angstrom=self.offset_range_px * PIXEL_SIZE,
            offset_step_angstrom=self.offset_step_px * PIXEL_SIZE,
            local_search_sigma_deg=self.local_sigma_deg,
            perturbation=self.perturbation,
        )
        return make_search_plan(
            sampling,
            box_size=self.box_size,
            pixel_size=PIXEL_SIZE,
            particle_diameter=0.75 * self.box_size * PIXEL_SIZE,
            current_size=2 * self.insert_r_max,
            exhaustive_order=self.orders[0],
        )

    def direction_log_priors(self) -> list[torch.Tensor]:
        """Return the log prior of each level's pixels."""
        operators, plan = symmetry_operators(self.symmetry), self.plan
        last = plan.levels[-1].grid.order
        priors = []
        for level in plan.levels:
            order = level.grid.order
            pdf = change_pixel_order(self.model.pdf_direction, self.model.pdf_order, order)
            prior = torch.log(pdf)
            if self.local_sigma_deg is None:
                outside = torch.ones(level.grid.n_pixels, dtype=torch.bool)
                outside[asymmetric_pixels(order, operators, descend=last - order)] = False
                prior[outside] = -torch.inf
            priors.append(prior)
        return priors

    def run(self, index: torch.Tensor | None = None) -> tuple[WeightedSums, ImageOutcomes]:
        """Run the E-step of all particles, or of some of them."""
        index = torch.arange(len(self.particles)) if index is None else index
        plan, n, device = self.plan, self.box_size, torch.device("cpu")
        preparer = ImagePreparer(self.particles, self.coordinates, device, self.preparation)
        projector = CentralSlices(self.model.reference / n, r_max=self.signal_r_max)
        priors = self.direction_log_priors()
        banks = []
        for number, (level, prior) in enumerate(zip(plan.levels, priors, strict=True)):
            r_max = min(level.r_max, self.signal_r_max)
            bank = SliceBank(
                projector,
                level.grid,
                self.coordinates,
                r_max=r_max,
                perturbation=plan.perturbation,
                slice_matrix=preparer.slice_matrix(0),
            )
            if self.local_sigma_deg is None and (number == 0 or self.keep_tables):
                pixels = torch.nonzero(torch.isfinite(prior)).flatten()
                bank.cover(pixels, keep=self.keep_tables)
            banks.append(bank)

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(*shape, dtype=torch.float64)

        groups, scales = len(self.particles.optics_groups), len(self.particles.group_names)
        sums = WeightedSums(
            SliceAccumulator(n, r_max=self.insert_r_max),
            zeros(groups, n // 2 + 1),
            zeros(groups),
            0.0,
            zeros(len(self.model.pdf_direction)),
            zeros(scales),
            zeros(scales),
        )
        outcomes = ImageOutcomes.empty(len(index))
        posterior_sums = PosteriorSums(
            sums,
            outcomes,
            self.particles,
            self.model,
            self.coordinates,
            self.coordinates.count(self.insert_r_max),
        )
        options = ExpectationOptions(
            self.fraction, self.cross_correlation, self.signal_r_max, self.insert_r_max
        )
        step = Expectation(
            self.model, plan, preparer, banks, priors, posterior_sums, options, self.budget
        )
        norm = self.particles.norm_correction
        done = list(step.run(index, torch.arange(len(index)), self.particles.poses, norm))
        assert done[-1] == len(index)
        return sums, outcomes


def problem_of(
    *,
    n_images: int = 4,
    box_size: int = 16,
    noise: float = 1.0,
    seed: int = 1,
    groups: tuple[OpticsGroup, ...] | None = None,
    **changes: Any,
) -> Problem:
    """Return images of a phantom at random poses, with the model's noise times ``noise``."""
    generator = torch.Generator().manual_seed(seed)
    phantom = random_blobs(generator, n_blobs=7, radius_px=0.22 * box_size, sigma_px=(1.1, 1.8))
    volume = 0.5 * phantom.volume(box_size)
    blank = torch.zeros(n_images, box_size, box_size)
    particles = particles_of(blank, groups=groups, seed=seed)
    model = model_of(volume)
    shifts = particles.poses.shifts_angstrom / PIXEL_SIZE
    # The old origins that a search starts from are a little off.
    found = shifts + 0.7 * torch.randn(n_images, 2, generator=generator)
    coordinates = packed_coordinates(box_size, box_size // 2)
    images = phantom.projections(particles.poses.rotations, box_size, shifts) * 0.5
    spectrum = pack(rfft2_centered(images), coordinates)
    ctf = np.stack([contrast(particles, row, coordinates) for row in range(n_images)])
    scale = model.group_scale[particles.group_index][:, None]
    spectrum = spectrum * scale * torch.from_numpy(ctf).float()
    images = irfft2_centered(unpack(spectrum, coordinates), box_size)
    shell = shell_index_grid(box_size, 2).clamp(max=box_size // 2)
    deviation = torch.sqrt(2 * model.sigma2_noise)[:, shell][particles.optics_group_index]
    drawn = torch.fft.rfft2(torch.randn(images.shape, generator=generator))
    images = images + noise * torch.fft.irfft2(drawn * deviation, s=images.shape[1:])
    norm = particles.norm_correction / model.average_norm
    particles = replace(
        particles,
        images=ImagesInMemory(images * norm[:, None, None].float()),
        poses=Poses(particles.poses.rotations, found * PIXEL_SIZE),
    )
    return Problem(particles, model, shifts, **changes)


@pytest.fixture(name="problem_of")
def problem_fixture() -> Callable[..., Problem]:
    """Return the maker of tiny E-steps."""
    return problem_of


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


@pytest.fixture(name="masked_noise_spectrum")
def masked_noise_spectrum_fixture() -> Callable[..., Real]:
    """Return the slow reference of what a mask makes of noise."""
    return masked_noise_spectrum
