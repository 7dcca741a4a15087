"""Phase randomization of images, and the verdict on curves."""

import pytest
import torch

from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.particles import ImagesInMemory, Particles
from napari_blush.data_model.poses import Poses
from napari_blush.errors import SettingsError
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.shells import shell_index_grid
from napari_blush.validation.lights import Light
from napari_blush.validation.overfitting import (
    PhaseRandomizedImages,
    overfitting_verdict,
    phase_randomized_particles,
    standard_errors,
    suggested_randomization,
    true_fsc,
)

BOX, N = 24, 7


@pytest.fixture
def stack(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(N, BOX, BOX, generator=generator) + 3


def test_amplitudes_stay_and_only_fine_phases_change(stack: torch.Tensor) -> None:
    source = PhaseRandomizedImages(ImagesInMemory(stack), torch.full((N,), 6))
    found = source.read(torch.arange(N))
    before, after = torch.fft.rfft2(stack), torch.fft.rfft2(found)
    torch.testing.assert_close(after.abs(), before.abs(), atol=1e-3, rtol=1e-4)
    fine = shell_index_grid(BOX, 2) >= 6
    torch.testing.assert_close(after[:, ~fine], before[:, ~fine], atol=1e-3, rtol=1e-4)
    turned = (after * before.conj()).real / (after.abs() * before.abs())
    assert turned[:, fine].mean().abs() < 0.05
    assert found.dtype == torch.float32


def test_an_image_is_the_same_whenever_it_is_read(stack: torch.Tensor) -> None:
    source = PhaseRandomizedImages(ImagesInMemory(stack), torch.full((N,), 4), seed=5)
    together = source.read(torch.arange(N))
    alone = source.read(torch.tensor([3]))
    torch.testing.assert_close(together[3], alone[0], atol=1e-5, rtol=0)
    again = PhaseRandomizedImages(ImagesInMemory(stack), torch.full((N,), 4), seed=5)
    assert torch.equal(source.read(torch.tensor([6, 1])), again.read(torch.tensor([6, 1])))
    other = PhaseRandomizedImages(ImagesInMemory(stack), torch.full((N,), 4), seed=6)
    assert not torch.allclose(other.read(torch.tensor([3]))[0], alone[0], atol=0.1)
    twins = PhaseRandomizedImages(ImagesInMemory(stack[:1].expand(2, -1, -1)), torch.full((2,), 4))
    first, second = twins.read(torch.arange(2))
    assert not torch.allclose(first, second, atol=0.1)
    assert len(source) == N
    assert source.read(torch.zeros(0, dtype=torch.int64)).shape[0] == 0


def particles_of(stack: torch.Tensor, pixel_sizes: tuple[float, ...]) -> Particles:
    n = len(stack)
    groups = tuple(
        OpticsGroup(f"group{i}", 300.0, 2.7, 0.1, size, BOX) for i, size in enumerate(pixel_sizes)
    )
    ones = torch.ones(n, dtype=torch.float64)
    return Particles(
        images=ImagesInMemory(stack),
        optics_groups=groups,
        optics_group_index=torch.arange(n) % len(groups),
        defocus=torch.zeros(n, 3, dtype=torch.float64),
        phase_shift_deg=0 * ones,
        ctf_b_factor=0 * ones,
        ctf_scale=ones,
        poses=Poses.identity(n),
        has_poses=False,
        random_subset=torch.zeros(n, dtype=torch.int64),
        group_index=torch.zeros(n, dtype=torch.int64),
        group_names=("a",),
        norm_correction=ones,
    )


def test_each_optics_group_has_its_shell(stack: torch.Tensor) -> None:
    particles = particles_of(stack, (2.0, 4.0))
    found = phase_randomized_particles(particles, 12.0).images.read(torch.arange(N))
    change = (torch.fft.rfft2(found) - torch.fft.rfft2(stack)).abs() > 0.05
    shells = shell_index_grid(BOX, 2)
    assert not change[0][shells < 4].any() and change[0][shells == 5].any()
    assert not change[1][shells < 8].any() and change[1][shells == 9].any()
    with pytest.raises(SettingsError, match="choose another resolution"):
        phase_randomized_particles(particles, 4.5)


def test_a_shell_for_each_image(stack: torch.Tensor) -> None:
    with pytest.raises(SettingsError, match="wanted one for each"):
        PhaseRandomizedImages(ImagesInMemory(stack), torch.full((N - 1,), 4))


def test_errors_are_those_of_noise(generator: torch.Generator) -> None:
    box = 20
    a, b = torch.randn(2, 200, box, box, box, generator=generator)
    mask = soft_sphere(box, 5.0, 2.0)
    for used in (None, mask):
        factor = torch.ones(()) if used is None else used
        curves = fourier_shell_correlation(a * factor, b * factor)
        # The package's FSC counts one plane double, and thin shells of a mask hold more.
        ratio = (curves.std(dim=0) / standard_errors(box, used))[5:]
        assert bool(((ratio > 0.6) & (ratio < 1.35)).all()), ratio
        runs = curves.unfold(1, 3, 1).mean(dim=2)[:, 5:].std(dim=0)
        ratio = runs / standard_errors(box, used)[5 : 5 + runs.shape[0]] * 3**0.5
        assert bool(((ratio > 0.7) & (ratio < 1.35)).all()), ratio


def curves(noise_level: float, n_shells: int = 33) -> tuple[torch.Tensor, torch.Tensor]:
    shells = torch.arange(n_shells).float()
    fsc_t = 1 / (1 + torch.exp((shells - 20) / 2))
    return fsc_t, torch.where(shells < 10, fsc_t, noise_level * torch.ones(n_shells))


@pytest.mark.parametrize(
    ("level", "light"), [(0.0, Light.GREEN), (0.11, Light.YELLOW), (0.3, Light.RED)]
)
def test_the_light_follows_the_noise(level: float, light: Light) -> None:
    verdict = overfitting_verdict(*curves(level), 10, 2.0)
    assert verdict.check.light is light
    assert verdict.resolution_true >= verdict.resolution
    assert verdict.excess == pytest.approx(level, abs=0.04)


def test_independent_noise_is_green_nearly_always(generator: torch.Generator) -> None:
    box, mask = 32, soft_sphere(32, 9.0, 3.0)
    a, b = torch.randn(2, 20, box, box, box, generator=generator) * mask
    fsc_n = fourier_shell_correlation(a, b)
    fsc_t, _ = curves(0.0, 17)
    lights = [overfitting_verdict(fsc_t, curve, 5, 2.0, mask=mask).check.light for curve in fsc_n]
    assert sum(light is Light.GREEN for light in lights) >= 19


def test_true_fsc_in_numbers() -> None:
    fsc_t = torch.tensor([1.0, 0.9, 0.8, 0.6, 0.5, 0.1, 0.3])
    fsc_n = torch.tensor([1.0, 0.9, 0.5, 0.2, 0.2, 0.4, -0.2])
    wanted = torch.tensor([1.0, 0.9, 0.8, 0.6, 0.375, 0.0, 0.3])
    torch.testing.assert_close(true_fsc(fsc_t, fsc_n, 2), wanted)


def test_curves_that_cannot_be_judged_are_refused() -> None:
    fsc_t, fsc_n = curves(0.0)
    with pytest.raises(SettingsError, match="coarser resolution"):
        overfitting_verdict(fsc_t, fsc_n, 30, 2.0)


def test_the_suggestion_leaves_shells_to_judge() -> None:
    fsc_t, _ = curves(0.0)
    assert suggested_randomization(fsc_t, 2.0) == pytest.approx(64 * 2 / 17)
    assert suggested_randomization(torch.full((33,), 0.5), 2.0) == pytest.approx(64 * 2)
