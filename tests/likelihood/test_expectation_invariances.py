"""What must not matter to an E-step, and what must: batches, order, parts, paths, backgrounds."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_blush.data_model.particles import ImagesInMemory
from napari_blush.data_model.poses import Poses
from napari_blush.likelihood import expectation
from napari_blush.likelihood.prepared_images import ImagePreparer
from napari_blush.likelihood.weighted_sums import ImageOutcomes, WeightedSums
from napari_blush.likelihood.work_budget import WorkBudget
from napari_blush.numerics.fft import irfft2_centered
from napari_blush.numerics.packing import shift_phases, unpack
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import geodesic_distance_deg
from napari_blush.numerics.slice_extraction import CentralSlices

Maker = Callable[..., Any]
Result = tuple[WeightedSums, ImageOutcomes]

OUTCOMES = ("rotations", "shifts_px", "p_max", "log_likelihood", "residual_power")
SUMS = ("residual", "n_images", "direction", "scale_cross", "scale_power")


def assert_same_outcomes(found: ImageOutcomes, wanted: ImageOutcomes, rtol: float = 1e-4) -> None:
    for name in OUTCOMES:
        torch.testing.assert_close(
            getattr(found, name), getattr(wanted, name), rtol=rtol, atol=1e-4, msg=name
        )


def assert_same_sums(found: WeightedSums, wanted: WeightedSums, rtol: float = 2e-4) -> None:
    for name in SUMS:
        torch.testing.assert_close(
            getattr(found, name), getattr(wanted, name), rtol=rtol, atol=2e-3, msg=name
        )
    assert found.offset_squared == pytest.approx(wanted.offset_squared, rel=rtol)
    for name in ("data", "weight"):
        values = getattr(wanted.accumulator, name)
        torch.testing.assert_close(
            getattr(found.accumulator, name), values, rtol=0, atol=rtol * float(values.abs().max())
        )


def with_images(problem: Any, images: Tensor) -> Any:
    return replace(problem, particles=replace(problem.particles, images=ImagesInMemory(images)))


def images_of(problem: Any) -> Tensor:
    return problem.particles.images.read(torch.arange(len(problem.particles)))


@pytest.mark.parametrize("broad_fraction", [2.0, 0.3, -1.0])
@pytest.mark.parametrize(
    "budget",
    [
        WorkBudget(1, 2**19, 2**24, 2**28),
        WorkBudget(3, 64, 2**24, 2**28),
        WorkBudget(32, 2**19, 1, 2**28),
    ],
    ids=["image by image", "small tiles", "small gathers"],
)
def test_sizes_of_batches_do_not_matter(
    problem_of: Maker, monkeypatch: pytest.MonkeyPatch, budget: WorkBudget, broad_fraction: float
) -> None:
    monkeypatch.setattr(expectation, "BROAD_FRACTION", broad_fraction)
    problem = problem_of(n_images=7, signal_r_max=3)
    wanted = problem.run()
    found = replace(problem, budget=budget).run()
    assert_same_outcomes(found[1], wanted[1])
    assert_same_sums(found[0], wanted[0])


def test_three_passes_do_not_depend_on_batches(problem_of: Maker) -> None:
    problem = problem_of(n_images=6, orders=(0, 1), fraction=0.9)
    wanted = problem.run()
    found = replace(problem, budget=WorkBudget(4, 4096, 1, 2**28), keep_tables=False).run()
    assert_same_outcomes(found[1], wanted[1])
    assert_same_sums(found[0], wanted[0])


def test_particles_in_another_order_have_the_same_outcomes(problem_of: Maker) -> None:
    problem = problem_of(n_images=7)
    order = torch.tensor([4, 0, 6, 2, 1, 5, 3])
    sums, outcomes = problem.run()
    shuffled_sums, shuffled = problem.run(order)
    wanted = ImageOutcomes(*(getattr(outcomes, name)[order] for name in ImageOutcomes.__slots__))
    assert_same_outcomes(shuffled, wanted)
    assert torch.equal(shuffled.n_significant, wanted.n_significant)
    assert_same_sums(shuffled_sums, sums)


def test_sums_of_parts_are_the_sums_of_the_whole(problem_of: Maker) -> None:
    problem = problem_of(n_images=6)
    whole, _ = problem.run()
    first, _ = problem.run(torch.tensor([1, 2, 5]))
    second, _ = problem.run(torch.tensor([0, 3, 4]))
    first.add(second)
    assert_same_sums(first, whole)
    assert first.n_images.tolist() == [3.0, 3.0]


def test_a_constant_added_to_images_is_not_seen(problem_of: Maker) -> None:
    problem = problem_of()
    wanted = problem.run()
    found = with_images(problem, images_of(problem) + 30.0).run()
    assert_same_outcomes(found[1], wanted[1], rtol=2e-3)
    assert_same_sums(found[0], wanted[0], rtol=2e-3)


def test_what_lies_outside_a_noise_filled_mask_is_not_seen(
    problem_of: Maker, soft_mask: Maker
) -> None:
    problem = problem_of(zero_mask=False)
    still = Poses(problem.particles.poses.rotations, torch.zeros(4, 2, dtype=torch.float64))
    problem = replace(problem, particles=replace(problem.particles, poses=still))
    outside = torch.from_numpy(soft_mask(16, 6.0) == 0).float()
    wanted = problem.run()
    found = with_images(problem, images_of(problem) + 3000.0 * outside).run()
    assert_same_outcomes(found[1], wanted[1])
    torch.testing.assert_close(found[0].residual, wanted[0].residual)
    change = (found[0].accumulator.data - wanted[0].accumulator.data).abs().max()
    assert float(change) > 0.1 * float(wanted[0].accumulator.data.abs().max())


@pytest.mark.parametrize(
    "changes",
    [
        {"orders": (1, 1), "oversampling": 0},
        {"orders": (1, 1), "oversampling": 0, "symmetry": "C2"},
        {"orders": (1, 1), "sigma2": 2.0},
        {"orders": (0, 1), "sigma2": 2.0, "fraction": 0.9999},
    ],
    ids=["one pass", "symmetric", "two passes", "three passes"],
)
def test_the_true_pose_wins_without_noise(
    problem_of: Maker, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(expectation, "BROAD_FRACTION", 2.0)
    sigma2 = changes.get("sigma2", 0.02)
    plain = {name: value for name, value in changes.items() if name != "sigma2"}
    problem = problem_of(n_images=6, noise=0.0, **plain)
    operators = symmetry_operators(problem.symmetry)
    if len(operators) > 1:
        # A turn by 180 degrees about z takes voxel (x, y) to (-x, -y).
        reference = problem.model.reference
        turned = torch.roll(reference.flip(1, 2), (1, 1), (1, 2))
        problem = replace(problem, model=replace(problem.model, reference=reference + turned))
    plan = problem.plan
    level = plan.levels[-1]
    allowed = torch.isfinite(problem.direction_log_priors()[-1])
    generator = torch.Generator().manual_seed(4)
    pixels = torch.nonzero(allowed).flatten()
    chosen = pixels[torch.randint(len(pixels), (6,), generator=generator)]
    psi = torch.randint(level.grid.n_psi, (6,), generator=generator)
    rotations = level.grid.rotations(chosen * level.grid.n_psi + psi, plan.perturbation)
    offsets = plan.fine_offsets_px if level.fine_offsets else plan.offsets_px
    offsets = offsets.reshape(-1, 2)
    shifts = offsets[torch.randint(len(offsets), (6,), generator=generator)]
    problem = projected(problem, rotations, shifts, sigma2)
    _, outcomes = problem.run()
    apart = torch.stack(
        [geodesic_distance_deg(op @ rotations.double(), outcomes.rotations) for op in operators]
    )
    assert float(apart.amin(0).max()) < 1e-2
    torch.testing.assert_close(outcomes.shifts_px, shifts.double())
    if sigma2 == 0.02:
        assert float(outcomes.p_max.min()) > 0.9


def projected(problem: Any, rotations: Tensor, shifts_px: Tensor, sigma2: float) -> Any:
    """Return the problem with noiseless images: interpolated slices, flat priors, old origins 0."""
    particles, n = problem.particles, problem.box_size
    m = len(particles)
    model = replace(
        problem.model,
        sigma2_noise=torch.full_like(problem.model.sigma2_noise, sigma2),
        pdf_direction=torch.full((12,), 1 / 12),
        sigma_offset_angstrom=1e3,
    )
    particles = replace(
        particles,
        poses=Poses.identity(m),
        norm_correction=torch.full((m,), model.average_norm, dtype=torch.float64),
    )
    coordinates = problem.coordinates
    count = len(coordinates)
    slices = CentralSlices(model.reference, r_max=n // 2).extract(rotations, coordinates, count)
    preparer = ImagePreparer(
        particles, coordinates, torch.device("cpu"), replace(problem.preparation, whiten=False)
    )
    still = torch.zeros(m, 2)
    images = preparer.prepare(torch.arange(m), still, particles.norm_correction, model, count)
    transform = slices * images.ctf * shift_phases(-shifts_px, coordinates, count)
    found = irfft2_centered(unpack(transform, coordinates), n)
    return with_images(replace(problem, particles=particles, model=model), found)


def test_a_local_search_is_a_global_one_with_a_prior(
    problem_of: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wide as can be, the prior is flat, the neighborhood everything, and little is dropped."""
    monkeypatch.setattr(expectation, "BROAD_FRACTION", 2.0)
    problem = problem_of(orders=(1, 1), fraction=0.99999)
    flat = torch.full((12,), 1 / 12)
    problem = replace(problem, model=replace(problem.model, pdf_direction=flat))
    wanted = problem.run()
    found = replace(problem, local_sigma_deg=1e5).run()
    # Log weights differ by the log of the flat prior, 1 / 192 for each direction of the last pass.
    found[1].log_likelihood += float(torch.log(torch.tensor(1 / 192)))
    assert_same_outcomes(found[1], wanted[1], rtol=1e-3)
    assert_same_sums(found[0], wanted[0], rtol=1e-3)


