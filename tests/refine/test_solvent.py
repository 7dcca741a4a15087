"""Masks of references and curves: whose data they are made of, and what they leave in."""

from dataclasses import replace

import pytest
import torch

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.refine.context import RefinementContext
from napari_blush.refine.run import prepared_run
from napari_blush.refine.solvent import (
    FIRST_AUTOMATIC,
    fsc_mask,
    is_fsc_corrected,
    reference_masks,
)


@pytest.fixture
def density(asymmetric) -> torch.Tensor:
    return asymmetric.density.float()


@pytest.fixture
def context_with(asymmetric, settings_for):
    """Return a maker of contexts with a wide sphere."""

    def make(mask: torch.Tensor | None = None, **settings: bool) -> RefinementContext:
        chosen = settings_for(particle_diameter=115.0, **settings)
        given = None if mask is None else (mask, asymmetric.pixel_size)
        start = asymmetric.start
        return prepared_run(chosen, asymmetric.particles, start, given, None, None)[0]

    return make


def maps_of(density: torch.Tensor, noise: float) -> HalfMaps:
    generator = torch.Generator().manual_seed(4)
    sd = noise * float(density.std())
    halves = [density + sd * torch.randn(density.shape, generator=generator) for _ in range(2)]
    return HalfMaps(halves[0], halves[1], 4.0)


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_automatic_masks_keep_the_particle_and_leave_solvent_out(
    density, context_with, noise
) -> None:
    context = context_with()
    masks = reference_masks(context, maps_of(density, noise), FIRST_AUTOMATIC)
    for mask in (*masks, fsc_mask(context, maps_of(density, noise))):
        assert float(((density * mask) ** 2).sum() / (density**2).sum()) > 0.97
        assert float(mask.sum()) < 0.9 * float(context.solvent.sum())
        assert 0 <= float(mask.min()) and float(mask.max()) <= 1
        assert bool((mask <= context.solvent + 1e-6).all())


def test_a_half_masks_itself(density, context_with) -> None:
    context, maps = context_with(), maps_of(density, 1.0)
    first, second = reference_masks(context, maps, FIRST_AUTOMATIC)
    poisoned = replace(maps, half2=torch.roll(maps.half2, 9, 0) * 5)
    again, other = reference_masks(context, poisoned, FIRST_AUTOMATIC)
    assert torch.equal(first, again)
    assert not torch.equal(second, other)


def test_a_mask_of_the_user_is_used_for_everything(density, context_with) -> None:
    context = context_with(mask=(density > 0.1 * density.max()).float())
    assert context.mask is not None
    maps = maps_of(density, 1.0)
    assert fsc_mask(context, maps) is context.mask
    assert all(mask is context.mask for mask in reference_masks(context, maps, 5))


@pytest.mark.parametrize(
    ("automatic", "iteration"), [(False, FIRST_AUTOMATIC), (True, FIRST_AUTOMATIC - 1)]
)
def test_otherwise_references_keep_the_sphere(density, context_with, automatic, iteration) -> None:
    context = context_with(automatic_mask=automatic)
    masks = reference_masks(context, maps_of(density, 1.0), iteration)
    assert all(mask is context.solvent for mask in masks)


def test_where_nothing_stands_out_the_sphere_is_the_mask(density, context_with) -> None:
    context = context_with()
    empty = torch.zeros_like(density)
    maps = HalfMaps(empty, empty, 4.0)
    assert fsc_mask(context, maps) is context.solvent
    assert reference_masks(context, maps, FIRST_AUTOMATIC)[0] is context.solvent


@pytest.mark.parametrize(
    ("automatic", "given", "asked", "corrected"),
    [
        (True, False, True, True),
        (False, True, True, True),
        (False, False, True, False),
        (True, True, False, False),
    ],
)
def test_the_corrected_curve_drives_only_masked_references(
    density, context_with, automatic, given, asked, corrected
) -> None:
    mask = (density > 0.1 * density.max()).float() if given else None
    context = context_with(mask, automatic_mask=automatic, solvent_corrected_fsc=asked)
    assert is_fsc_corrected(context) is corrected
