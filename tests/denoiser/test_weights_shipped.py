"""The weights that the package ships, and that they are what a refinement uses unless told."""

from importlib import resources

import torch

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.denoiser.inference import denoise_volume
from napari_blush.denoiser.weights import load_denoiser

LARGEST = 30_000_000  # bytes in the wheel


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


def test_the_shipped_weights_take_noise_out_of_the_solvent_and_leave_the_particle() -> None:
    generator = torch.Generator().manual_seed(0)
    axis = torch.arange(48) - 24.0
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    radius = torch.sqrt((x / 1.3) ** 2 + y**2 + (z / 0.8) ** 2)
    ripple = 1 + 0.3 * torch.cos(x / 2) * torch.cos(y / 2.5) * torch.cos(z / 2)
    particle = torch.sigmoid((9 - radius) / 0.8) * ripple
    noisy = particle + 0.3 * torch.randn(particle.shape, generator=generator)
    denoised = denoise_volume(noisy, 3.0, load_denoiser("default")).volume
    far = (radius > 14) & (radius < 17)
    assert float(denoised[far].std()) < 0.3 * float(noisy[far].std())
    error = (denoised - particle)[radius < 8].square().mean()
    assert float(error) < 0.5 * 0.3**2
