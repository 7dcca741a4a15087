"""The exhaustive pass against the whole array of scores that it never makes."""

from copy import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from torch import Tensor

from napari_blush.likelihood.dense_pass import (
    DenseProblem,
    dense_correlation_maxima,
    dense_marginals,
    score_tiles,
)
from napari_blush.likelihood.slice_bank import SliceBank
from napari_blush.likelihood.squared_difference import matrix_product
from napari_blush.numerics.orientation_grid import OrientationGrid
from napari_blush.numerics.packing import packed_coordinates
from napari_blush.numerics.rotations import random_rotations
from napari_blush.numerics.slice_extraction import CentralSlices
from napari_blush.simulation.phantoms import random_blobs

BOX, R_MAX = 16, 5
PIXELS = torch.tensor([0, 3, 4, 7, 10])


@pytest.fixture(scope="module")
def bank() -> SliceBank:
    """Return the kept slices of a phantom at a few directions."""
    generator = torch.Generator().manual_seed(3)
    volume = random_blobs(generator, n_blobs=8, radius_px=4.0).volume(BOX) / (5 * BOX)
    coordinates = packed_coordinates(BOX, BOX // 2)
    projector = CentralSlices(volume, r_max=R_MAX)
    turn = random_rotations(1, generator)[0].double()
    bank = SliceBank(projector, OrientationGrid(0), coordinates, r_max=R_MAX, perturbation=turn)
    bank.cover(PIXELS, keep=True)
    return bank


def problem(bank: SliceBank, b: int, t: int, seed: int, *, scale: float, tile: int) -> DenseProblem:
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return DenseProblem(
        images=scale * torch.complex(noise(b, t, bank.count), noise(b, t, bank.count)),
        ctf_power=scale * noise(b, bank.count) ** 2,
        offset_log_prior=-(noise(b, t) ** 2),
        orientation_log_prior=-3 * torch.rand(len(bank.covered), generator=generator),
        tile=tile,
    )


def terms(problem: DenseProblem, bank: SliceBank) -> tuple[np.ndarray, np.ndarray]:
    """Return ``Re <X_t, P_o>`` (b, t, o) and ``<C^2, |P_o|^2>`` (b, o) in float64."""
    slices = bank.tile(slice(None))[0].numpy().astype(np.complex128)
    images = problem.images.numpy().astype(np.complex128)
    cross = np.einsum("btk,ok->bto", images, slices.conj()).real
    power = np.einsum("bk,ok->bo", problem.ctf_power.double().numpy(), np.abs(slices) ** 2)
    return cross, power


def log_weights(problem: DenseProblem, bank: SliceBank) -> np.ndarray:
    cross, power = terms(problem, bank)
    prior = problem.orientation_log_prior.double().numpy()
    offset = problem.offset_log_prior.double().numpy()
    return cross - power[:, None] / 2 + prior + offset[:, :, None]


def rounding(problem: DenseProblem, bank: SliceBank) -> float:
    """Return what float32 may get wrong in a score."""
    cross, power = terms(problem, bank)
    return 1e-5 + 4e-7 * float(np.abs(cross).max() + power.max())


@settings(deadline=None, max_examples=40)
@given(
    b=st.integers(1, 3),
    t=st.integers(1, 5),
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
    tile=st.sampled_from([1, 7, 64, 1000]),
)
def test_marginals_are_sums_over_the_whole_array(
    bank: SliceBank, b: int, t: int, seed: int, scale: float, tile: int
) -> None:
    given_problem = problem(bank, b, t, seed, scale=scale, tile=tile)
    whole = log_weights(given_problem, bank)
    found = dense_marginals(given_problem, bank)
    tolerance = rounding(given_problem, bank)
    for marginal, axis in ((found.orientation, 1), (found.offset, 2)):
        wanted = logsumexp(whole, axis=axis)
        top = wanted.max(axis=1, keepdims=True)
        seen = wanted > top - 60
        np.testing.assert_allclose(marginal.numpy()[seen], wanted[seen], rtol=0, atol=tolerance)
        assert bool((marginal.numpy()[~seen] < (top - 50).repeat(seen.shape[1], 1)[~seen]).all())


def test_tiles_cover_every_orientation_once(bank: SliceBank) -> None:
    given_problem = problem(bank, 2, 3, 5, scale=1.0, tile=7)
    covered = torch.zeros(len(bank.covered), dtype=torch.int64)
    cross, power = terms(given_problem, bank)
    prior = given_problem.orientation_log_prior.double().numpy()
    for part, tile in score_tiles(given_problem, bank):
        covered[part] += 1
        assert tile.shape == (2, 3, part.stop - part.start)
        wanted = cross[:, :, part] - power[:, None, part] / 2 + prior[part]
        np.testing.assert_allclose(tile.numpy(), wanted, atol=rounding(given_problem, bank))
    assert bool((covered == 1).all())


def test_the_order_of_orientations_does_not_matter(bank: SliceBank) -> None:
    given_problem = problem(bank, 2, 4, 11, scale=2.0, tile=13)
    turned = copy(bank)
    turned.cover(torch.tensor([7, 0, 10, 4, 3]), keep=True)
    order = bank.rows(turned.covered)
    assert order[0] == 18
    torch.testing.assert_close(turned.tile(slice(None))[0], bank.tile(slice(None))[0][order])
    prior = given_problem.orientation_log_prior[order]
    plain = dense_marginals(given_problem, bank)
    shuffled = dense_marginals(given_problem._replace(orientation_log_prior=prior), turned)
    # Products of another order are rounded in another way, on some CPUs more than on others.
    within = {"atol": rounding(given_problem, bank), "rtol": 0.0}
    torch.testing.assert_close(shuffled.orientation, plain.orientation[:, order], **within)
    torch.testing.assert_close(shuffled.offset, plain.offset, **within)


@pytest.mark.parametrize("tile", [1, 10, 1000])
def test_best_correlations_are_those_of_the_whole_array(bank: SliceBank, tile: int) -> None:
    given_problem = problem(bank, 3, 4, 17, scale=1.0, tile=tile)
    excluded = torch.zeros(len(bank.covered))
    excluded[::3] = -torch.inf
    given_problem = given_problem._replace(orientation_log_prior=excluded)
    cross, power = terms(given_problem, bank)
    correlation = cross / np.sqrt(power)[:, None]
    correlation[:, :, ::3] = -np.inf
    found = dense_correlation_maxima(given_problem, bank)
    np.testing.assert_allclose(found.orientation.numpy(), correlation.max(1), atol=1e-5)
    np.testing.assert_allclose(found.offset.numpy(), correlation.max(2), atol=1e-5)


def test_a_grid_need_not_be_kept(bank: SliceBank) -> None:
    given_problem = problem(bank, 2, 3, 23, scale=1.0, tile=7)
    fresh = copy(bank)
    fresh.cover(PIXELS, keep=False)
    assert not fresh.kept
    for function in (dense_marginals, dense_correlation_maxima):
        found, wanted = function(given_problem, fresh), function(given_problem, bank)
        torch.testing.assert_close(found.orientation, wanted.orientation)
        torch.testing.assert_close(found.offset, wanted.offset)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_lower_precision_is_for_accelerators_only(bank: SliceBank, precision: str) -> None:
    given_problem = problem(bank, 2, 3, 29, scale=1.0, tile=64)
    wanted = dense_marginals(given_problem, bank)
    found = dense_marginals(given_problem._replace(precision=precision), bank)
    assert torch.equal(found.orientation, wanted.orientation)
    assert torch.equal(found.offset, wanted.offset)


@pytest.mark.cuda
@pytest.mark.parametrize(
    ("precision", "rounding"), [("float32", 2**-20), ("tf32", 2**-9), ("bfloat16", 2**-6)]
)
def test_precision_of_products_on_a_device(precision: str, rounding: float) -> None:
    generator = torch.Generator().manual_seed(3)
    rows, columns = (torch.randn(m, 500, generator=generator) for m in (70, 90))
    out = torch.empty(70, 90, device="cuda")
    matrix_product(rows.cuda(), columns.cuda(), precision, out)
    wanted = rows.double() @ columns.double().T
    error = (out.cpu().double() - wanted).abs().max() / 500**0.5
    assert float(error) < 4 * rounding
    assert torch.backends.cuda.matmul.allow_tf32 is False


def test_a_bank_that_covers_nothing_has_no_tiles(bank: SliceBank) -> None:
    empty = SliceBank(
        bank.projector,
        OrientationGrid(0),
        bank.coordinates,
        r_max=R_MAX,
        perturbation=torch.eye(3, dtype=torch.float64),
    )
    assert list(score_tiles(problem(bank, 1, 1, 1, scale=1.0, tile=5), empty)) == []
