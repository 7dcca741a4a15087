"""The one door to a refinement, for the command line, the plugin and a notebook alike."""

import os
from collections.abc import Generator
from dataclasses import replace

import torch
from torch import Tensor

from napari_blush.data_model.particles import Particles
from napari_blush.data_model.poses import Poses
from napari_blush.data_model.results import RefinementResult
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import RefinementError
from napari_blush.likelihood.half_model import HalfModel
from napari_blush.likelihood.prepared_images import MASK_EDGE_PX
from napari_blush.likelihood.spectra import initial_sigma2_noise
from napari_blush.likelihood.work_budget import WorkBudget
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.healpix import n_pixels
from napari_blush.numerics.packing import packed_coordinates
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.slice_extraction import slice_backend
from napari_blush.refine.auto_refine import auto_refine
from napari_blush.refine.context import RefinementContext
from napari_blush.refine.events import Message, RefinementEvent, RunStarted
from napari_blush.refine.half_comparison import spherical_solvent
from napari_blush.refine.inputs import checked_mask, checked_particles, checked_reference
from napari_blush.refine.schedule import Geometry, first_sampling, particle_diameter
from napari_blush.refine.state import Progress, RefinementState, random_halves
from napari_blush.refine.steering import Steering
from napari_blush.regularization.registry import make_regularizer
from napari_blush.regularization.regularizer import Regularizer

GIBI = 2**30
INITIAL_SIGMA_OFFSET = 10.0  # angstrom, RELION's start value


def run(
    settings: RefinementSettings,
    particles: Particles,
    reference: tuple[Tensor, float],
    *,
    mask: tuple[Tensor, float] | None = None,
    resume_from: RefinementState | None = None,
    steering: Steering | None = None,
    regularizer: Regularizer | None = None,
) -> Generator[RefinementEvent, None, RefinementResult]:
    """Refine particles against a start map; a generator of events that ends with ``RunFinished``.

    Pause by not asking for the next event; cancel with ``close()``; steer through ``steering``.
    The latency of all three is one particle batch.

    Parameters
    ----------
    settings : RefinementSettings
    particles : Particles
        Halves are taken from ``random_subset`` or drawn from ``settings.seed``.
    reference : ((n, n, n) tensor, float)
        Start map and its voxel size in angstrom; rescaled, padded or cropped to the particles.
    mask : ((n, n, n) tensor, float), optional
        Solvent mask with values in [0, 1] and its voxel size.
    resume_from : RefinementState, optional
        A state from an ``IterationFinished`` of the same run: it goes on exactly from there.
    steering : Steering, optional
    regularizer : Regularizer, optional
        Instead of the one that ``settings.regularizer`` names.

    Raises
    ------
    SettingsError, RefinementError
        In one sentence, before anything is computed, when the input cannot be refined.
    """
    device = chosen_device(settings)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    messages = device_messages(settings, device)
    with torch.no_grad():
        checks = checked_particles(particles, settings)
        messages += checks.messages
        geometry = Geometry(
            checks.box_size,
            checks.pixel_size,
            particle_diameter(settings, checks.box_size, checks.pixel_size),
        )
        volume, notes = checked_reference(*reference, geometry)
        messages += notes
        solvent_mask = None
        if mask is not None:
            solvent_mask, notes = checked_mask(*mask, geometry)
            messages += notes
        context = make_context(
            settings,
            particles,
            geometry,
            solvent_mask,
            device,
            checks.normalize_background,
            regularizer,
        )
        state = resume_from or first_state(context, volume)
        halves = tuple(int((state.random_subset == half).sum()) for half in (1, 2))
        if min(halves) == 0:
            raise RefinementError(
                f"The halves have {halves[0]} and {halves[1]} particles; wanted some in each; "
                "give more particles or correct rlnRandomSubset."
            )
        yield RunStarted(
            len(particles),
            (halves[0], halves[1]),
            geometry.box_size,
            geometry.pixel_size,
            state.iteration + 1,
            str(device),
            slice_backend(device),
        )
        yield from messages
        return (yield from auto_refine(context, state, steering or Steering()))


