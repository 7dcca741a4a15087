"""Posterior weights and significant sets against sorting and summing in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from torch import Tensor

from napari_blush.likelihood.posterior import (
    log_sum_exp,
    posterior_weights,
    relative_weights_,
    significance_threshold,
    significant,
    winner_takes_all,
)

THRESHOLD_TOLERANCE = 2e-4  # stated by significance_threshold

spread = st.sampled_from([0.0, 0.1, 1.0, 10.0, 300.0])
level = st.sampled_from([0.0, -1e4, 3e4])
sizes = st.tuples(st.integers(1, 4), st.integers(1, 50))
fractions = st.sampled_from([0.3, 0.9, 0.99, 0.999])
seeds = st.integers(0, 2**31)


def drawn(shape: tuple[int, ...], seed: int, spread: float, level: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return level + spread * torch.randn(*shape, generator=generator)


def smallest_set(log_weights: np.ndarray, fraction: float) -> tuple[float, int]:
    """Return the log-weight of the last entry of the smallest set, and its size; by sorting."""
    order = np.sort(log_weights.astype(float))[::-1]
    mass = np.cumsum(np.exp(order - order[0]))
    last = int(np.searchsorted(mass, fraction * mass[-1]))
    return float(order[last]), last + 1


@settings(deadline=None)
@given(shape=sizes, seed=seeds, spread=spread, level=level)
def test_log_sum_exp_is_that_of_scipy(
    shape: tuple[int, int], seed: int, spread: float, level: float
) -> None:
    values = drawn(shape, seed, spread, level)
    before = values.clone()
    for dim in (0, 1):
        wanted = logsumexp(values.double().numpy(), axis=dim)
        np.testing.assert_allclose(log_sum_exp(values, dim).numpy(), wanted, rtol=3e-7, atol=1e-5)
    assert torch.equal(values, before)


def test_log_sum_exp_of_no_candidate_is_minus_infinity() -> None:
    values = torch.tensor([[-torch.inf, -torch.inf], [-torch.inf, 2.0]])
    assert log_sum_exp(values, 1).tolist() == [-torch.inf, 2.0]


def test_weights_too_small_to_count_are_not_subnormal() -> None:
    weights = relative_weights_(torch.tensor([0.0, -1.0, -79.0, -95.0, -torch.inf]))
    torch.testing.assert_close(weights[:3], torch.exp(torch.tensor([0.0, -1.0, -79.0])))
    assert bool((weights[3:] < 1e-34).all())
    assert bool((weights >= torch.finfo(torch.float32).tiny).all())


@settings(deadline=None, max_examples=200)
@given(shape=sizes, seed=seeds, spread=spread, level=level, fraction=fractions)
def test_significant_set_holds_the_fraction_and_is_the_smallest(
    shape: tuple[int, int], seed: int, spread: float, level: float, fraction: float
) -> None:
    log_weights = drawn(shape, seed, spread, level)
    kept = significant(log_weights, fraction).numpy()
    for row, mask in zip(log_weights.double().numpy(), kept, strict=True):
        weights = np.exp(row - row.max())
        assert weights[mask].sum() >= fraction * weights.sum() * (1 - 1e-5)
        if mask.any() and not mask.all():
            assert row[mask].min() > row[~mask].max()
        # Nothing is kept beyond the smallest set but what ties with its last entry.
        last, _ = smallest_set(row, min(fraction * (1 + 1e-5), 1.0))
        rounding = 4 * np.finfo(np.float32).eps * abs(row.max())
        assert bool((row[mask] >= last - THRESHOLD_TOLERANCE - rounding).all())


@settings(deadline=None)
@given(seed=seeds, fraction=fractions)
def test_threshold_lies_just_under_the_last_entry_needed(seed: int, fraction: float) -> None:
    log_weights = drawn((3, 40), seed, 2.0)
    found = significance_threshold(log_weights, fraction)
    for row, threshold in zip(log_weights.numpy(), found.tolist(), strict=True):
        low, _ = smallest_set(row, fraction * (1 + 1e-5))
        high, _ = smallest_set(row, fraction * (1 - 1e-5))
        assert low - THRESHOLD_TOLERANCE <= threshold <= high + 1e-5


def test_whole_mass_keeps_everything_that_counts() -> None:
    log_weights = torch.tensor([[0.0, -3.0, -12.0, -60.0, -torch.inf]])
    assert significant(log_weights, 1.0).tolist() == [[True, True, True, False, False]]


@settings(deadline=None, max_examples=100)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 12)),
    seed=seeds,
    spread=spread,
    level=level,
    fraction=fractions,
)
def test_posterior_weights_are_bayes_rule_on_the_significant_set(
    shape: tuple[int, int, int], seed: int, spread: float, level: float, fraction: float
) -> None:
    log_weights = drawn(shape, seed, spread, level)
    posterior = posterior_weights(log_weights, fraction)
    torch.testing.assert_close(posterior.weights.sum((1, 2)), torch.ones(shape[0]))
    flat = log_weights.double().reshape(shape[0], -1)
    kept = significant(log_weights.reshape(shape[0], -1), fraction)
    assert torch.equal(posterior.weights.reshape(shape[0], -1) > 0, kept)
    assert torch.equal(posterior.n_significant, kept.sum(1))
    exact = torch.softmax(flat, 1)
    p_max, best = exact.max(1)
    # Float32 log-weights of 3e4 are known to 2e-3 only.
    tolerance = 1e-5 + 2e-7 * float(flat.abs().max())
    torch.testing.assert_close(posterior.p_max.double(), p_max, rtol=tolerance, atol=1e-7)
    torch.testing.assert_close(
        exact.gather(1, posterior.best[:, None])[:, 0], exact.gather(1, best[:, None])[:, 0]
    )
    inside = torch.where(kept, exact, 0.0)
    wanted = inside / inside.sum(1, keepdim=True)
    found = posterior.weights.double().reshape(shape[0], -1)
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=1e-7)
    torch.testing.assert_close(
        posterior.log_evidence.double(), torch.logsumexp(flat, 1), rtol=3e-7, atol=1e-5
    )


def test_padding_gets_no_weight() -> None:
    log_weights = torch.tensor([[[0.0, -torch.inf, -1.0], [-torch.inf, -torch.inf, -2.0]]])
    posterior = posterior_weights(log_weights, 0.999)
    assert bool((posterior.weights[~torch.isfinite(log_weights)] == 0).all())
    assert posterior.n_significant.tolist() == [3]


@pytest.mark.parametrize("offset", [0.0, 700.0, -700.0])
def test_a_constant_in_the_log_weights_changes_the_evidence_alone(offset: float) -> None:
    log_weights = drawn((2, 3, 8), 3, 2.0)
    plain, moved = (posterior_weights(log_weights + c, 0.99) for c in (0.0, offset))
    torch.testing.assert_close(moved.weights, plain.weights, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(moved.log_evidence - offset, plain.log_evidence, rtol=0, atol=1e-3)


@settings(deadline=None)
@given(shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 12)), seed=seeds)
def test_winner_takes_all(shape: tuple[int, int, int], seed: int) -> None:
    scores = drawn(shape, seed, 1.0)
    posterior = winner_takes_all(scores)
    flat = scores.reshape(shape[0], -1)
    assert torch.equal(posterior.best, flat.argmax(1))
    assert torch.equal(posterior.log_evidence, flat.amax(1))
    assert posterior.weights.sum((1, 2)).tolist() == [1.0] * shape[0]
    winner = posterior.weights.reshape(shape[0], -1).gather(1, posterior.best[:, None])
    assert winner.flatten().tolist() == [1.0] * shape[0]
    assert posterior.p_max.tolist() == [1.0] * shape[0]
    assert posterior.n_significant.tolist() == [1] * shape[0]
