"""What half-maps alone can tell: a right pair is green, and each planted fault has its light."""

import pytest
import torch

from napari_blush.numerics.masks import soft_sphere
from napari_blush.simulation.phantoms import random_blobs
from napari_blush.validation.half_map_checks import HalfMapReport, half_map_report
from napari_blush.validation.lights import Check, Light, light_of, table_lines, worst_light
from napari_blush.validation.resolution import resolution_report

BOX, VOXEL = 48, 3.0
Maps = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def signal() -> torch.Tensor:
    generator = torch.Generator().manual_seed(8)
    phantom = random_blobs(generator, n_blobs=150, radius_px=11.0, sigma_px=(1.0, 1.4))
    return phantom.volume(BOX)


@pytest.fixture(scope="module")
def halves(signal: torch.Tensor) -> Maps:
    generator = torch.Generator().manual_seed(9)
    noise = 0.4 * torch.randn(2, BOX, BOX, BOX, generator=generator)
    return signal + noise[0], signal + noise[1]


@pytest.fixture(scope="module")
def mask() -> torch.Tensor:
    return soft_sphere(BOX, 14.0, 4.0)


def judged(halves: Maps, mask: torch.Tensor) -> HalfMapReport:
    return half_map_report(*halves, resolution_report(*halves, VOXEL, mask=mask))


def lights(report: HalfMapReport) -> dict[str, Light]:
    return {check.name: check.light for check in report.checks}


def test_a_right_pair_is_green(halves: Maps, mask: torch.Tensor) -> None:
    found = lights(judged(halves, mask))
    assert len(found) == 5
    assert set(found.values()) == {Light.GREEN}


def test_noise_copied_into_both_halves_shows_in_the_solvent(
    halves: Maps, mask: torch.Tensor, generator: torch.Generator
) -> None:
    copied = 0.6 * torch.randn(BOX, BOX, BOX, generator=generator)
    found = lights(judged((halves[0] + copied, halves[1] + copied), mask))
    assert found["FSC of the solvent"] is Light.RED
    assert found["FSC at Nyquist"] is Light.YELLOW
    # What the half-maps' own figures say of it: nothing.
    assert found["resolution"] is found["made by the mask"] is Light.GREEN


def test_hand_and_voxel_size_are_beyond_half_maps(halves: Maps, mask: torch.Tensor) -> None:
    mirrored = tuple(half.flip(0).roll(1, 0) for half in halves)
    assert set(lights(judged((mirrored[0], mirrored[1]), mask)).values()) == {Light.GREEN}
    report = resolution_report(*halves, 1.02 * VOXEL, mask=mask)
    assert set(lights(half_map_report(*halves, report)).values()) == {Light.GREEN}


def test_a_mask_that_cuts_density_is_found(halves: Maps) -> None:
    cut = soft_sphere(BOX, 14.0, 4.0) * (torch.arange(BOX) < BOX // 2 + 3)
    found = lights(judged(halves, cut))
    assert found["density outside the mask"] is Light.RED
    assert found["resolution"] is Light.GREEN


def test_a_mask_that_hugs_the_density_makes_noise_correlate(
    halves: Maps, signal: torch.Tensor
) -> None:
    hugging = (signal > 0.5 * signal.max()).float()
    found = judged(halves, hugging)
    assert lights(found)["made by the mask"] is Light.RED


def test_pure_noise_is_red(generator: torch.Generator, mask: torch.Tensor) -> None:
    half1, half2 = torch.randn(2, BOX, BOX, BOX, generator=generator)
    found = judged((half1, half2), mask)
    assert lights(found)["FSC of the solvent"] is Light.GREEN
    assert found.resolution.resolution > 20


def test_a_mask_of_the_whole_box_leaves_no_solvent_to_judge(halves: Maps) -> None:
    assert judged(halves, torch.ones(BOX, BOX, BOX)).fsc_solvent is None


def test_lights_are_ordered_both_ways() -> None:
    assert [light_of(x, yellow=1, red=2) for x in (0.5, 1.0, 2.0)] == list(Light)
    assert [light_of(x, yellow=2, red=1) for x in (2.5, 2.0, 1.0)] == list(Light)
    assert light_of(float("nan"), yellow=1, red=2) is Light.RED
    checks = [Check("a", "1", Light.GREEN, "x."), Check("longer", "2 A", Light.YELLOW, "y.")]
    assert worst_light(checks) is Light.YELLOW
    assert worst_light([]) is Light.GREEN
    lines = table_lines(checks)
    assert lines[0].index("x.") == lines[1].index("y.")
    assert table_lines([]) == []
