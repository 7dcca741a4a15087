"""Log-likelihoods as matrix products against the squared differences they stand for."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_blush.likelihood.squared_difference import (
    as_real_rows,
    correlation_from_terms,
    dense_log_likelihood,
    gathered_log_likelihood,
    gathered_power,
    shifted_images,
    squared_parts,
)

SIZES = {
    "b": st.integers(1, 4),
    "t": st.integers(1, 4),
    "o": st.integers(1, 6),
    "k": st.integers(1, 40),
    "seed": st.integers(0, 2**31),
    "own_phases": st.booleans(),
}


class Trial:
    """Random images, noise, transfer functions, slices and shifts of one size."""

    def __init__(self, b: int, t: int, o: int, k: int, seed: int, own_phases: bool) -> None:
        generator = torch.Generator().manual_seed(seed)

        def noise(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        def spectrum(*shape: int) -> Tensor:
            return torch.complex(noise(*shape), noise(*shape))

        self.image = spectrum(b, k)
        self.ctf = noise(b, k)
        self.sigma = 0.5 + torch.rand(b, k, generator=generator)
        self.slices = spectrum(b, o, k)
        angle = 3 * noise(b, t, k) if own_phases else 3 * noise(t, k)
        self.phases = torch.polar(torch.ones_like(angle), angle)
        whitened, transfer = self.image / self.sigma, self.ctf / self.sigma
        self.moved = shifted_images(whitened * transfer, self.phases)
        self.ctf_power = transfer**2

    def brute_force(self, slices: Tensor) -> np.ndarray:
        """Return ``-|X_t - C P|^2 / (2 sigma^2)`` (b, t, o), a loop over poses, in float64."""
        phases = self.phases.expand(len(self.image), *self.phases.shape[-2:]).numpy()
        b, t, _ = phases.shape
        o = slices.shape[1]
        values = np.empty((b, t, o))
        wide = np.complex128
        for i in range(b):
            x, c = self.image[i].numpy().astype(wide), self.ctf[i].numpy().astype(float)
            variance = self.sigma[i].numpy().astype(float) ** 2
            for j in range(t):
                for p in range(o):
                    expected = c * slices[i, p].numpy().astype(wide)
                    difference = phases[i, j].astype(wide) * x - expected
                    values[i, j, p] = -np.sum(np.abs(difference) ** 2 / (2 * variance))
        return values


def assert_same_differences(found: Tensor, wanted: np.ndarray) -> None:
    """Compare differences between the poses of each image, all that a likelihood means."""
    assert found.shape == wanted.shape
    difference = found.double().numpy() - found[:, :1, :1].double().numpy()
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(difference, wanted - wanted[:, :1, :1], atol=4e-6 * scale)


@settings(deadline=None, max_examples=60)
@given(**SIZES)
def test_gathered_log_likelihood_is_the_squared_difference(
    b: int, t: int, o: int, k: int, seed: int, own_phases: bool
) -> None:
    trial = Trial(b, t, o, k, seed, own_phases)
    squares = squared_parts(trial.slices)
    found = gathered_log_likelihood(trial.moved, trial.ctf_power, trial.slices, squares)
    assert_same_differences(found, trial.brute_force(trial.slices))


@settings(deadline=None, max_examples=60)
@given(**SIZES)
def test_dense_log_likelihood_is_the_squared_difference(
    b: int, t: int, o: int, k: int, seed: int, own_phases: bool
) -> None:
    trial = Trial(b, t, o, k, seed, own_phases)
    shared = trial.slices[0]
    found = dense_log_likelihood(trial.moved, trial.ctf_power, shared, shared.abs() ** 2)
    assert_same_differences(found, trial.brute_force(shared.expand(b, o, k)))


def test_only_what_the_image_itself_adds_is_left_out() -> None:
    trial = Trial(2, 3, 4, 25, 7, False)
    squares = squared_parts(trial.slices)
    found = gathered_log_likelihood(trial.moved, trial.ctf_power, trial.slices, squares)
    own = (trial.image.abs().double() ** 2 / (2 * trial.sigma.double() ** 2)).sum(1)
    whole = found.double() - own[:, None, None]
    np.testing.assert_allclose(whole.numpy(), trial.brute_force(trial.slices), rtol=1e-5)


def test_shifting_multiplies_each_image_by_each_phase() -> None:
    trial = Trial(3, 2, 1, 11, 5, False)
    moved = shifted_images(trial.image, trial.phases)
    for image in range(3):
        for shift in range(2):
            torch.testing.assert_close(
                moved[image, shift], trial.image[image] * trial.phases[shift]
            )


def test_complex_rows_become_real_rows_in_place() -> None:
    values = torch.tensor([[1 + 2j, 3 - 4j]], dtype=torch.complex64)
    rows = as_real_rows(values)
    assert rows.tolist() == [[1.0, 2.0, 3.0, -4.0]]
    rows[0, 3] = 9.0
    assert values[0, 1] == 3 + 9j


def test_power_weighs_both_parts_alike() -> None:
    trial = Trial(2, 1, 3, 17, 11, False)
    found = gathered_power(trial.ctf_power, squared_parts(trial.slices))
    wanted = torch.einsum("bk,bok->bo", trial.ctf_power, trial.slices.abs() ** 2)
    torch.testing.assert_close(found[:, 0], wanted)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), grey_scale=st.floats(0.01, 100.0))
def test_correlation_is_blind_to_the_reference_grey_scale(seed: int, grey_scale: float) -> None:
    trial = Trial(1, 1, 1, 30, seed, False)
    x = (trial.phases * trial.image)[0].numpy().astype(np.complex128)
    expected = (trial.ctf[0] * trial.slices[0, 0]).numpy().astype(np.complex128)
    wanted = np.real(np.vdot(expected, x)) / np.linalg.norm(expected)
    cross = torch.tensor(grey_scale * np.real(np.vdot(expected, x)))
    power = torch.tensor(grey_scale**2 * np.linalg.norm(expected) ** 2)
    np.testing.assert_allclose(float(correlation_from_terms(cross, power)), wanted, rtol=1e-6)


def test_correlation_with_nothing_is_nothing() -> None:
    assert float(correlation_from_terms(torch.tensor(0.0), torch.tensor(0.0))) == 0.0
