"""From log-weights to posterior probabilities, and to the set that is worth keeping."""

from typing import NamedTuple

import torch
from torch import Tensor

LOG_WEIGHT_FLOOR = 40.0  # exp(-40) of the best: nothing that far down can add up to anything
_NO_UNDERFLOW = -80.0  # exp of less is next to nothing, and many times slower to compute
_BISECTIONS = 18  # resolves the threshold to 40 / 2^18 in log weight


def relative_weights_(log_weights: Tensor) -> Tensor:
    """Return ``exp`` of log-weights in place; ``exp(-80)`` stands for anything smaller.

    The clamp keeps the exponential away from subnormal results, which take a hundred times as
    long; what it adds is below single precision as long as the largest log-weight is near 0.
    """
    return log_weights.clamp_(min=_NO_UNDERFLOW).exp_()


def log_sum_exp(log_weights: Tensor, dim: int) -> Tensor:
    """Return ``log sum exp`` along one axis; minus infinity where all entries are."""
    best = log_weights.amax(dim, keepdim=True)
    # Where nothing is finite, any finite number does in the difference; the sum below is lost.
    total = relative_weights_(log_weights - best.clamp(min=torch.finfo(best.dtype).min)).sum(dim)
    return torch.log(total) + best.squeeze(dim)


def significance_threshold(log_weights: Tensor, fraction: float) -> Tensor:
    """Return the log-weight down to which entries must be kept to hold ``fraction`` of the mass.

    Parameters
    ----------
    log_weights : (b, m)
        Unnormalised; minus infinity where there is no candidate.
    fraction : float
        Mass to keep, ``adaptive_fraction``.

    Returns
    -------
    (b,)
        The highest threshold, to 2e-4, whose entries at or above hold ``fraction`` of the total.
    """
    best = log_weights.amax(1)
    relative = log_weights - best[:, None]
    weights = relative_weights_(relative.clone())
    wanted = fraction * weights.sum(1)
    low = torch.full_like(best, -LOG_WEIGHT_FLOOR)
    high = torch.zeros_like(best)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        enough = (weights * (relative >= middle[:, None])).sum(1) >= wanted
        low = torch.where(enough, middle, low)
        high = torch.where(enough, high, middle)
    return best + low


def significant(log_weights: Tensor, fraction: float) -> Tensor:
    """Return which entries of ``(b, m)`` make up the smallest set holding ``fraction``."""
    return log_weights >= significance_threshold(log_weights, fraction)[:, None]


class PosteriorWeights(NamedTuple):
    """Posterior of a batch over its trial poses.

    ``weights (b, t, o)`` sum to 1 per image and are zero outside the significant set;
    ``log_evidence (b,)`` is the log of the sum of the unnormalised weights; ``p_max (b,)`` the
    largest probability, ``best (b,)`` its flat index in ``(t, o)``, ``n_significant (b,)`` the
    size of the kept set.
    """

    weights: Tensor
    log_evidence: Tensor
    p_max: Tensor
    best: Tensor
    n_significant: Tensor


def posterior_weights(log_weights: Tensor, fraction: float) -> PosteriorWeights:
    """Normalise log-weights ``(b, t, o)`` and drop the insignificant tail."""
    b = log_weights.shape[0]
    flat = log_weights.reshape(b, -1)
    log_evidence = log_sum_exp(flat, 1)
    threshold = significance_threshold(flat, fraction)
    kept = flat >= threshold[:, None]
    weights = relative_weights_(flat - log_evidence[:, None]) * kept
    p_max, best = weights.max(1)
    weights = weights / weights.sum(1, keepdim=True)
    return PosteriorWeights(
        weights.reshape(log_weights.shape), log_evidence, p_max, best, kept.sum(1)
    )


def winner_takes_all(scores: Tensor) -> PosteriorWeights:
    """Return weights that are 1 at the best score of each image and 0 elsewhere."""
    b = scores.shape[0]
    flat = scores.reshape(b, -1)
    top, best = flat.max(1)
    weights = torch.zeros_like(flat)
    weights[torch.arange(b, device=flat.device), best] = 1.0
    ones = torch.ones_like(top)
    return PosteriorWeights(weights.reshape(scores.shape), top, ones, best, ones.long())
