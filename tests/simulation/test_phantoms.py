"""Phantoms: closed-form projections against sums over a grid; symmetry; seeds."""

import pytest
import torch
from scipy.spatial.transform import Rotation

from napari_blush.errors import SettingsError
from napari_blush.simulation.phantoms import BlobPhantom, random_blobs


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_projection_along_z_is_the_sum_over_z(generator: torch.Generator) -> None:
    phantom = random_blobs(generator, radius_px=7.0)
    image = phantom.projections(torch.eye(3, dtype=torch.float64)[None], 32)[0]
    torch.testing.assert_close(image, phantom.volume(32).sum(0), atol=2e-3, rtol=0)


def test_projection_of_a_rotated_phantom(generator: torch.Generator) -> None:
    phantom = random_blobs(generator, radius_px=7.0)
    rotation = torch.from_numpy(Rotation.from_euler("ZYZ", [40, 70, -25], degrees=True).as_matrix())
    # Turning the molecule by R^T and looking along z is looking at it in the pose R.
    turned = BlobPhantom(phantom.centers_px @ rotation, phantom.sigmas_px, phantom.weights)
    image = phantom.projections(rotation[None], 32)[0]
    torch.testing.assert_close(image, turned.volume(32).sum(0), atol=2e-3, rtol=0)


def test_a_shift_is_what_would_center_the_image(generator: torch.Generator) -> None:
    phantom = random_blobs(generator, radius_px=5.0)
    eye = torch.eye(3, dtype=torch.float64)[None]
    shifted = phantom.projections(eye, 32, torch.tensor([[3.0, -2.0]]))[0]
    centered = torch.roll(shifted, (-2, 3), dims=(0, 1))
    wanted = phantom.projections(eye, 32)[0]
    inside = slice(4, -4)  # the roll brings the far edge in
    torch.testing.assert_close(centered[inside, inside], wanted[inside, inside], atol=1e-5, rtol=0)


def test_a_single_blob_lies_where_it_was_put() -> None:
    phantom = BlobPhantom(
        torch.tensor([[3.0, -4.0, 5.0]], dtype=torch.float64),
        torch.tensor([1.5], dtype=torch.float64),
        torch.tensor([2.0], dtype=torch.float64),
    )
    volume = phantom.volume(24)
    assert volume.argmax() == (12 + 5) * 24 * 24 + (12 - 4) * 24 + (12 + 3)
    assert volume.max().item() == pytest.approx(2.0)
    assert volume.sum().item() == pytest.approx(2.0 * (2 * torch.pi * 1.5**2) ** 1.5, rel=1e-4)


@pytest.mark.parametrize(("symmetry", "order"), [("C4", 4), ("D2", 4), ("T", 12)])
def test_symmetric_phantom_looks_alike_from_its_mates(symmetry: str, order: int) -> None:
    phantom = random_blobs(seeded(1), n_blobs=5, radius_px=8.0, symmetry=symmetry)
    assert len(phantom.weights) == 5 * order
    # A half turn about z belongs to all three groups.
    half_turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))
    if symmetry == "T":  # a three-fold axis stands on z
        half_turn = torch.from_numpy(Rotation.from_euler("Z", 120, degrees=True).as_matrix())
    pose = torch.from_numpy(Rotation.from_euler("ZYZ", [10, 50, 30], degrees=True).as_matrix())
    images = phantom.projections(torch.stack([pose, half_turn @ pose]), 32)
    torch.testing.assert_close(images[0], images[1], atol=1e-5, rtol=0)


def test_an_asymmetric_phantom_differs_from_its_mirror_and_half_turns(
    generator: torch.Generator,
) -> None:
    volume = random_blobs(generator, radius_px=8.0).volume(33)[1:, 1:, 1:]
    for axes in ([0], [0, 1], [0, 2], [1, 2]):
        other = volume.flip(axes)
        correlation = torch.corrcoef(torch.stack([volume.flatten(), other.flatten()]))[0, 1]
        assert correlation < 0.9


def test_the_seed_decides() -> None:
    a, b, c = (random_blobs(seeded(s)).volume(16) for s in (3, 3, 4))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_bad_shapes_and_widths_are_refused() -> None:
    ones = torch.ones(2, dtype=torch.float64)
    with pytest.raises(SettingsError, match=r"wanted \(m, 3\)"):
        BlobPhantom(torch.zeros(3, 3, dtype=torch.float64), ones, ones)
    with pytest.raises(SettingsError, match="width of zero"):
        BlobPhantom(torch.zeros(2, 3, dtype=torch.float64), 0 * ones, ones)
