"""The E-step against brute force: every pose of every pass, in float64, difference by difference.

The reference interpolates slices with SciPy, forms ``|X - C P|^2`` explicitly, sorts posteriors to
find what is significant, and scatters weighted images into a whole transform.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.ndimage import map_coordinates

from napari_blush.likelihood import expectation
from napari_blush.likelihood.weighted_sums import ImageOutcomes, WeightedSums
from napari_blush.numerics.orientation_grid import change_pixel_order

Maker = Callable[..., Any]
Real = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

PADDING = 2


class SlowProjector:
    """Central slices of a map by linear interpolation in its padded, centered transform."""

    def __init__(self, problem: Any) -> None:
        n = problem.box_size
        axis = np.arange(n) - n // 2
        r = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
        volume = problem.model.reference.double().numpy() / n
        volume = volume / np.sinc(r / (n * PADDING)) ** 2
        padded = np.zeros((PADDING * n,) * 3)
        start = (PADDING * n - n) // 2
        padded[(slice(start, start + n),) * 3] = volume
        self.transform = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(padded)))
        self.coordinates = problem.coordinates

    def slices(self, rotations: Real, count: int) -> Complex:
        """Return ``(m, count)``."""
        kx, ky = (k[:count].numpy() for k in (self.coordinates.kx, self.coordinates.ky))
        flat = np.stack([kx, ky, np.zeros_like(kx)])
        xyz = PADDING * np.einsum("mij,jk->mik", rotations, flat)
        center = len(self.transform) // 2
        zyx = np.moveaxis(xyz[:, ::-1], 1, 0) + center
        parts = [
            map_coordinates(p, zyx, order=1) for p in (self.transform.real, self.transform.imag)
        ]
        return parts[0] + 1j * parts[1]


class SlowAccumulator:
    """Weighted slices scattered into a whole transform, each coefficient with its mate."""

    def __init__(self, r_max: int) -> None:
        self.center = PADDING * r_max + 1
        edge = 2 * self.center + 1
        self.data = np.zeros((edge,) * 3, dtype=complex)
        self.weight = np.zeros((edge,) * 3)

    def insert(self, rotation: Real, values: Complex, weights: Real, coordinates: Any) -> None:
        """Add one slice."""
        count = len(values)
        kx, ky = (k[:count].numpy() for k in (coordinates.kx, coordinates.ky))
        for sign in (1, -1):
            mate = values if sign == 1 else values.conj()
            xyz = sign * PADDING * rotation[:, :2] @ np.stack([kx, ky])
            low = np.floor(xyz).astype(int)
            fraction = xyz - low
            for corner in np.ndindex(2, 2, 2):
                share = np.prod(
                    [f if up else 1 - f for f, up in zip(fraction, corner, strict=True)], axis=0
                )
                x, y, z = low + np.array(corner)[:, None] + self.center
                np.add.at(self.data, (z, y, x), share * mate)
                np.add.at(self.weight, (z, y, x), share * weights)


@dataclass
class SlowSums:
    """What ``WeightedSums`` and ``ImageOutcomes`` hold."""

    accumulator: SlowAccumulator
    residual: Real
    n_images: Real
    direction: Real
    scale_cross: Real
    scale_power: Real
    offset_squared: float = 0.0


@dataclass
class SlowPosterior:
    """Posterior of one image over ``offsets (t, 2)`` and orientations ``index (o,)``."""

    level: int
    index: npt.NDArray[np.int64]
    offsets: Real
    weights: Real
    log_evidence: float
    p_max: float
    n_significant: int


class SlowExpectation:
    """All passes of one E-step, image by image."""

    def __init__(self, problem: Any, slow_image: Maker, *, broad_fraction: float) -> None:
        self.problem, self.model, self.plan = problem, problem.model, problem.plan
        self.slow_image = slow_image
        self.broad_fraction = broad_fraction
        self.coordinates = problem.coordinates
        self.projector = SlowProjector(problem)
        shells, m = problem.box_size // 2 + 1, len(problem.particles)
        groups, scales = len(problem.particles.optics_groups), len(problem.particles.group_names)
        self.sums = SlowSums(
            SlowAccumulator(problem.insert_r_max),
            np.zeros((groups, shells)),
            np.zeros(groups),
            np.zeros(len(self.model.pdf_direction)),
            np.zeros(scales),
            np.zeros(scales),
        )
        self.outcomes = ImageOutcomes.empty(m)
        self.posteriors = [self.one_image(row) for row in range(m)]

    def rotations(self, level: int, index: npt.NDArray[np.int64]) -> Real:
        grid = self.plan.levels[level].grid
        found = grid.rotations(torch.from_numpy(index), self.plan.perturbation)
        return found.double().numpy()

    def slice_rotations(self, level: int, index: npt.NDArray[np.int64]) -> Real:
        """Return the rotations with the magnification of the optics multiplied in."""
        matrix = np.eye(3)
        matrix[:2, :2] = self.problem.particles.optics_groups[0].magnification_matrix
        return self.rotations(level, index) @ matrix

    def phases(self, offsets: Real, count: int) -> Complex:
        kx, ky = (k[:count].numpy() for k in (self.coordinates.kx, self.coordinates.ky))
        turns = np.outer(offsets[:, 0], kx) + np.outer(offsets[:, 1], ky)
        return np.exp(-2j * np.pi * turns / self.problem.box_size)

    def scores(
        self, image: Any, level: int, index: npt.NDArray[np.int64], prior: Real, offsets: Real
    ) -> Real:
        """Return log-weights ``(t, o)``, less what is the same for all poses of the image."""
        r_max = min(self.plan.levels[level].r_max, self.problem.signal_r_max)
        count = self.coordinates.count(r_max)
        expected = image.ctf[:count] * self.projector.slices(
            self.slice_rotations(level, index), count
        )
        variance = image.variance[:count]
        own = np.sum(np.abs(image.masked[:count]) ** 2 / (2 * variance))
        found = np.empty((len(offsets), len(index)))
        for row, phase in enumerate(self.phases(offsets, count)):
            difference = phase * image.masked[:count] - expected
            found[row] = own - np.sum(np.abs(difference) ** 2 / (2 * variance), axis=1)
        origin = (image.base + offsets) * 3.0
        log_offset = -np.sum(origin**2, axis=1) / (2 * self.model.sigma_offset_angstrom**2)
        return found + prior + log_offset[:, None]

    def one_image(self, row: int) -> SlowPosterior:
        particles = self.problem.particles
        image = self.slow_image(
            particles,
            row,
            self.model,
            self.problem.preparation,
            shift_px=particles.poses.shifts_angstrom[row].numpy() / 3.0,
            norm=float(particles.norm_correction[row]),
        )
        posterior = self.search(image, row)
        self.add(image, row, posterior)
        return posterior

    def search(self, image: Any, row: int) -> SlowPosterior:
        index, prior = self.start(row)
        offsets = self.plan.offsets_px.double().numpy()
        coarse = np.arange(len(offsets))
        for number, level in enumerate(self.plan.levels):
            if number > 0:
                index, prior = self.descend(number, index, row)
            chosen = offsets[coarse]
            if level.fine_offsets:
                chosen = self.plan.fine_offsets_px[coarse].double().numpy().reshape(-1, 2)
            scores = self.scores(image, number, index, prior, chosen)
            by_orientation = np.logaddexp.reduce(scores, axis=0)
            is_global = self.problem.local_sigma_deg is None
            fraction = self.problem.fraction
            if not is_global and number == 0:
                fraction = 1 - 1e-3 * (1 - fraction)
            kept = smallest_set(by_orientation, fraction)
            resolved = level.r_max >= self.problem.signal_r_max
            broad = level.last or (resolved and kept.sum() > self.broad_fraction * len(index))
            if is_global and number == 0 and broad:
                return stopped_early(scores, index, chosen, kept)
            if level.last:
                return finished(scores, number, index, chosen, self.problem.fraction)
            index, prior = index[kept], prior[kept]
            coarse = coarse[smallest_set(np.logaddexp.reduce(scores, axis=1), fraction)]
        raise AssertionError("no level was the last")

    def start(self, row: int) -> tuple[npt.NDArray[np.int64], Real]:
        grid = self.plan.levels[0].grid
        index = np.arange(grid.size)
        sigma = self.problem.local_sigma_deg
        if sigma is None:
            prior = self.problem.direction_log_priors()[0].double().numpy()[index // grid.n_psi]
            inside = np.isfinite(prior)
            return index[inside], prior[inside]
        angle = self.angles(0, index, row)
        near = angle <= 3 * sigma + grid.step_deg / 2
        return index[near], -(angle[near] ** 2) / (2 * sigma**2)

    def angles(self, number: int, index: npt.NDArray[np.int64], row: int) -> Real:
        """Return how far grid orientations are from the old one of an image, in degrees."""
        old = self.problem.particles.poses.rotations[row].numpy()
        trace = np.einsum("mij,ij->m", self.rotations(number, index), old)
        return np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))

    def descend(
        self, number: int, index: npt.NDArray[np.int64], row: int
    ) -> tuple[npt.NDArray[np.int64], Real]:
        grid = self.plan.levels[number].grid
        everything = torch.arange(grid.size)
        parent = grid.parent(everything).numpy()
        children = np.flatnonzero(np.isin(parent, index))
        sigma = self.problem.local_sigma_deg
        if sigma is not None:
            return children, -(self.angles(number, children, row) ** 2) / (2 * sigma**2)
        pixel_prior = self.problem.direction_log_priors()[number].double().numpy()
        own = pixel_prior[children // grid.n_psi]
        return children[np.isfinite(own)], own[np.isfinite(own)]

    def add(self, image: Any, row: int, posterior: SlowPosterior) -> None:
        """Add the posterior of one image, pose by pose."""
        problem, sums, particles = self.problem, self.sums, self.problem.particles
        level = self.plan.levels[posterior.level]
        n, shells = problem.box_size, problem.box_size // 2 + 1
        shell = self.coordinates.shell.numpy()
        compare = self.coordinates.count(min(level.r_max, problem.signal_r_max))
        insert = self.coordinates.count(problem.insert_r_max)
        rotations = self.rotations(posterior.level, posterior.index)
        turned = self.slice_rotations(posterior.level, posterior.index)
        slices = self.projector.slices(turned, compare)
        group, scale = int(particles.optics_group_index[row]), int(particles.group_index[row])
        own_scale = float(self.model.group_scale[scale])
        strong = (self.model.data_vs_prior.numpy() > 3.0)[shell[:compare]]
        residual = np.zeros(shells)
        phases = self.phases(posterior.offsets, len(shell))
        weighted = np.zeros((len(posterior.index), insert), dtype=complex)
        for t, phase in enumerate(phases):
            moved = phase * image.masked
            for o in np.flatnonzero(posterior.weights[t]):
                weight = posterior.weights[t, o]
                expected = np.zeros_like(moved)
                expected[:compare] = image.ctf[:compare] * slices[o]
                residual += weight * by_shell(np.abs(moved - expected) ** 2, shell, shells)
                signal = expected[:compare] / own_scale
                inverse = strong / image.variance[:compare]
                cross = np.sum((moved[:compare] * signal.conj()).real * inverse)
                sums.scale_cross[scale] += weight * cross
                sums.scale_power[scale] += weight * np.sum(np.abs(signal) ** 2 * inverse)
            values = (phase * image.unmasked * image.ctf / image.variance)[:insert]
            weighted += posterior.weights[t][:, None] * values
        origin = (image.base + posterior.offsets) * 3.0
        by_offset = posterior.weights.sum(1)
        sums.offset_squared += float(np.sum(by_offset * np.sum(origin**2, axis=1)))
        by_orientation = posterior.weights.sum(0)
        power = (image.ctf**2 / image.variance)[:insert]
        for o in np.flatnonzero(by_orientation):
            sums.accumulator.insert(
                turned[o], weighted[o], by_orientation[o] * power, self.coordinates
            )
        pixels = np.bincount(
            posterior.index // level.grid.n_psi, by_orientation, minlength=level.grid.n_pixels
        )
        order = self.model.pdf_order
        sums.direction += change_pixel_order(
            torch.from_numpy(pixels), level.grid.order, order
        ).numpy()
        sums.residual[group] += residual
        sums.n_images[group] += 1
        t, o = np.unravel_index(np.argmax(posterior.weights), posterior.weights.shape)
        self.outcomes.rotations[row] = torch.from_numpy(rotations[o])
        self.outcomes.shifts_px[row] = torch.from_numpy(image.base + posterior.offsets[t])
        self.outcomes.p_max[row] = posterior.p_max
        self.outcomes.log_likelihood[row] = posterior.log_evidence
        self.outcomes.n_significant[row] = posterior.n_significant
        self.outcomes.residual_power[row] = float(residual.sum())
        assert n == len(image.masked_pixels)


def by_shell(values: Real, shell: npt.NDArray[np.int64], shells: int) -> Real:
    """Return sums over shells."""
    return np.bincount(shell, values, minlength=shells)[:shells]


def smallest_set(log_weights: Real, fraction: float) -> npt.NDArray[np.bool_]:
    """Return the most probable entries that hold ``fraction`` of the mass."""
    order = np.argsort(-log_weights)
    mass = np.cumsum(np.exp(log_weights[order] - log_weights[order[0]]))
    kept = np.zeros(len(order), dtype=bool)
    # Single precision cannot tell masses apart that differ by 1e-7 of the whole.
    kept[order[: int(np.searchsorted(mass, fraction * mass[-1] * (1 - 1e-7))) + 1]] = True
    return kept


def stopped_early(
    scores: Real, index: npt.NDArray[np.int64], offsets: Real, kept: npt.NDArray[np.bool_]
) -> SlowPosterior:
    """Return the posterior over the kept orientations of the first grid, at all offsets."""
    evidence = float(np.logaddexp.reduce(scores.ravel()))
    weights = np.exp(scores - evidence) * kept
    mass = weights.sum()
    return SlowPosterior(
        0, index, offsets, weights / mass, evidence, float(weights.max()), int(kept.sum())
    )


def finished(
    scores: Real, level: int, index: npt.NDArray[np.int64], offsets: Real, fraction: float
) -> SlowPosterior:
    """Return the posterior over the significant poses of the last pass."""
    kept = smallest_set(scores.ravel(), fraction).reshape(scores.shape)
    evidence = float(np.logaddexp.reduce(scores.ravel()))
    weights = np.exp(scores - evidence)
    p_max = float(weights.max())
    weights = weights * kept / weights[kept].sum()
    return SlowPosterior(level, index, offsets, weights, evidence, p_max, int(kept.sum()))


def assert_equal_outcomes(found: tuple[WeightedSums, ImageOutcomes], slow: SlowExpectation) -> None:
    """Compare everything that an E-step leaves."""
    sums, outcomes = found
    torch.testing.assert_close(outcomes.rotations, slow.outcomes.rotations, atol=1e-6, rtol=0)
    torch.testing.assert_close(outcomes.shifts_px, slow.outcomes.shifts_px, atol=1e-5, rtol=0)
    torch.testing.assert_close(outcomes.p_max, slow.outcomes.p_max, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(
        outcomes.log_likelihood, slow.outcomes.log_likelihood, atol=1e-3, rtol=1e-5
    )
    torch.testing.assert_close(
        outcomes.residual_power, slow.outcomes.residual_power, rtol=1e-4, atol=0
    )
    more = outcomes.n_significant - slow.outcomes.n_significant
    assert bool((more.abs() <= 1 + 0.01 * slow.outcomes.n_significant).all())
    wanted = slow.sums
    np.testing.assert_allclose(sums.residual.numpy(), wanted.residual, rtol=2e-4, atol=1e-3)
    np.testing.assert_array_equal(sums.n_images.numpy(), wanted.n_images)
    np.testing.assert_allclose(sums.offset_squared, wanted.offset_squared, rtol=2e-4)
    np.testing.assert_allclose(sums.direction.numpy(), wanted.direction, atol=2e-3)
    np.testing.assert_allclose(sums.scale_cross.numpy(), wanted.scale_cross, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(sums.scale_power.numpy(), wanted.scale_power, rtol=1e-3, atol=1e-2)
    accumulator = sums.accumulator.clone()
    accumulator.enforce_hermitian()
    half = slice(slow.sums.accumulator.center, None)
    for name in ("data", "weight"):
        whole = getattr(wanted.accumulator, name)
        np.testing.assert_allclose(
            getattr(accumulator, name).numpy(),
            whole[:, :, half],
            atol=1e-3 * np.abs(whole).max(),
            err_msg=name,
        )


CASES: dict[str, dict[str, Any]] = {
    "two passes": {"n_images": 3},
    "three passes": {"orders": (0, 1), "n_images": 2},
    "nothing kept in tables": {"keep_tables": False, "n_images": 2},
    "cut to what is significant": {"fraction": 0.95, "orders": (0, 1), "n_images": 3},
    "two halvings of the offsets": {"oversampling": 2, "offset_range_px": 1.0, "n_images": 2},
    "local": {"local_sigma_deg": 15.0, "orders": (0, 1)},
    "local, one pass": {"local_sigma_deg": 20.0, "orders": (0, 1), "oversampling": 0},
    "local, cut": {"local_sigma_deg": 25.0, "orders": (1, 1), "fraction": 0.9},
    "symmetric": {"symmetry": "D2", "fraction": 0.99},
    "without the first pixel": {"symmetry": "I2", "orders": (1, 1), "fraction": 0.99},
    "sharp posteriors": {"noise": 0.1},
}


@pytest.mark.parametrize("case", CASES)
def test_gathered_passes_are_brute_force(
    problem_of: Maker, slow_image: Maker, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(expectation, "BROAD_FRACTION", 2.0)
    problem = problem_of(**CASES[case])
    slow = SlowExpectation(problem, slow_image, broad_fraction=2.0)
    assert_equal_outcomes(problem.run(), slow)


@pytest.mark.parametrize("broad_fraction", [2.0, -1.0])
def test_magnification_is_that_of_the_optics(
    problem_of: Maker,
    slow_image: Maker,
    optics: Maker,
    monkeypatch: pytest.MonkeyPatch,
    broad_fraction: float,
) -> None:
    monkeypatch.setattr(expectation, "BROAD_FRACTION", broad_fraction)
    matrix = ((1.05, 0.03), (0.03, 0.93))
    groups = (optics(16, magnification_matrix=matrix),)
    problem = problem_of(groups=groups, signal_r_max=3, n_images=2)
    slow = SlowExpectation(problem, slow_image, broad_fraction=broad_fraction)
    assert_equal_outcomes(problem.run(), slow)


@pytest.mark.parametrize(
    "changes",
    [
        {"oversampling": 0, "orders": (1, 1), "offset_step_px": 1.0, "n_images": 2},
        {"oversampling": 0, "orders": (1, 1), "fraction": 0.9},
        {"oversampling": 0, "orders": (1, 1), "symmetry": "C3", "fraction": 0.99},
        {"signal_r_max": 3},
        {"signal_r_max": 3, "keep_tables": False},
        {"signal_r_max": 3, "fraction": 0.95, "pdf_order": 1},
    ],
    ids=[
        "one pass",
        "one pass, cut",
        "one pass, symmetric",
        "stopped early",
        "nothing kept",
        "finer directions",
    ],
)
def test_broad_posteriors_are_brute_force(
    problem_of: Maker, slow_image: Maker, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(expectation, "BROAD_FRACTION", -1.0)
    order = changes.get("pdf_order", 0)
    problem = problem_of(**{name: changes[name] for name in changes if name != "pdf_order"})
    pdf = change_pixel_order(problem.model.pdf_direction, 0, order)
    problem = replace(problem, model=replace(problem.model, pdf_direction=pdf, pdf_order=order))
    slow = SlowExpectation(problem, slow_image, broad_fraction=-1.0)
    assert [posterior.level for posterior in slow.posteriors] == [0] * len(problem.particles)
    assert_equal_outcomes(problem.run(), slow)
