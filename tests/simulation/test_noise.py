"""Noise: its spectrum, its variance, its independence of batches."""

import numpy as np
import pytest
import torch

from napari_blush.errors import SettingsError
from napari_blush.simulation.noise import (
    coloured_spectrum,
    draw_noise,
    noise_power,
    white_spectrum,
)

BOX, PIXEL = 32, 3.0


def full_power(spectrum, box=BOX, pixel=PIXEL) -> np.ndarray:
    """The normalized power over the whole transform, written out."""
    k = np.fft.fftfreq(box, pixel)
    power = spectrum(torch.from_numpy(np.hypot(k[:, None], k[None, :]))).numpy()
    return power / power.mean()


@pytest.mark.parametrize("spectrum", [white_spectrum, coloured_spectrum])
@pytest.mark.parametrize("box", [31, 32])
def test_power_has_mean_one_over_the_full_transform(spectrum, box) -> None:
    wanted = full_power(spectrum, box)[:, : box // 2 + 1]
    np.testing.assert_allclose(noise_power(spectrum, box, PIXEL).numpy(), wanted, rtol=1e-6)


def test_coloured_spectrum_is_the_written_formula() -> None:
    k = 0.05
    wanted = 0.3 + 3 / (1 + 4.0) + 0.7 * np.exp(-0.045)
    assert coloured_spectrum(torch.tensor(k)).item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("spectrum", [white_spectrum, coloured_spectrum])
def test_drawn_noise_has_the_spectrum(spectrum) -> None:
    power = noise_power(spectrum, BOX, PIXEL)
    noise = draw_noise(7, range(4000), power).numpy().astype(np.float64)
    assert abs(noise.mean()) < 0.005
    assert noise.var() == pytest.approx(1.0, abs=0.005)
    measured = (np.abs(np.fft.fft2(noise)) ** 2).mean(0) / BOX**2
    ratio = measured / full_power(spectrum)
    k = np.fft.fftfreq(BOX, 1 / BOX)
    shell = np.rint(np.hypot(k[:, None], k[None, :])).astype(int)
    for s in range(2, shell.max() + 1):
        # 2 % for every shell of enough coefficients, corners included; four sigma elsewhere.
        n_draws = 4000 * (shell == s).sum() / 2
        assert ratio[shell == s].mean() == pytest.approx(1, abs=max(0.02, 4 / n_draws**0.5))


def test_noise_of_an_image_does_not_depend_on_its_batch() -> None:
    power = noise_power(coloured_spectrum, BOX, PIXEL)
    together = draw_noise(3, [0, 5, 9], power)
    torch.testing.assert_close(draw_noise(3, [9], power)[0], together[2], atol=1e-6, rtol=0)
    assert not torch.allclose(draw_noise(4, [9], power)[0], together[2], atol=0.1)


def test_noise_of_different_images_is_independent() -> None:
    noise = draw_noise(0, range(50), noise_power(white_spectrum, BOX, PIXEL)).flatten(1)
    correlation = torch.corrcoef(noise) - torch.eye(50)
    assert correlation.abs().max() < 5 / BOX


@pytest.mark.parametrize(
    "spectrum",
    [lambda k: -1 + 0 * k, lambda k: 1 / k, lambda k: 0 * k],
    ids=["negative", "infinite", "zero"],
)
def test_a_spectrum_without_sense_is_refused(spectrum) -> None:
    with pytest.raises(SettingsError, match="noise spectrum"):
        noise_power(spectrum, BOX, PIXEL)
