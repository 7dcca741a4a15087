"""Two runs side by side: planted gains, planted inventions, and what cannot be compared."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch
from scipy.spatial.transform import Rotation

from napari_blush.errors import RunFolderError
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.filters import high_pass
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.simulation.phantoms import random_blobs
from napari_blush.validation.lights import Light
from napari_blush.validation.run_comparison import Refined, compare_runs
from napari_blush.validation.run_comparison_page import comparison_sections, picture_of

BOX, VOXEL, N = 32, 3.0, 40


@pytest.fixture(scope="module")
def truth():
    blobs = random_blobs(
        torch.Generator().manual_seed(2), n_blobs=40, radius_px=7.5, sigma_px=(0.7, 1.2)
    )
    return blobs.volume(BOX)


@pytest.fixture(scope="module")
def mask():
    return soft_sphere(BOX, 10.5, 3.0)


def refined(name: str, density: torch.Tensor, noise: float, seed: int) -> Refined:
    """A run whose halves are a density and independent noise."""
    generator = torch.Generator().manual_seed(seed)
    halves = [density + noise * torch.randn(density.shape, generator=generator) for _ in range(2)]
    rotations = torch.from_numpy(Rotation.random(N, rng=1).as_matrix())
    return Refined(name, *halves, VOXEL, tuple(f"{i}@a.mrcs" for i in range(N)), rotations)


@pytest.fixture(scope="module")
def baseline(truth):
    return refined("baseline", truth, 0.5 * float(truth.std()), 1)


@pytest.fixture(scope="module")
def invented(truth, mask):
    """Detail that both halves share and that is not there."""
    wrong = random_blobs(
        torch.Generator().manual_seed(9), n_blobs=80, radius_px=8.5, sigma_px=(0.6, 0.7)
    )
    detail = high_pass(wrong.volume(BOX), VOXEL, 12.0) * mask
    return refined("other", truth + detail * (truth.std() / detail.std()), 0.1, 2)


def check(found, name: str):
    return next(check for check in found.checks if check.name == name)


def test_less_noise_is_a_gain_that_the_known_density_confirms(truth, mask, baseline) -> None:
    better = refined("other", truth, 0.2 * float(truth.std()), 2)
    found = compare_runs(baseline, better, mask, truth=truth)
    lights = {one.name: one.light for one in found.checks}
    assert set(lights.values()) == {Light.GREEN}
    assert "more of the known density in other" in (
        check(found, "mean FSC with the known density").sentence
    )
    expected = fourier_shell_correlation(better.average * mask, truth * mask)
    # The known density may move by a hundredth of a voxel before it is compared.
    assert (found.second.against.fsc - expected).abs().max() < 0.01
    promised = found.second.report.resolution.fsc.corrected.clamp(min=0)
    there = found.second.against.fsc
    last = int((promised[1:] < 0.143).nonzero()[0]) if (promised[1:] < 0.143).any() else BOX // 2
    gap = ((2 * promised / (1 + promised)).sqrt() - there)[1 : last + 1].mean()
    assert found.second.against.gap == pytest.approx(float(gap), abs=1e-5)


@pytest.fixture(scope="module")
def with_inventions(truth, mask, baseline, invented):
    return compare_runs(baseline, replace(invented, cutoff_shell=9), mask, truth=truth)


def test_what_both_halves_made_up_is_red(with_inventions) -> None:
    found = with_inventions
    claimed = [one.report.resolution.resolution for one in (found.first, found.second)]
    assert claimed[1] <= claimed[0]
    assert check(found, "promised and not there").light is Light.RED
    assert check(found, "mean FSC with the known density").light is Light.RED


def test_half_maps_alone_confirm_nothing(mask, baseline, invented) -> None:
    found = compare_runs(baseline, invented, mask)
    assert found.second.against is None
    assert check(found, "confirmed by").light is Light.YELLOW
    assert not [one for one in found.checks if "known density" in one.name]


def test_a_run_that_drifted_is_compared_where_it_lies(truth, mask, baseline) -> None:
    drifted = replace(
        baseline, name="drifted", half1=baseline.half1.roll(1, 2), half2=baseline.half2.roll(1, 2)
    )
    found = compare_runs(baseline, drifted, mask, truth=truth)
    assert found.second.against.placement.distance_angstrom == pytest.approx(VOXEL, abs=0.3)
    assert found.second.against.mean == pytest.approx(found.first.against.mean, abs=0.02)


def test_poses_are_compared_by_image_and_symmetry_mate(mask, baseline) -> None:
    turn = torch.from_numpy(Rotation.from_rotvec([0, 0, 0.1]).as_matrix())
    mates = symmetry_operators("C2")
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    moved = mates[1] @ baseline.rotations @ turn
    other = replace(
        baseline,
        name="other",
        rotations=moved[order],
        particles=tuple(baseline.particles[int(i)] for i in order),
    )
    found = compare_runs(baseline, other, mask, operators=mates)
    assert check(found, "poses apart").value == "5.7 deg"
    alone = compare_runs(baseline, other, mask)
    assert (
        "100 %" in check(alone, "poses apart").sentence
        or float(check(alone, "poses apart").value.split()[0]) > 10
    )


def test_a_part_of_the_particles_is_told(mask, baseline) -> None:
    fewer = replace(
        baseline, name="fewer", particles=baseline.particles[:30], rotations=baseline.rotations[:30]
    )
    found = compare_runs(baseline, fewer, mask)
    assert any("Only 30 of 40 particles" in note for note in found.notes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"voxel_size": 2.0}, "32 voxels of 3 A and other 32 of 2 A"),
        ({"particles": tuple(f"{i}@b.mrcs" for i in range(N))}, "No particle of baseline"),
    ],
)
def test_runs_of_something_else_are_refused(mask, baseline, change, said) -> None:
    with pytest.raises(RunFolderError, match=said):
        compare_runs(baseline, replace(baseline, name="other", **change), mask)


def test_page_and_picture_name_both_runs(with_inventions) -> None:
    found = with_inventions
    sections = comparison_sections(found)
    assert [section.title for section in sections] == ["other by baseline", "baseline", "other"]
    picture = ElementTree.fromstring(picture_of(found))
    texts = {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"baseline: half-maps", "other: known density", "other cut off"} <= texts
    lines = [line.get("stroke") for line in picture.iter("{http://www.w3.org/2000/svg}polyline")]
    assert lines[0] == lines[2] != lines[1] == lines[3]