def test_a_broad_posterior_is_the_gathered_one(problem_of: Maker) -> None:
    """One pass over the same grid, as matrix products and image by image."""
    problem = problem_of(orders=(1, 1), oversampling=0, n_images=6, fraction=1.0)
    flat = torch.full((12,), 1 / 12)
    problem = replace(problem, model=replace(problem.model, pdf_direction=flat))
    broad = problem.run()
    gathered = replace(problem, local_sigma_deg=1e5).run()
    gathered[1].log_likelihood += float(torch.log(torch.tensor(1 / 48)))
    assert_same_outcomes(broad[1], gathered[1], rtol=1e-3)
    assert_same_sums(broad[0], gathered[0], rtol=1e-3)


def test_a_stronger_prior_pulls_origins_to_the_center(problem_of: Maker) -> None:
    problem = problem_of(n_images=6, noise=3.0)
    spread = []
    for sigma in (1.0, 4.0, 100.0):
        model = replace(problem.model, sigma_offset_angstrom=sigma)
        spread.append(replace(problem, model=model).run()[0].offset_squared)
    assert spread[0] < spread[1] < spread[2]


def test_directions_without_prior_are_not_found(problem_of: Maker) -> None:
    problem = problem_of(n_images=6, noise=1.0)
    pdf = torch.tensor([0.0] * 4 + [0.25] * 4 + [0.0] * 4)
    problem = replace(problem, model=replace(problem.model, pdf_direction=pdf))
    sums, _ = problem.run()
    assert float(sums.direction[4:8].sum()) == pytest.approx(6.0, abs=1e-5)
    assert float(sums.direction.sum()) == pytest.approx(6.0, abs=1e-5)


