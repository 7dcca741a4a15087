import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from napari_blush.errors import SettingsError
from napari_blush.numerics.fft import rfft2_centered, rfftn_centered
from napari_blush.numerics.gridding import gridding_correction
from napari_blush.numerics.packing import PackedCoordinates, pack, packed_coordinates
from napari_blush.numerics.rotations import euler_to_matrix, random_rotations
from napari_blush.numerics.slice_extraction import CentralSlices, slice_backend


def _blobs(box: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return centers (x, y, z) from the middle, widths and heights of Gaussian blobs."""
    centers = torch.randn(12, 3, generator=generator, dtype=torch.float64) * box / 12
    centers = centers.clamp(-box / 5, box / 5)
    widths = 1.2 + torch.rand(12, generator=generator, dtype=torch.float64)
    return centers, widths, 0.5 + torch.rand(12, generator=generator, dtype=torch.float64)


def _density(box: int, blobs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    axis = torch.arange(box, dtype=torch.float64) - box // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    volume = torch.zeros(box, box, box, dtype=torch.float64)
    for (cx, cy, cz), width, height in zip(*blobs, strict=True):
        squared = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2
        volume += height * torch.exp(-squared / (2 * width**2))
    return volume.float()


def _analytic_slices(
    box: int,
    blobs: tuple[Tensor, Tensor, Tensor],
    rotations: Tensor,
    coordinates: PackedCoordinates,
) -> Tensor:
    """The transform of the blobs in closed form, at ``R @ (kx, ky, 0)``."""
    k = coordinates.frequencies.double() / box
    points = rotations[:, :, :2] @ k  # (m, 3, K)
    slices = torch.zeros(len(rotations), k.shape[1], dtype=torch.complex128)
    for center, width, height in zip(*blobs, strict=True):
        phase = -2j * torch.pi * torch.einsum("c,mck->mk", center, points)
        fall_off = -2 * (torch.pi * width) ** 2 * points.square().sum(1)
        slices += height * (2 * torch.pi * width**2) ** 1.5 * torch.exp(phase + fall_off)
    return slices


def test_central_slice_theorem_on_gaussian_blobs(generator: torch.Generator) -> None:
    box = 48
    blobs = _blobs(box, generator)
    rotations = random_rotations(16, generator)
    coordinates = packed_coordinates(box, box // 2)
    expected = _analytic_slices(box, blobs, rotations, coordinates)
    for padding, error in ((2, 0.025), (3, 0.012)):
        slices = CentralSlices(_density(box, blobs), r_max=box // 2, padding=padding)
        extracted = slices.extract(rotations, coordinates)
        assert (extracted - expected).norm() / expected.norm() < error


@pytest.mark.parametrize(("padding", "r_max"), [(1, 8), (2, 8), (2, 5), (3, 4)])
def test_is_linear_interpolation_in_the_whole_padded_transform(
    padding: int, r_max: int, generator: torch.Generator
) -> None:
    box = 16
    volume = torch.randn(box, box, box, generator=generator)
    rotations = random_rotations(5, generator)
    coordinates = packed_coordinates(box, r_max)
    slices = CentralSlices(volume, r_max=r_max, padding=padding)

    margin = ((padding * box) // 2 - box // 2, (padding * box + 1) // 2 - (box - box // 2))
    padded = np.pad((volume / gridding_correction(box, padding)).double().numpy(), margin)
    # A few planes more on each side: the transform is periodic, map_coordinates must not know.
    whole = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(padded)))
    whole = np.pad(whole, 3, mode="wrap")
    origin = padding * box // 2 + 3
    points = padding * rotations[:, :, :2].numpy() @ coordinates.frequencies.numpy()
    for pose, slice_points in enumerate(points):
        zyx = slice_points[::-1] + origin
        real = map_coordinates(whole.real, zyx, order=1)
        imaginary = map_coordinates(whole.imag, zyx, order=1)
        expected = torch.from_numpy(real + 1j * imaginary).to(torch.complex64)
        extracted = slices.extract(rotations[pose : pose + 1], coordinates)[0]
        assert (extracted - expected).norm() / expected.norm() < 1e-5


def test_unrotated_slice_is_the_projection_along_z(generator: torch.Generator) -> None:
    box = 20
    volume = torch.randn(box, box, box, generator=generator)
    coordinates = packed_coordinates(box, box // 2)
    extracted = CentralSlices(volume, r_max=box // 2).extract(torch.eye(3)[None], coordinates)
    projection = (volume / gridding_correction(box, 2)).sum(0)[None]
    torch.testing.assert_close(
        extracted, pack(rfft2_centered(projection), coordinates), atol=1e-3, rtol=1e-4
    )


def test_quarter_turn_about_x_looks_along_y(generator: torch.Generator) -> None:
    """Image y is volume z then, image x stays: the signs of the convention, spelled out."""
    box = 16
    volume = torch.randn(box, box, box, generator=generator)
    rotation = torch.tensor([[[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]])
    coordinates = packed_coordinates(box, box // 2)
    extracted = CentralSlices(volume, r_max=box // 2).extract(rotation, coordinates)
    projection = (volume / gridding_correction(box, 2)).sum(1)[None]
    torch.testing.assert_close(
        extracted, pack(rfft2_centered(projection), coordinates), atol=1e-3, rtol=1e-4
    )


def test_center_of_the_box_stays_where_it_is(generator: torch.Generator) -> None:
    box = 12
    volume = torch.zeros(box, box, box)
    volume[box // 2, box // 2, box // 2] = 1
    coordinates = packed_coordinates(box, box // 2)
    extracted = CentralSlices(volume, r_max=box // 2).extract(
        random_rotations(20, generator), coordinates
    )
    torch.testing.assert_close(extracted, torch.ones_like(extracted), atol=1e-5, rtol=0)


def test_turning_the_image_by_half_conjugates(generator: torch.Generator) -> None:
    box = 16
    slices = CentralSlices(torch.randn(box, box, box, generator=generator), r_max=7)
    coordinates = packed_coordinates(box, 7)
    angles = 360 * torch.rand(9, 3, generator=generator, dtype=torch.float64)
    turned = angles + torch.tensor([0.0, 0.0, 180.0])
    one = slices.extract(euler_to_matrix(angles), coordinates)
    other = slices.extract(euler_to_matrix(turned), coordinates)
    torch.testing.assert_close(one, other.conj(), atol=2e-3, rtol=1e-3)


def test_a_prefix_is_the_beginning_of_the_whole(generator: torch.Generator) -> None:
    box = 24
    slices = CentralSlices(torch.randn(box, box, box, generator=generator), r_max=12)
    rotations = random_rotations(3, generator)
    coordinates = packed_coordinates(box, 12)
    count = coordinates.count(7)
    whole = slices.extract(rotations, coordinates)
    torch.testing.assert_close(
        slices.extract(rotations, coordinates, count), whole[:, :count], atol=1e-4, rtol=1e-5
    )


def test_stretched_slices_read_zero_outside(generator: torch.Generator) -> None:
    """Magnification carries coefficients out of what is stored: they read zero."""
    box, r_max = 16, 8
    slices = CentralSlices(torch.randn(box, box, box, generator=generator), r_max=r_max)
    coordinates = packed_coordinates(box, r_max)
    rotations = random_rotations(4, generator) * 1.5
    extracted = slices.extract(rotations, coordinates)
    radius = 1.5 * torch.hypot(*coordinates.frequencies)
    outside = radius * 2 > r_max * 2 + 1.01
    assert (extracted[:, outside] == 0).all()
    assert (extracted[:, radius <= r_max] != 0).all()


def test_coefficients_beyond_r_max_read_zero(generator: torch.Generator) -> None:
    box = 16
    slices = CentralSlices(torch.randn(box, box, box, generator=generator), r_max=3)
    coordinates = packed_coordinates(box, 8)
    extracted = slices.extract(random_rotations(2, generator), coordinates)
    assert (extracted[:, coordinates.count(4) :] == 0).all()


def test_smallest_slices_of_all(generator: torch.Generator) -> None:
    volume = torch.randn(16, 16, 16, generator=generator)
    coordinates = packed_coordinates(16, 1)
    extracted = CentralSlices(volume, r_max=1).extract(torch.eye(3)[None], coordinates)
    transform = rfftn_centered(volume / gridding_correction(16, 2))
    expected = torch.stack([transform[0, 0, 1], transform[0, 1, 0]])
    for coefficient in expected:
        assert (extracted - coefficient).abs().min() < 1e-3


def test_writes_where_it_is_told(generator: torch.Generator) -> None:
    slices = CentralSlices(torch.randn(8, 8, 8, generator=generator), r_max=4)
    coordinates = packed_coordinates(8, 4)
    rotations = random_rotations(3, generator)
    out = torch.full((3, len(coordinates)), torch.nan, dtype=torch.complex64)
    assert slices.extract(rotations, coordinates, out=out) is out
    assert torch.equal(out, slices.extract(rotations, coordinates))
    with pytest.raises(SettingsError, match="wanted"):
        slices.extract(rotations[:2], coordinates, out=out)


def test_no_pose_gives_no_slice() -> None:
    slices = CentralSlices(torch.ones(8, 8, 8), r_max=4)
    assert slices.extract(torch.zeros(0, 3, 3), packed_coordinates(8, 4), 5).shape == (0, 5)


def test_memory_is_as_documented() -> None:
    slices = CentralSlices(torch.zeros(16, 16, 16), r_max=6, padding=2)
    assert slices.nbytes == 8 * 27**2 * 14
    assert slices.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("box", "r_max", "padding"), [(9, 4, 2), (8, 5, 2), (8, 0, 2), (8, 4, 0), (8, 4, 1000)]
)
def test_impossible_slices_are_refused(box: int, r_max: int, padding: int) -> None:
    with pytest.raises(SettingsError, match="wanted"):
        CentralSlices(torch.zeros(box, box, box), r_max=r_max, padding=padding)


def test_coordinates_of_another_box_are_refused() -> None:
    slices = CentralSlices(torch.zeros(8, 8, 8), r_max=4)
    with pytest.raises(SettingsError, match="wanted equal boxes"):
        slices.extract(torch.eye(3)[None], packed_coordinates(16, 4))


def test_backend_is_named() -> None:
    assert slice_backend("cpu") in ("numba", "torch")
    assert slice_backend("cuda") == "torch"
