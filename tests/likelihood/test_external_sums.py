"""Maps of RELION's sums, held to both recipes written out with whole arrays."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from napari_blush.likelihood.external_sums import Recipe, maps_of_sums

N, PADDING = 12, 2
P = N * PADDING
Array = npt.NDArray[np.float64]


def grids() -> tuple[Array, Array]:
    """Return distances on the padded half grid (DC first) and in the box."""
    f, h = np.fft.fftfreq(P, 1 / P), np.arange(P // 2 + 1)
    x = np.arange(N) - N // 2
    return (
        np.sqrt(f[:, None, None] ** 2 + f[None, :, None] ** 2 + h**2),
        np.sqrt(x[:, None, None] ** 2 + x[None, :, None] ** 2 + x**2),
    )


def sums(rng: np.random.Generator, r_max: int) -> tuple[npt.NDArray[np.complex128], Array]:
    """Return random Hermitian data and weights, filled as RELION fills them."""
    radius, _ = grids()
    volume = np.zeros((P, P, P))
    volume[:N, :N, :N] = rng.normal(size=(N, N, N))
    weight = rng.uniform(0.5, 2, size=radius.shape) * (rng.uniform(size=radius.shape) < 0.9)
    weight[..., 0] = 1.0  # its own mirror image
    filled = radius < r_max * PADDING
    return np.fft.rfftn(volume) * weight * filled / N**2, weight * filled


def centered(array: npt.NDArray[np.generic], r_max: int) -> torch.Tensor:
    reach = PADDING * r_max - 1
    order = np.arange(-reach, reach + 1)
    return torch.from_numpy(array[np.ix_(order, order, np.arange(reach + 1))])


def expected(data: npt.NDArray[np.complex128], weight: Array, tau2: Array | None, r_max: int,
             recipe: Recipe) -> Array:  # fmt: skip
    radius, r = grids()
    filled = radius < r_max * PADDING
    inverse = np.zeros(N // 2 + 1) if tau2 is None else 1 / (tau2 * PADDING**3)
    if recipe == "relion":
        shell = np.floor(radius / PADDING + 0.5).astype(int)
        prior = np.where(shell < 5, 0, inverse[np.minimum(shell, N // 2)])
    else:
        shell = radius.astype(int)
        prior = np.interp(radius, np.arange(N // 2 + 1) * PADDING, inverse)
    mean = np.zeros(radius.shape)
    for s in range(shell.max() + 1):
        here = (shell == s) & filled
        mean[shell == s] = weight[here].mean() if here.any() else 0
    if recipe == "relion":
        denominator = np.maximum(weight + prior, mean / 1000)
    else:
        denominator = weight + (mean / 1000 if tau2 is None else prior)
    solved = np.where(filled, data * N**2 / np.maximum(denominator, 1e-30), 0)
    volume = np.fft.fftshift(np.fft.irfftn(solved, s=(P, P, P), axes=(0, 1, 2)))
    first = P // 2 - N // 2
    volume = volume[first : first + N, first : first + N, first : first + N]
    if recipe == "relion":
        outside = np.where(r > N / 2, 0.5 - 0.5 * np.cos(np.pi * np.minimum((r - N / 2) / 3, 1)), 0)
        volume = volume * (1 - outside) + outside * (volume * outside).sum() / outside.sum()
    return volume / np.sinc(r / P) ** 2


@pytest.mark.parametrize("recipe", ["relion", "release"])
@pytest.mark.parametrize("r_max", [6, 4])
def test_maps_are_the_written_out_ones(recipe: Recipe, r_max: int) -> None:
    rng = np.random.default_rng(7)
    data, weight = sums(rng, r_max)
    tau2 = 10.0 ** rng.uniform(-2, 1, size=N // 2 + 1)
    maps = maps_of_sums(
        centered(data.astype(np.complex64), r_max),
        centered(weight.astype(np.float32), r_max),
        torch.from_numpy(tau2).float(),
        box_size=N,
        padding=PADDING,
        recipe=recipe,
    )
    for made, prior in ((maps.unfiltered, None), (maps.wiener, tau2)):
        wanted = expected(data, weight, prior, r_max, recipe)
        np.testing.assert_allclose(made.numpy(), wanted, atol=2e-5 * wanted.std(), rtol=1e-4)


@pytest.mark.parametrize("recipe", ["relion", "release"])
def test_without_a_prior_both_maps_are_the_same(recipe: Recipe) -> None:
    data, weight = sums(np.random.default_rng(7), 6)
    maps = maps_of_sums(
        centered(data.astype(np.complex64), 6),
        centered(weight.astype(np.float32), 6),
        torch.zeros(N // 2 + 1),
        box_size=N,
        padding=PADDING,
        recipe=recipe,
    )
    assert torch.equal(maps.unfiltered, maps.wiener)
    assert float(maps.unfiltered.std()) > 0
