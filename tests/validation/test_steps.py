"""Judgments in steps: how far they are, and that they can be left at any of them."""

from collections.abc import Callable, Generator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch

from napari_blush.io.atoms import AtomicModel
from napari_blush.io.mrc import MapFile
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.masks import soft_mask_from_volume, soft_mask_steps, soft_sphere
from napari_blush.stepwise import result_of
from napari_blush.validation.directional import directional_report, directional_report_steps
from napari_blush.validation.half_map_checks import half_map_report, half_map_report_steps
from napari_blush.validation.local_resolution import locally_filtered, locally_filtered_steps
from napari_blush.validation.model_report import model_report, model_report_steps
from napari_blush.validation.resolution import resolution_report, resolution_report_steps

N, VOXEL = 32, 3.0
Pair = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def halves() -> Pair:
    generator = torch.Generator().manual_seed(2)
    signal = low_pass(torch.randn(N, N, N, generator=generator), VOXEL, 10.0)
    signal = (signal / signal.std() + 1) * soft_sphere(N, 9.0, 3.0)
    first, second = (signal + 0.5 * torch.randn(N, N, N, generator=generator) for _ in (1, 2))
    return first, second


@pytest.fixture(scope="module")
def atoms() -> AtomicModel:
    generator = torch.Generator().manual_seed(3)
    n = 300
    spread = 8.0 * torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return AtomicModel(
        positions=spread.clamp(-24, 24) + N * VOXEL / 2,
        atomic_number=torch.tensor([7, 6, 6] * (n // 3)),
        b_iso=torch.full((n,), 40.0, dtype=torch.float64),
        occupancy=torch.ones(n, dtype=torch.float64),
        chain=("A",) * n,
        residue_name=("GLY",) * n,
        residue_number=torch.arange(n) // 3,
        atom_name=("N", "CA", "C") * (n // 3),
        is_calpha=torch.arange(n) % 3 == 1,
    )


@pytest.fixture(params=["mask", "resolution", "half-maps", "directional", "filtered", "model"])
def judgment(
    request: pytest.FixtureRequest, halves: Pair, atoms: AtomicModel
) -> tuple[Callable[[], Any], Any, int]:
    """Return what gives the steps, what the plain call returns, and how many steps at least."""
    mean = (halves[0] + halves[1]) / 2
    given = MapFile(mean, VOXEL)
    ramp = torch.linspace(7.0, 20.0, N).expand(N, N, N).contiguous()
    mask = soft_sphere(N, 10.0, 3.0)
    whole = resolution_report(*halves, VOXEL)
    found: dict[str, tuple[Callable[[], Generator[float, None, Any]], Callable[[], Any], int]] = {
        "mask": (
            lambda: soft_mask_steps(mean, VOXEL),
            lambda: soft_mask_from_volume(mean, VOXEL),
            5,
        ),
        "resolution": (
            lambda: resolution_report_steps(*halves, VOXEL),
            lambda: resolution_report(*halves, VOXEL),
            15,
        ),
        "half-maps": (
            lambda: half_map_report_steps(*halves, whole),
            lambda: half_map_report(*halves, whole),
            10,
        ),
        "directional": (
            lambda: directional_report_steps(*halves, VOXEL, mask=mask),
            lambda: directional_report(*halves, VOXEL, mask=mask),
            24,
        ),
        "filtered": (
            lambda: locally_filtered_steps(mean, ramp, VOXEL),
            lambda: locally_filtered(mean, ramp, VOXEL),
            16,
        ),
        "model": (
            lambda: model_report_steps(given, atoms, halves=halves),
            lambda: model_report(given, atoms, halves=halves),
            25,
        ),
    }
    steps, plain, least = found[request.param]
    return steps, plain(), least


def test_fractions_rise_and_nothing_is_left_of_what_was_closed(
    judgment: tuple[Callable[[], Any], Any, int], halves: Pair
) -> None:
    steps, expected, least = judgment
    before, random_state = [half.clone() for half in halves], torch.get_rng_state()
    fractions = list(steps())
    assert len(fractions) >= least
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert fractions[-1] < 1.0
    for stop in {1, len(fractions) // 2, len(fractions) - 1}:
        left = steps()
        for _ in range(stop):
            next(left)
        left.close()
        assert left.gi_frame is None
    # Judged once more after all that: the same, to the bit.
    same(result_of(steps()), expected)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(map(torch.equal, halves, before))


def same(found: Any, expected: Any) -> None:
    """Compare reports with tensors in them, field by field."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found.nan_to_num(nan=-9.0), expected.nan_to_num(nan=-9.0))
    elif is_dataclass(expected):
        for each in fields(expected):
            same(getattr(found, each.name), getattr(expected, each.name))
    elif isinstance(expected, tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    else:
        assert found == expected