def chosen_device(settings: RefinementSettings) -> torch.device:
    """Return the device that the settings ask for.

    Raises
    ------
    RefinementError
        When it is not there.
    """
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if settings.device == "auto":
        return torch.device("cuda" if available["cuda"] else "cpu")
    if not available[settings.device]:
        raise RefinementError(
            f"Device {settings.device!r} was asked for and PyTorch does not see one; wanted one of "
            f"{', '.join(name for name, there in available.items() if there)}; choose --device or "
            "install PyTorch for your accelerator."
        )
    return torch.device(settings.device)


def device_messages(settings: RefinementSettings, device: torch.device) -> list[Message]:
    """Return what the user must know about where and how it runs."""
    messages = []
    if device.type == "cpu" and settings.device == "auto":
        messages.append(Message("No CUDA device found: running on the CPU.", warning=True))
    if device.type == "cpu" and slice_backend(device) != "numba":
        messages.append(
            Message(
                "numba is not installed: projections run several times slower; "
                "install napari-blush[cpu].",
                warning=True,
            )
        )
    return messages


def memory_limit_bytes(settings: RefinementSettings, device: torch.device) -> int:
    """Return how much working memory may be used: as set, or half of what is free."""
    if settings.memory_limit is not None:
        return int(settings.memory_limit * GIBI)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free // 2
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 4 * GIBI
    return free // 2


def make_context(
    settings: RefinementSettings,
    particles: Particles,
    geometry: Geometry,
    mask: Tensor | None,
    device: torch.device,
    normalize_background: bool,
    regularizer: Regularizer | None,
) -> RefinementContext:
    """Return the fixed part of a run."""
    solvent = mask
    if solvent is None:
        diameter_px = geometry.particle_diameter / geometry.pixel_size
        solvent = spherical_solvent(geometry.box_size, diameter_px)
    return RefinementContext(
        settings=settings,
        particles=particles,
        geometry=geometry,
        coordinates=packed_coordinates(geometry.box_size, geometry.box_size // 2, device),
        solvent=solvent,
        mask=mask,
        operators=symmetry_operators(settings.symmetry),
        regularizer=regularizer or make_regularizer(settings.regularizer),
        device=device,
        budget=WorkBudget.for_device(device.type, memory_limit_bytes(settings, device)),
        normalize_background=normalize_background,
    )


def first_state(context: RefinementContext, reference: Tensor) -> RefinementState:
    """Return the state before the first iteration."""
    settings, particles, geometry = context.settings, context.particles, context.geometry
    subset = particles.random_subset
    if bool((subset == 0).any()):
        subset = random_halves(len(particles), settings.seed)
    if settings.initial_low_pass is not None:
        reference = low_pass(reference, geometry.pixel_size, settings.initial_low_pass)
    sampling = first_sampling(settings, geometry)
    models = tuple(
        first_model(
            context, reference, torch.nonzero(subset == half).flatten(), sampling.healpix_order
        )
        for half in (1, 2)
    )
    limit = settings.initial_low_pass or 2 * geometry.pixel_size
    shell = round(geometry.box_size * geometry.pixel_size / limit)
    return RefinementState(
        iteration=0,
        models=(models[0], models[1]),
        poses=particles.poses if particles.has_poses else Poses.identity(len(particles)),
        norm=torch.ones(len(particles), dtype=torch.float64),
        random_subset=subset,
        sampling=sampling,
        accuracy=None,
        progress=replace(Progress(), resolution_shell=shell),
    )


def first_model(
    context: RefinementContext, reference: Tensor, index: Tensor, order: int
) -> HalfModel:
    """Return the model of a half before the first iteration."""
    shells = context.geometry.box_size // 2 + 1
    radius = context.geometry.particle_diameter / 2 / context.geometry.pixel_size
    noise = initial_sigma2_noise(
        context.particles,
        index,
        context.coordinates.to("cpu"),
        radius,
        MASK_EDGE_PX,
        normalize_background=context.normalize_background,
    )
    return HalfModel(
        reference=reference * context.solvent,
        sigma2_noise=noise,
        sigma_offset_angstrom=INITIAL_SIGMA_OFFSET,
        pdf_direction=torch.full((n_pixels(order),), 1 / n_pixels(order)),
        pdf_order=order,
        group_scale=torch.ones(len(context.particles.group_names)),
        average_norm=1.0,
        data_vs_prior=torch.zeros(shells),
        tau2=torch.zeros(shells),
    )
