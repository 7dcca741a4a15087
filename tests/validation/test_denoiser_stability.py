"""Recycling, movements and changes by shell, for denoisers whose answers are known."""

import math

import pytest
import torch
from torch import Tensor

from napari_blush.numerics.filters import low_pass_at_shell, randomize_phases
from napari_blush.numerics.masks import soft_sphere
from napari_blush.simulation.phantoms import random_blobs
from napari_blush.validation.denoiser_checks import (
    confirmation_check,
    deviation_check,
    recycling_check,
    stability_section,
)
from napari_blush.validation.denoiser_stability import (
    MOVES,
    Deviation,
    deviation,
    moved,
    recycling,
    shell_change,
)
from napari_blush.validation.lights import Light

BOX = 24
MASK = soft_sphere(BOX, 8.0, 2.0)


@pytest.fixture
def halves(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    signal = random_blobs(generator, n_blobs=60, radius_px=7.0).volume(BOX)
    first, second = (signal + 0.2 * torch.randn(3 * (BOX,), generator=generator) for _ in (1, 2))
    return first, second


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.name)
@pytest.mark.parametrize("box", [8, 9])
def test_a_movement_is_undone_and_keeps_the_origin(move, box, generator: torch.Generator) -> None:
    volume = torch.randn(box, box, box, generator=generator)
    there = move(volume)
    assert torch.equal(move.undone(there), volume)
    assert not torch.equal(there, volume)
    assert there[3 * (box // 2,)] == volume[3 * (box // 2,)]
    # A movement about the origin only moves coefficients about: powers of shells stay.
    a, b = (torch.fft.fftn(each).abs().flatten().sort().values for each in (volume, there))
    torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-4)


def test_the_movements_are_what_they_are_called(generator: torch.Generator) -> None:
    # A point on each axis (z, y, x) away from the origin at voxel 4 of 8.
    names = {"90° about z": 0, "90° about y": 1, "90° about x": 2}
    for move in MOVES[:3]:
        for axis in range(3):
            volume = torch.zeros(8, 8, 8)
            place = [4, 4, 4]
            place[axis] = 6
            volume[tuple(place)] = 1
            stays = torch.equal(move(volume), volume)
            assert stays == (axis == names[move.name])


def smooth(volume: Tensor, mask: Tensor) -> Tensor:
    return low_pass_at_shell(volume, 6.0) * mask


def lopsided(volume: Tensor, mask: Tensor) -> Tensor:
    return smooth(volume, mask) + 0.8 * smooth(volume, mask).roll(2, dims=2)


def of(denoise, halves: tuple[Tensor, Tensor]) -> list[Deviation]:
    made = [denoise(half, MASK) for half in halves]
    return [
        deviation(move.name, moved(move, halves[0], MASK, denoise), *made, MASK) for move in MOVES
    ]


def test_a_filter_does_not_know_its_axes(halves: tuple[Tensor, Tensor]) -> None:
    found = of(smooth, halves)
    assert max(each.share for each in found) < 1e-4
    assert deviation_check("moves", found).light is Light.GREEN


def test_a_denoiser_that_knows_its_axes_is_red(halves: tuple[Tensor, Tensor]) -> None:
    found = of(lopsided, halves)
    by_name = {each.name: each for each in found}
    # Turned over along y or z, a map that is smeared along x is smeared along x.
    assert by_name["mirrored y"].share < 1e-4 < 0.3 < by_name["mirrored x"].share
    assert deviation_check("moves", found).light is Light.RED
    assert "mirrored" in deviation_check("moves", [by_name["mirrored x"]]).sentence


def test_the_difference_is_that_written_out(generator: torch.Generator) -> None:
    a, b, c = torch.randn(3, 6, 6, 6, generator=generator)
    mask = torch.ones(6, 6, 6)
    found = deviation("x", b, a, c, mask)
    assert found.share == pytest.approx(math.sqrt(float(((a - b) ** 2).sum() / (a**2).sum())), 1e-5)
    assert found.by_halves == pytest.approx(float((a - b).norm() / (a - c).norm()), rel=1e-5)
    # Halves that are all but equal do not make a small difference large.
    assert deviation("x", 1.01 * a, a, a, mask).by_halves == pytest.approx(0.2, rel=1e-3)


@pytest.mark.parametrize(
    ("factor", "light"),
    [(1.0, Light.GREEN), (1.015, Light.YELLOW), (1.1, Light.RED), (0.9, Light.RED)],
)
def test_power_that_runs_away_is_seen(
    factor: float, light: Light, halves: tuple[Tensor, Tensor]
) -> None:
    passes = [factor**k * 0.8 * halves[0] for k in range(1, 6)]
    found = recycling(halves[0], passes, MASK)
    wanted = torch.tensor([0.64 * factor ** (2 * k) for k in range(1, 6)], dtype=torch.float64)
    torch.testing.assert_close(found.power, wanted, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.solvent_power, wanted, rtol=1e-5, atol=0)
    assert found.growth == pytest.approx(factor**2, rel=1e-5)
    assert recycling_check(found).light is light
    assert found.fsc.min() > 0.999


def test_changes_by_shell(generator: torch.Generator) -> None:
    given = torch.randn(BOX, BOX, BOX, generator=generator)
    random = shell_change(given, 0.5 * randomize_phases(given, 6, generator))
    torch.testing.assert_close(random.amplitude, torch.full((BOX // 2 + 1,), 0.5))
    assert random.phase_deg[:6].max() < 0.1
    assert random.phase_deg[7:].sub(90).abs().max() < 15
    assert random.fsc[:6].min() > 0.999 and random.fsc[7:].abs().max() < 0.25
    # Turned by 40 degrees wherever a phase can be: half one way, half the other, as a real map is.
    transform = torch.fft.rfftn(given)
    turn = torch.polar(torch.ones(()), torch.tensor(math.radians(40.0)))
    turned = torch.fft.irfftn(transform * turn, s=given.shape)
    inner = shell_change(given, turned).phase_deg[3:-1]
    assert 30 < inner.min() and inner.max() < 41
    empty = shell_change(given, torch.zeros_like(given))
    assert torch.equal(empty.phase_deg, torch.full((BOX // 2 + 1,), 90.0))


def test_a_half_that_loses_what_the_other_has_is_red() -> None:
    as_given = torch.tensor([1.0, 0.9, 0.8, 0.6, 0.1, 0.0])
    better = as_given + torch.tensor([0.0, 0.02, 0.05, 0.1, -0.1, 0.0])
    assert confirmation_check(as_given, better, 3).light is Light.GREEN
    assert confirmation_check(as_given, as_given - 0.03, 3).light is Light.YELLOW
    worse = confirmation_check(as_given, as_given - 0.1, 3)
    assert (worse.light, worse.value) == (Light.RED, "-0.100")


def test_the_section_holds_all(halves: tuple[Tensor, Tensor]) -> None:
    made = [smooth(half, MASK) for half in halves]
    recycled = recycling(halves[0], [made[0], smooth(made[0], MASK)], MASK)
    moves = of(smooth, halves)
    other = [deviation("other", 0.9 * made[0], *made, MASK)]
    section = stability_section(recycled, moves, other, 3.0, {"trailing": 5})
    assert [check.name for check in section.checks] == [
        "power when recycled",
        "movements of the block grid",
        "other weights",
    ]
    assert len(section.drawings) == 3
    assert all("trailing" in drawing for drawing in section.drawings[1:])
    assert "mirrored x 0.0 %" in section.notes[1]
