import subprocess
from pathlib import Path

import mrcfile
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_blush.errors import SettingsError
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.masks import (
    automatic_threshold,
    background_statistics,
    soft_disc,
    soft_mask_from_volume,
    soft_sphere,
)

VOXEL = 3.0


def distance_grid(n: int, center: tuple[float, float, float]) -> Tensor:
    axes = [torch.arange(n) - at for at in center]
    return (axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2).sqrt()


def ball(
    n: int = 32, radius: float = 7, center: tuple[float, float, float] = (14, 17, 18)
) -> Tensor:
    return (distance_grid(n, center) <= radius).float()


def relion(command: str, folder: Path) -> None:
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)


def read(path: Path) -> Tensor:
    return torch.from_numpy(mrcfile.read(path).copy())


@settings(deadline=None)
@given(st.integers(4, 20), st.floats(0, 12), st.floats(0, 6))
def test_sphere_falls_from_one_to_zero_over_its_edge(n: int, radius: float, edge: float) -> None:
    mask = soft_sphere(n, radius, edge)
    distance = distance_grid(n, (n // 2,) * 3)
    assert mask[distance <= radius].eq(1).all()
    assert mask[distance >= radius + edge + 1e-4].lt(1e-6).all()
    assert torch.equal(mask[n // 2], soft_disc(n, radius, edge))
    order = distance.flatten().argsort()
    assert mask.flatten()[order].diff().max() <= 1e-6


def test_edge_is_one_half_in_its_middle() -> None:
    mask = soft_disc(32, 8.0, 4.0)
    assert mask[16, 16 + 10].item() == pytest.approx(0.5)
    assert mask[16 - 10, 16].item() == pytest.approx(0.5)


@pytest.mark.relion
def test_sphere_is_that_of_relion(tmp_path: Path) -> None:
    shape = "--box_size 32 --outer_radius 9 --width_soft_edge 4"
    relion(f"relion_mask_create --denovo {shape} --o mask.mrc", tmp_path)
    torch.testing.assert_close(soft_sphere(32, 9.0, 4.0), read(tmp_path / "mask.mrc"))


def test_background_is_what_lies_beyond_the_circle() -> None:
    images = torch.randn(2, 9, 9, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    mean, std = background_statistics(images, 3.0)
    for image, image_mean, image_std in zip(images, mean, std, strict=True):
        outside = torch.stack(
            [image[y, x] for y in range(9) for x in range(9) if (y - 4) ** 2 + (x - 4) ** 2 > 9]
        )
        assert image_mean.item() == pytest.approx(outside.mean().item())
        assert image_std.item() == pytest.approx(outside.std(correction=0).item())


def test_a_circle_beyond_the_box_leaves_no_background() -> None:
    with pytest.raises(SettingsError, match="covers the whole box"):
        background_statistics(torch.zeros(1, 8, 8), 6.0)


@pytest.mark.relion
def test_background_is_that_of_relion(tmp_path: Path, generator: torch.Generator) -> None:
    images = torch.randn(3, 32, 32, generator=generator) * 2 + 1
    mrcfile.write(tmp_path / "in.mrcs", images.numpy())
    options = "--norm --no_ramp --bg_radius 11 --operate_out out.mrcs"
    relion(f"relion_preprocess --operate_on in.mrcs {options}", tmp_path)
    mean, std = background_statistics(images, 11.0)
    normalized = (images - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(normalized, read(tmp_path / "out.mrcs"), rtol=0, atol=1e-5)


def test_mask_of_a_ball_is_a_larger_soft_ball() -> None:
    mask = soft_mask_from_volume(
        ball(), VOXEL, threshold=0.5, low_pass=12.0, extend_angstrom=7.5, edge_angstrom=9.0
    )
    distance = distance_grid(32, (14, 17, 18))
    # Within a voxel, where the ball's own surface leaves it open.
    assert mask[distance < 7 + 2.5 - 1].min() == 1
    assert mask[distance < 7 + 2.5 + 1.5 - 1].min() > 0.5
    assert mask[distance > 7 + 2.5 + 1.5 + 1].max() < 0.5
    assert mask[distance > 7 + 2.5 + 3 + 1].max() == 0


@pytest.mark.relion
def test_extension_and_edge_are_those_of_relion(tmp_path: Path) -> None:
    blob = torch.maximum(
        ball(radius=4, center=(14, 17, 18)), 2 * ball(radius=3, center=(13, 12, 17))
    )
    mrcfile.write(tmp_path / "in.mrc", blob.numpy())
    options = "--ini_threshold 0.5 --extend_inimask 3 --width_soft_edge 5"
    relion(f"relion_mask_create --i in.mrc --o mask.mrc {options}", tmp_path)
    mask = soft_mask_from_volume(
        blob, 1.0, threshold=0.5, low_pass=0.1, extend_angstrom=3.0, edge_angstrom=5.0
    )
    torch.testing.assert_close(mask, read(tmp_path / "mask.mrc"), rtol=0, atol=1e-5)


def test_the_largest_piece_is_kept() -> None:
    particle = ball()
    with_speck = particle + ball(radius=3, center=(4, 4, 4))
    alone, beside = (
        soft_mask_from_volume(one, VOXEL, extend_angstrom=0.0, edge_angstrom=0.0)
        for one in (particle, with_speck)
    )
    assert beside[4, 4, 4] == 0
    assert (alone != beside).float().mean() < 0.002


@pytest.mark.parametrize("noise", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_automatic_mask_finds_the_ball_clean_and_noisy(
    noise: float, offset: float, generator: torch.Generator
) -> None:
    noisy = ball() + noise * torch.randn(32, 32, 32, generator=generator) + offset
    mask = soft_mask_from_volume(noisy, VOXEL, extend_angstrom=6.0, edge_angstrom=6.0)
    distance = distance_grid(32, (14, 17, 18))
    assert mask[distance < 7].mean() > 0.95
    assert mask[distance > 7 + 6].mean() < 0.02


@given(st.floats(1e-3, 1e3), st.floats(-10, 10))
def test_threshold_follows_scale_and_offset(scale: float, offset: float) -> None:
    smooth = low_pass(ball().double(), VOXEL, 15.0)
    expected = automatic_threshold(smooth) * scale + offset
    found = automatic_threshold(smooth * scale + offset)
    assert found == pytest.approx(expected, abs=5e-3 * scale)


def test_nothing_above_the_threshold_is_an_error() -> None:
    with pytest.raises(SettingsError, match="lower the threshold"):
        soft_mask_from_volume(ball(), VOXEL, threshold=10.0)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["half1_unfil", "full"])
def test_mask_of_real_maps_covers_the_known_density(data_dir: Path, name: str) -> None:
    folder = data_dir / "betagal_dev"
    truth = read(folder / "truth_from_8bk7_3.54A_box64.mrc")
    mask = soft_mask_from_volume(read(folder / "relion313_reference" / f"{name}.mrc"), 3.54)
    given_mask = read(folder / "mask_soft_box64.mrc")
    assert (truth**2 * mask).sum() / (truth**2).sum() > 0.995
    assert mask.mean() < given_mask.mean()
    overlap = 2 * ((mask > 0.5) & (given_mask > 0.5)).sum()
    assert overlap / ((mask > 0.5).sum() + (given_mask > 0.5).sum()) > 0.85
