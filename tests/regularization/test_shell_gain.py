"""What the other half confirms of each shell, against a loop over shells and closed forms."""

import pytest
import torch

from napari_blush.numerics.filters import apply_spectrum
from napari_blush.numerics.masks import soft_sphere
from napari_blush.regularization.shell_gain import LARGEST_GAIN, shell_gain


def by_loop(denoised, unfiltered) -> list[float]:
    """The definition over the full transforms, one shell after another."""
    n = denoised[0].shape[-1]
    d1, d2, u1, u2 = (torch.fft.fftn(v.double()) for v in (*denoised, *unfiltered))
    axis = torch.fft.fftfreq(n, 1 / n)
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0).round()
    gains = []
    for shell in range(n // 2 + 1):
        here = radius == shell
        cross = (d1[here] * u2[here].conj() + d2[here] * u1[here].conj()).real.sum()
        gains.append(float(cross / (d1[here].abs() ** 2 + d2[here].abs() ** 2).sum()))
    return gains


def power_by_shell(volume) -> list[float]:
    n = volume.shape[-1]
    transform = torch.fft.fftn(volume.double()).abs() ** 2
    axis = torch.fft.fftfreq(n, 1 / n)
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0).round()
    return [float(transform[radius == shell].sum()) for shell in range(n // 2 + 1)]


def halves_of(pair) -> tuple[torch.Tensor, torch.Tensor]:
    return pair.given.unfiltered.half1, pair.given.unfiltered.half2


def test_the_definition_shell_by_shell(pair, generator) -> None:
    unfiltered = halves_of(pair)
    denoised = tuple(
        half + 0.1 * torch.randn(half.shape, generator=generator) for half in unfiltered
    )
    expected = torch.tensor(by_loop(denoised, unfiltered)).clamp(0, LARGEST_GAIN)
    gain = shell_gain(denoised, unfiltered)
    assert torch.allclose(gain[1:], expected[1:].float(), atol=1e-4)
    assert float(gain[0]) == 1


def test_only_what_the_mask_keeps_counts(pair, generator) -> None:
    """Something made up in the solvent lowers the gain, unless the solvent will be masked."""
    inside = soft_sphere(32, 11.0, 2.0)
    clean = tuple(half * inside for half in halves_of(pair))
    dirty = tuple(
        half + 0.1 * torch.randn(half.shape, generator=generator) * (inside == 0) for half in clean
    )
    masks = (inside, inside)
    gain = shell_gain(dirty, halves_of(pair), masks)
    assert torch.allclose(gain, shell_gain(clean, halves_of(pair), masks), atol=1e-4)
    assert float(shell_gain(dirty, halves_of(pair))[8]) < 0.7 * float(gain[8])


def test_each_half_has_its_own_mask(pair) -> None:
    """The definition with two masks, written out."""
    first, second = soft_sphere(32, 10.0, 2.0), soft_sphere(32, 8.0, 4.0)
    u1, u2 = halves_of(pair)
    one = by_loop((u1 * first, torch.zeros_like(u1)), (torch.zeros_like(u1), u2 * first))
    two = by_loop((torch.zeros_like(u1), u2 * second), (u1 * second, torch.zeros_like(u1)))
    weights = [torch.tensor(power_by_shell(volume)) for volume in (u1 * first, u2 * second)]
    expected = (torch.tensor(one) * weights[0] + torch.tensor(two) * weights[1]) / sum(weights)
    gain = shell_gain((u1, u2), (u1, u2), (first, second))
    assert torch.allclose(gain[1:14], expected[1:14].float().clamp(0, 2), atol=1e-4)


def test_of_half_maps_that_nothing_denoised_it_is_the_wiener_filter(pair) -> None:
    """Without a denoiser nothing is gained and nothing lost: SNR / (1 + SNR), the baseline."""
    gain = shell_gain(halves_of(pair), halves_of(pair))
    expected = pair.ratio / (1 + pair.ratio)
    assert torch.allclose(gain[3:13], expected[3:13], atol=0.08)


def test_of_the_best_linear_estimate_it_is_one(pair) -> None:
    wiener = tuple(apply_spectrum(half, pair.ratio / (1 + pair.ratio)) for half in halves_of(pair))
    assert torch.allclose(shell_gain(wiener, halves_of(pair))[3:9], torch.ones(6), atol=0.08)


def test_what_is_made_up_is_taken_away(pair, generator) -> None:
    made_up = tuple(torch.randn(32, 32, 32, generator=generator) * 0.03 for _ in range(2))
    gain = shell_gain(made_up, halves_of(pair))
    assert float(gain[10:].max()) < 0.1


@pytest.mark.parametrize("factor", [0.6, 1.5, 1000.0])
def test_it_undoes_any_scale(pair, factor: float) -> None:
    denoised = tuple(apply_spectrum(h, pair.ratio / (1 + pair.ratio)) for h in halves_of(pair))
    once = shell_gain(denoised, halves_of(pair))
    again = shell_gain((factor * denoised[0], factor * denoised[1]), halves_of(pair))
    assert torch.allclose(factor * again[1:10], once[1:10], rtol=1e-3, atol=1e-4)


def test_an_empty_shell_is_not_blown_up(pair) -> None:
    low = tuple(apply_spectrum(half, (torch.arange(17) < 6).float()) for half in halves_of(pair))
    gain = shell_gain(low, halves_of(pair))
    assert float(gain.max()) <= LARGEST_GAIN
    silent = (torch.zeros(32, 32, 32), torch.zeros(32, 32, 32))
    assert torch.equal(shell_gain(silent, halves_of(pair)), torch.ones(17))
    weak = (1e-3 * low[0], 1e-3 * low[1])
    assert float(shell_gain(weak, halves_of(pair)).max()) == LARGEST_GAIN
