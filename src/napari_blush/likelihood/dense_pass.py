"""The exhaustive pass: a batch of images against every kept slice, reduced as it is computed.

The scores of a batch, (images x translations x orientations), are made in tiles that fit the
cache and are reduced tile by tile to two marginals: over translations for each orientation, and
over orientations for each translation. The full array never exists.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from napari_blush.likelihood.posterior import relative_weights_
from napari_blush.likelihood.slice_bank import SliceBank
from napari_blush.likelihood.squared_difference import (
    as_real_rows,
    correlation_from_terms,
    matrix_product,
)


class DenseProblem(NamedTuple):
    """Images and priors of an exhaustive pass.

    ``images (b, t, k)`` from ``shifted_images``; ``ctf_power (b, k)``; ``offset_log_prior
    (b, t)``; ``orientation_log_prior (o,)`` over the covered slices; ``tile`` orientations a time;
    ``precision`` of the products.
    """

    images: Tensor
    ctf_power: Tensor
    offset_log_prior: Tensor
    orientation_log_prior: Tensor
    tile: int
    precision: str = "float32"


class Marginals(NamedTuple):
    """Log posterior marginals, unnormalised: ``orientation (b, o)`` and ``offset (b, t)``."""

    orientation: Tensor
    offset: Tensor


def product_tiles(problem: DenseProblem, bank: SliceBank) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield (orientations, cross terms ``(b, t, tile)``, power terms ``(b, tile)``).

    The same memory is reused: a tile is valid until the next one is asked for.
    """
    b, t, _ = problem.images.shape
    rows = as_real_rows(problem.images).reshape(b * t, -1)
    total = len(bank.covered)
    memory = torch.empty(b * t * problem.tile, dtype=torch.float32, device=rows.device)
    for start in range(0, total, problem.tile):
        part = slice(start, min(start + problem.tile, total))
        width = part.stop - part.start
        slices, slices_power = bank.tile(part)
        out = memory[: b * t * width].view(b * t, width)
        matrix_product(rows, as_real_rows(slices), problem.precision, out)
        yield part, out.view(b, t, width), problem.ctf_power @ slices_power.T


def score_tiles(problem: DenseProblem, bank: SliceBank) -> Iterator[tuple[slice, Tensor]]:
    """Yield (orientations, log-weights ``(b, t, tile)``), offsets' priors not yet added."""
    for part, tile, power in product_tiles(problem, bank):
        tile += (problem.orientation_log_prior[part] - 0.5 * power)[:, None, :]
        yield part, tile


def dense_marginals(problem: DenseProblem, bank: SliceBank) -> Marginals:
    """Return the marginals of the posterior over all kept orientations and all translations."""
    b, t, _ = problem.images.shape
    n_orientations = len(bank.covered)
    device = problem.images.device
    by_orientation = torch.empty(b, n_orientations, device=device)
    offset_sum = torch.zeros(b, t, device=device)
    best = torch.full((b,), -torch.inf, device=device)
    for part, tile in score_tiles(problem, bank):
        tile += problem.offset_log_prior[:, :, None]
        new_best = torch.maximum(best, tile.amax((1, 2)))
        shrink = torch.exp(best - new_best)
        best = new_best
        tile -= best[:, None, None]
        relative_weights_(tile)
        by_orientation[:, part] = torch.log(tile.sum(1)) + best[:, None]
        offset_sum = offset_sum * shrink[:, None] + tile.sum(2)
    return Marginals(by_orientation, torch.log(offset_sum) + best[:, None])


def dense_correlation_maxima(problem: DenseProblem, bank: SliceBank) -> Marginals:
    """Return the best correlation of each orientation over translations, and the reverse.

    ``problem`` must hold unwhitened images; priors only exclude (minus infinity) or allow (0).
    """
    b, t, _ = problem.images.shape
    device = problem.images.device
    by_orientation = torch.empty(b, len(bank.covered), device=device)
    by_offset = torch.full((b, t), -torch.inf, device=device)
    for part, cross, power in product_tiles(problem, bank):
        scores = correlation_from_terms(cross, power[:, None])
        scores += problem.orientation_log_prior[part]
        by_orientation[:, part] = scores.amax(1)
        by_offset = torch.maximum(by_offset, scores.amax(2))
    return Marginals(by_orientation, by_offset)
