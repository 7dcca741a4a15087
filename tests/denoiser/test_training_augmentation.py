"""Draws of the augmentation: rotations without mirrors, filters of equal mean resolution."""

import math

import torch

from napari_blush.data_model.training_settings import TrainingSettings
from napari_blush.denoiser.training.augmentation import (
    cube_rotations,
    draw_augmentation,
    random_covariance,
)

SETTINGS = TrainingSettings(block_size=16, depth=2)


def test_cube_rotations_are_all_24_and_no_mirror(generator: torch.Generator) -> None:
    drawn = cube_rotations(600, generator)
    assert torch.equal(torch.linalg.det(drawn).round(), torch.ones(600))
    assert torch.equal(drawn @ drawn.transpose(1, 2), torch.eye(3).expand(600, 3, 3))
    assert len(torch.unique(drawn.reshape(600, 9), dim=0)) == 24


def test_a_filter_is_one_half_at_its_resolution(generator: torch.Generator) -> None:
    covariance = random_covariance(torch.tensor([8.0]), 0.0, generator)[0]
    k = torch.tensor([1.0, 2.0, -2.0]) / 3 / 8.0
    assert math.isclose(float(torch.exp(-0.5 * k @ covariance @ k)), 0.5, rel_tol=1e-5)


def test_anisotropic_filters_keep_the_mean_resolution(generator: torch.Generator) -> None:
    resolution = torch.full((50,), 8.0)
    covariance = random_covariance(resolution, 0.4, generator)
    along = torch.linalg.eigvalsh(covariance) / (2 * math.log(2))
    assert torch.allclose(along.log().mean(dim=1).exp().sqrt(), resolution, rtol=1e-3)
    assert float((along[:, 2] / along[:, 0]).sqrt().median()) > 1.3
    assert torch.allclose(covariance, covariance.transpose(1, 2), atol=1e-3)


def test_input_and_target_have_the_same_mean_resolution_and_other_axes(
    generator: torch.Generator,
) -> None:
    inside = [torch.tensor([[10, 12, 14]])] * 20
    drawn = draw_augmentation(SETTINGS, inside, [24] * 20, 3.0, generator)
    # The determinant is the product of the squared resolutions, whatever the axes.
    assert torch.allclose(
        torch.linalg.det(drawn.input_covariance).log(),
        torch.linalg.det(drawn.target_covariance).log(),
        atol=1e-2,
    )
    assert not torch.allclose(drawn.input_covariance, drawn.target_covariance, rtol=0.05)


def test_a_draw_is_that_of_its_generator() -> None:
    inside = [torch.tensor([[10, 12, 14], [3, 3, 3]])] * 4
    one, same, other = (
        draw_augmentation(SETTINGS, inside, [24] * 4, 3.0, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(one.rotation, same.rotation)
    assert torch.equal(one.center, same.center)
    assert not torch.equal(one.rotation, other.rotation)


def test_blocks_lie_on_the_particle_and_elsewhere(generator: torch.Generator) -> None:
    place = torch.tensor([[12, 12, 12]])
    drawn = draw_augmentation(SETTINGS, [place] * 300, [48] * 300, 3.0, generator)
    near = ((drawn.center - 12).abs() <= 4).all(dim=1)
    assert 0.7 < float(near.float().mean()) < 0.95
    assert int(drawn.center.min()) >= 0
    assert int(drawn.center.max()) > 40


def test_probabilities_of_zero_leave_everything_out(generator: torch.Generator) -> None:
    nothing = SETTINGS.model_copy(
        update={
            "rotation_probability": 0.0,
            "noise_probability": 0.0,
            "cutoff_probability": 0.0,
            "sphere_probability": 0.0,
        }
    )
    drawn = draw_augmentation(nothing, [torch.tensor([[5, 5, 5]])] * 9, [12] * 9, 3.0, generator)
    assert not drawn.interpolated.any()
    assert not drawn.noise.any()
    assert not drawn.cutoff.any()
    assert not drawn.sphere.any()
    assert not drawn.shift.any()
