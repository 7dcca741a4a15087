"""The weights that the package ships, and that they are what a refinement uses unless told."""

from importlib import resources
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.denoiser.inference import DenoiseOptions, denoise_volume
from napari_blush.denoiser.weights import load_denoiser

LARGEST = 30_000_000  # bytes in the wheel
PER_RECYCLE, PER_RECYCLE_IN_SOLVENT = 0.02, 0.06  # of the power of the map before


def test_a_refinement_uses_the_shipped_weights_unless_told() -> None:
    settings = RefinementSettings()
    assert (settings.regularizer, settings.denoiser) == ("blush", "default")
    assert settings.spectral_trailing
    record = load_denoiser(settings.denoiser).record
    assert record.name == "blush-3A"
    assert record.license == "BSD-3-Clause"


def test_every_shipped_file_is_small_and_has_a_card() -> None:
    folder = resources.files("napari_blush.denoiser") / "shipped"
    weights = [file for file in folder.iterdir() if file.name.endswith(".safetensors")]
    assert weights
    for file in weights:
        assert len(file.read_bytes()) < LARGEST
        card = (folder / file.name.replace(".safetensors", ".md")).read_text()
        assert "not on the EMDB" in " ".join(card.split())


def noisy_particle() -> tuple[Tensor, Tensor, Tensor]:
    """Return a particle with ripples, noise on it, and the distance from its middle in voxels."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.arange(48) - 24.0
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    radius = torch.sqrt((x / 1.3) ** 2 + y**2 + (z / 0.8) ** 2)
    ripple = 1 + 0.3 * torch.cos(x / 2) * torch.cos(y / 2.5) * torch.cos(z / 2)
    particle = torch.sigmoid((9 - radius) / 0.8) * ripple
    return particle, 0.3 * torch.randn(particle.shape, generator=generator), radius


def test_the_shipped_weights_take_noise_out_of_the_solvent_and_leave_the_particle() -> None:
    particle, noise, radius = noisy_particle()
    noisy = particle + noise
    denoised = denoise_volume(noisy, 3.0, load_denoiser("default")).volume
    far = (radius > 14) & (radius < 17)
    assert float(denoised[far].std()) < 0.3 * float(noisy[far].std())
    error = (denoised - particle)[radius < 8].square().mean()
    assert float(error) < 0.5 * 0.3**2


@pytest.mark.parametrize("has_particle", [True, False])
def test_recycling_neither_grows_nor_drains_power(has_particle: bool) -> None:
    """The bound that the documents state: docs/denoising.md, "Again and again"."""
    particle, noise, radius = noisy_particle()
    given = particle + noise if has_particle else noise
    inside, solvent = radius < 10, (radius > 13) & (radius < 17)
    denoiser, options = load_denoiser("default"), DenoiseOptions(particle_diameter=90.0)
    now, powers = given, []
    for _ in range(5):
        now = denoise_volume(now, 3.0, denoiser, options).volume
        powers.append([float(now[place].square().sum()) for place in (inside, solvent)])
    for (before, solvent_before), (after, solvent_after) in pairwise(powers):
        if has_particle:
            assert abs(after / before - 1) < PER_RECYCLE
        else:
            assert after < (1 + PER_RECYCLE) * before
        assert solvent_after < (1 + PER_RECYCLE_IN_SOLVENT) * solvent_before
    first_inside, first_solvent = powers[0]
    given_inside, given_solvent = (
        float(given[place].square().sum()) for place in (inside, solvent)
    )
    assert first_solvent < 0.1 * given_solvent
    if has_particle:
        assert 0.8 * given_inside < first_inside < given_inside
    else:
        assert first_inside < 0.5 * given_inside