class TestCrossCorrelation:
    """Alignment of the first iteration: the best correlation takes all."""

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"orders": (0, 1)},
            {"oversampling": 0, "orders": (1, 1)},
            {"keep_tables": False},
        ],
        ids=["two passes", "three passes", "one pass", "nothing kept"],
    )
    def test_the_winner_correlates_best_among_its_neighbors(
        self, problem_of: Maker, slow_image: Maker, changes: dict[str, Any]
    ) -> None:
        problem = problem_of(cross_correlation=True, noise=0.3, **changes)
        sums, outcomes = problem.run()
        assert outcomes.p_max.tolist() == [1.0] * 4
        assert outcomes.n_significant.tolist() == [1] * 4
        assert sums.n_images.sum() == 4
        level = problem.plan.levels[-1]
        index = torch.arange(level.grid.size)
        rotations = level.grid.rotations(index, problem.plan.perturbation)
        r_max = min(level.r_max, problem.signal_r_max)
        count = problem.coordinates.count(r_max)
        projector = CentralSlices(problem.model.reference / 16, r_max=r_max)
        slices = projector.extract(rotations, problem.coordinates, count).to(torch.complex128)
        offsets = problem.plan.offsets_px[:, None]
        if level.fine_offsets:
            offsets = problem.plan.fine_offsets_px
        offsets = offsets.reshape(-1, 2).double().numpy()
        for row in range(4):
            correlation = correlations(problem, slow_image, row, slices.numpy(), offsets)
            found = float(outcomes.log_likelihood[row])
            assert found <= correlation.max() * (1 + 1e-5)
            # A coarser pass may lose the best pose, but not one that is much better.
            assert found > 0.98 * correlation.max()
            if len(problem.plan.levels) == 1:
                assert found == pytest.approx(correlation.max(), rel=1e-5)

    def test_the_reference_grey_scale_does_not_matter(self, problem_of: Maker) -> None:
        problem = problem_of(cross_correlation=True, noise=0.5)
        _, wanted = problem.run()
        brighter = replace(problem.model, reference=50.0 * problem.model.reference)
        _, found = replace(problem, model=brighter).run()
        torch.testing.assert_close(found.rotations, wanted.rotations)
        torch.testing.assert_close(found.shifts_px, wanted.shifts_px)
        torch.testing.assert_close(
            found.log_likelihood, wanted.log_likelihood, rtol=1e-5, atol=1e-5
        )

    def test_directions_have_no_prior(self, problem_of: Maker) -> None:
        problem = problem_of(cross_correlation=True, noise=0.5)
        _, wanted = problem.run()
        flat = replace(problem.model, pdf_direction=torch.full((12,), 1 / 12))
        _, found = replace(problem, model=flat).run()
        torch.testing.assert_close(found.rotations, wanted.rotations)


def correlations(
    problem: Any, slow_image: Maker, row: int, slices: Any, offsets_px: Any
) -> np.ndarray:
    """Return ``Re <X_t, C P> / |C P|`` (t, o) of one image."""
    particles, coordinates = problem.particles, problem.coordinates
    image = slow_image(
        particles,
        row,
        problem.model,
        problem.preparation,
        shift_px=particles.poses.shifts_angstrom[row].numpy() / 3.0,
        norm=float(particles.norm_correction[row]),
    )
    count = slices.shape[1]
    expected = image.ctf[:count] * slices
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    kx, ky = coordinates.kx[:count].numpy(), coordinates.ky[:count].numpy()
    turns = np.outer(offsets_px[:, 0], kx) + np.outer(offsets_px[:, 1], ky)
    moved = image.masked[:count] * np.exp(-2j * np.pi * turns / problem.box_size)
    return (moved @ expected.conj().T).real
