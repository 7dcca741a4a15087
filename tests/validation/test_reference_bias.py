"""Images of noise are what they are called; the verdict in numbers."""

import math

import pytest
import torch
from torch import Tensor

from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.particles import ImagesInMemory, Particles
from napari_blush.data_model.poses import Poses
from napari_blush.errors import SettingsError
from napari_blush.numerics.shells import shell_index_grid
from napari_blush.validation.lights import Light
from napari_blush.validation.reference_bias import (
    Agreement,
    bias_section,
    bias_verdict,
    noise_particles,
)

BOX, N = 24, 300


def particles_of(stack: Tensor, n_groups: int = 2) -> Particles:
    n = len(stack)
    ones = torch.ones(n, dtype=torch.float64)
    return Particles(
        images=ImagesInMemory(stack),
        optics_groups=tuple(
            OpticsGroup(f"group{i}", 300.0, 2.7, 0.1, 3.0, BOX) for i in range(n_groups)
        ),
        optics_group_index=torch.arange(n) % n_groups,
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


def test_noise_has_the_spectra_and_backgrounds_asked_for(generator: torch.Generator) -> None:
    given = 2.0 * torch.randn(N, BOX, BOX, generator=generator) + 5
    shells = torch.arange(BOX // 2 + 1)
    spectra = torch.stack([torch.exp(-shells / 4.0), torch.ones(BOX // 2 + 1)])
    noise = noise_particles(particles_of(given), spectra, 50.0)
    found = noise.images.read(torch.arange(N))
    assert found.dtype == torch.float32 and len(noise.images) == N
    assert float(found.mean()) == pytest.approx(5, abs=0.05)
    power = torch.fft.rfft2(found - found.mean()).abs() ** 2
    index = shell_index_grid(BOX, 2)
    for group in range(2):
        mean = power[group::2].mean(dim=0)
        by_shell = torch.stack([mean[index == shell].mean() for shell in range(2, 11)])
        ratio = by_shell / spectra[group, 2:11]
        assert float(ratio.std() / ratio.mean()) < 0.12
        assert float(found[group::2].std()) == pytest.approx(2.0, rel=0.05)
    # Nothing of the images is left, and each is the same whenever it is read.
    correlation = torch.corrcoef(torch.stack([given.flatten(), found.flatten()]))[0, 1]
    assert abs(float(correlation)) < 0.01
    torch.testing.assert_close(noise.images.read(torch.tensor([7]))[0], found[7])
    other = noise_particles(particles_of(given), spectra, 50.0, seed=1)
    assert not torch.allclose(other.images.read(torch.tensor([7]))[0], found[7], atol=0.5)


def test_spectra_of_another_run_are_refused(generator: torch.Generator) -> None:
    given = torch.randn(4, BOX, BOX, generator=generator)
    with pytest.raises(SettingsError, match="one for each"):
        noise_particles(particles_of(given), torch.ones(1, BOX // 2 + 1), 50.0)


def curve(half: float, n: int = 33) -> Tensor:
    return 1 / (1 + torch.exp((torch.arange(n).float() - half) / 1.5))


NOTHING = torch.zeros(33)


@pytest.mark.parametrize(
    ("share", "light"), [(0.0, Light.GREEN), (0.3, Light.YELLOW), (0.6, Light.RED)]
)
def test_agreement_that_noise_gives_too(share: float, light: Light) -> None:
    run = Agreement(curve(20), NOTHING)
    noise = Agreement(share * curve(20), NOTHING)
    found = bias_verdict(run, noise, 2.0, shared_shell=4, low_pass_shell=6)
    assert found.explained == pytest.approx(share, abs=1e-5)
    assert [check.light for check in found.checks] == [light, Light.GREEN]


def test_a_run_that_agrees_only_where_halves_share_is_red() -> None:
    run = Agreement(curve(3), NOTHING)
    found = bias_verdict(run, run, 2.0, shared_shell=8, low_pass_shell=8)
    assert math.isinf(found.explained)
    assert found.checks[0].light is Light.RED


@pytest.mark.parametrize(("level", "light"), [(0.1, 0), (0.45, 1), (0.9, 2)])
def test_details_of_the_start_map_that_come_back(level: float, light: int) -> None:
    with_reference = torch.where(torch.arange(33) < 12, level, 0.0)
    run, noise = Agreement(curve(20), curve(20)), Agreement(NOTHING, with_reference)
    found = bias_verdict(run, noise, 2.0, shared_shell=4, low_pass_shell=6)
    assert found.checks[1].light == light
    # What lies within the low-pass does not count: an alignment always brings it back.
    assert bias_verdict(run, noise, 2.0, shared_shell=4, low_pass_shell=14).checks[1].light == 0
    section = bias_section(found, 2.0)
    assert len(section.drawings) == 2 and "low-pass" in section.drawings[1]
