"""The state before the first iteration: a filtered start map, a noise estimate, two halves."""

from dataclasses import replace

import torch
from torch import Tensor

from napari_blush.data_model.poses import Poses
from napari_blush.likelihood.half_model import HalfModel
from napari_blush.likelihood.prepared_images import MASK_EDGE_PX
from napari_blush.likelihood.spectra import initial_sigma2_noise
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.healpix import n_pixels
from napari_blush.refine.context import RefinementContext
from napari_blush.refine.schedule import first_sampling
from napari_blush.refine.state import Progress, RefinementState, random_halves

INITIAL_SIGMA_OFFSET = 10.0  # angstrom, RELION's start value


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
