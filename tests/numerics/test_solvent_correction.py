from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from torch import Tensor

from napari_blush.errors import SettingsError
from napari_blush.numerics.correlation import fourier_shell_correlation, resolution_at
from napari_blush.numerics.filters import b_factor, randomize_phases
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.solvent_correction import solvent_corrected_fsc

ORACLE = Path(__file__).parents[1] / "oracles" / "relion_postprocess_fsc_betagal.tsv"
BOX = 48


def half_maps(generator: torch.Generator, noise: float) -> tuple[Tensor, Tensor, Tensor]:
    """A blurred random object within a sphere, under two draws of white noise; and its mask."""
    object_mask = soft_sphere(BOX, 9.0, 2.0).double()
    white = torch.randn(3, BOX, BOX, BOX, generator=generator, dtype=torch.float64)
    signal = b_factor(white[0] * object_mask, 1.0, 60.0)
    return (
        signal + noise * white[1],
        signal + noise * white[2],
        soft_sphere(BOX, 11.0, 4.0).double(),
    )


def test_curves_are_the_written_out_procedure(generator: torch.Generator) -> None:
    half1, half2, mask = half_maps(generator, 0.1)
    curves = solvent_corrected_fsc(half1, half2, mask, torch.Generator().manual_seed(5))
    first = curves.randomized_from_shell
    assert first is not None
    unmasked = fourier_shell_correlation(half1, half2)
    assert unmasked[1:first].min() >= 0.8 > unmasked[first]
    torch.testing.assert_close(curves.unmasked, unmasked)
    again = torch.Generator().manual_seed(5)
    noise1 = randomize_phases(half1, first, again) * mask
    noise2 = randomize_phases(half2, first, again) * mask
    torch.testing.assert_close(curves.phase_randomized, fourier_shell_correlation(noise1, noise2))
    for shell, (t, n, true) in enumerate(
        zip(curves.masked, curves.phase_randomized, curves.corrected, strict=True)
    ):
        expected = t if shell < first + 2 else (0.0 if n > t else (t - n) / (1 - n))
        assert true.item() == pytest.approx(float(expected))


def test_the_correction_takes_away_what_the_mask_brings(generator: torch.Generator) -> None:
    # Pure noise of long range beyond shell 3: a tight mask alone makes it correlate.
    half1, half2, _ = half_maps(generator, 0.02)
    noise = [randomize_phases(half, 4, generator) for half in (half1, half2)]
    tight = soft_sphere(BOX, 5.0, 1.0).double()
    curves = solvent_corrected_fsc(noise[0], noise[1], tight, generator, n_draws=4)
    first = curves.randomized_from_shell
    assert first == 4
    assert curves.masked[6:10].mean() > 0.15
    assert curves.corrected[6:10].mean() < 0.5 * curves.masked[6:10].mean()


def test_more_draws_scatter_less(generator: torch.Generator) -> None:
    half1, half2, mask = half_maps(generator, 0.1)

    def scatter(n_draws: int) -> float:
        curves = torch.stack(
            [
                solvent_corrected_fsc(
                    half1, half2, mask, generator, n_draws=n_draws
                ).phase_randomized
                for _ in range(5)
            ]
        )
        return curves.std(dim=0).mean().item()

    assert scatter(6) < 0.7 * scatter(1)


def test_halves_that_agree_to_the_end_keep_the_unmasked_curve(generator: torch.Generator) -> None:
    half1, half2, mask = half_maps(generator, 1e-4)
    curves = solvent_corrected_fsc(half1, half2, mask, generator, randomize_at=0.1)
    assert curves.randomized_from_shell is None
    assert torch.equal(curves.corrected, curves.unmasked)
    assert curves.phase_randomized.abs().max() == 0


def test_no_draws_are_refused(generator: torch.Generator) -> None:
    half1, half2, mask = half_maps(generator, 0.1)
    with pytest.raises(SettingsError, match="n_draws is 0"):
        solvent_corrected_fsc(half1, half2, mask, generator, n_draws=0)


@pytest.mark.real_data
def test_curves_are_those_of_relion_postprocess(data_dir: Path, generator: torch.Generator) -> None:
    folder = data_dir / "betagal_dev"
    half1, half2, mask = (
        torch.from_numpy(mrcfile.read(folder / name).copy())
        for name in (
            "relion313_reference/half1_unfil.mrc",
            "relion313_reference/half2_unfil.mrc",
            "mask_soft_box64.mrc",
        )
    )
    table = np.genfromtxt(ORACLE, names=True, skip_header=5)
    curves = solvent_corrected_fsc(half1, half2, mask, generator, n_draws=4)
    assert curves.randomized_from_shell == 10
    np.testing.assert_allclose(curves.unmasked, table["unmasked"], atol=2e-5)
    np.testing.assert_allclose(curves.masked, table["masked"], atol=2e-5)
    np.testing.assert_allclose(curves.corrected[:12], table["corrected"][:12], atol=2e-5)
    # Theirs is one random draw: its scatter is about 1 / sqrt(coefficients in the mask's resels).
    np.testing.assert_allclose(
        curves.phase_randomized[:10], table["phase_randomized"][:10], atol=0.02
    )
    np.testing.assert_allclose(
        curves.phase_randomized[12:], table["phase_randomized"][12:], atol=0.08
    )
    np.testing.assert_allclose(curves.corrected[12:], table["corrected"][12:], atol=0.06)
    assert resolution_at(curves.corrected, 0.143, 64, 3.54) == pytest.approx(7.552, abs=1e-3)


@pytest.mark.cuda
def test_curves_do_not_depend_on_the_device(generator: torch.Generator) -> None:
    half1, half2, mask = half_maps(generator, 0.1)
    on_cpu, on_cuda = (
        solvent_corrected_fsc(
            half1.to(device), half2.to(device), mask.to(device), torch.Generator().manual_seed(5)
        )
        for device in ("cpu", "cuda")
    )
    assert on_cuda.corrected.device.type == "cuda"
    torch.testing.assert_close(on_cuda.corrected.cpu(), on_cpu.corrected)
