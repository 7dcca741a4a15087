import math
import subprocess
from pathlib import Path

import mrcfile
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_blush.errors import SettingsError
from napari_blush.numerics.fft import fourier_resize
from napari_blush.numerics.filters import low_pass_at_shell
from napari_blush.numerics.resample import match_box


def random_volume(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, n, n, generator=generator, dtype=torch.float64)


def cropped(volume: Tensor, box: int) -> Tensor:
    """Cut out, or frame with zeros, voxel n // 2 staying the center; index by index."""
    n = volume.shape[-1]
    result = torch.zeros(box, box, box, dtype=volume.dtype)
    indices = [(j, j - box // 2 + n // 2) for j in range(box)]
    inside = [(to, of) for to, of in indices if 0 <= of < n]
    to, of = (torch.tensor(column) for column in zip(*inside, strict=True))
    result[to[:, None, None], to[:, None], to] = volume[of[:, None, None], of[:, None], of]
    return result


def blobs(n: int, voxel_size: float) -> Tensor:
    """Gaussians at fixed places in angstrom, so narrow in Fourier space that 4 A holds them."""
    place = (torch.arange(n, dtype=torch.float64) - n // 2) * voxel_size
    volume = torch.zeros(n, n, n, dtype=torch.float64)
    for x, y, z, height in [(3.0, -7.0, 5.0, 1.0), (-9.0, 2.0, -4.0, 0.6), (0.5, 10.0, 8.0, -0.4)]:
        squared = (place - z)[:, None, None] ** 2 + (place - y)[:, None] ** 2 + (place - x) ** 2
        volume += height * torch.exp(-squared / (2 * 3.5**2))
    return volume


@settings(deadline=None, max_examples=30)
@example(half=1, new=5, box=11)
@given(half=st.integers(1, 8), new=st.integers(1, 8), box=st.integers(1, 20))
def test_an_even_box_of_equal_length_is_fourier_cropping(half: int, new: int, box: int) -> None:
    n, between = 2 * half, 2 * new
    volume = random_volume(n)
    expected = cropped(fourier_resize(volume, between), box)
    torch.testing.assert_close(match_box(volume, 1.5, 1.5 * n / between, box), expected)


@pytest.mark.parametrize(("n", "box"), [(8, 12), (8, 5), (7, 10), (7, 4), (6, 6)])
def test_the_same_voxel_size_only_crops_or_pads(n: int, box: int) -> None:
    volume = random_volume(n)
    assert torch.equal(match_box(volume, 3.54, 3.5400002, box), cropped(volume, box))


@pytest.mark.parametrize(("n", "voxel_size"), [(40, 2.0), (33, 2.3), (64, 1.37)])
@pytest.mark.parametrize(("box", "to_voxel_size"), [(36, 2.0), (51, 1.41), (28, 2.717)])
def test_density_is_the_same_at_the_same_place(
    n: int, voxel_size: float, box: int, to_voxel_size: float
) -> None:
    matched = match_box(blobs(n, voxel_size), voxel_size, to_voxel_size, box)
    torch.testing.assert_close(matched, blobs(box, to_voxel_size), rtol=0, atol=3e-3)


def test_any_ratio_equals_the_written_out_interpolant() -> None:
    n, scale, box = 6, 1.3, 4
    volume = random_volume(n)
    transform = torch.fft.fftn(volume)
    frequency = torch.fft.fftfreq(n, 1 / n).tolist()
    kept = [k for k in range(n) if abs(frequency[k]) <= n / 2 / scale]
    for j in range(box):
        place = (j - box // 2) * scale + n // 2
        value = sum(
            transform[a, b, c].item() * complex(math.cos(angle), math.sin(angle)) / n**3
            for a in kept
            for b in kept
            for c in kept
            for angle in [2 * math.pi / n * place * (frequency[a] + frequency[b] + frequency[c])]
        )
        # Along the diagonal of the box.
        matched = match_box(volume, 1.0, scale, box)[j, j, j].item()
        assert matched == pytest.approx(value.real)


def test_going_finer_and_back_is_the_identity() -> None:
    volume = blobs(40, 2.0)
    there = match_box(volume, 2.0, 1.23, 70)
    back = match_box(there, 1.23, 2.0, 40)
    torch.testing.assert_close(back, volume, rtol=0, atol=3e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_type_is_kept(dtype: torch.dtype) -> None:
    volume = random_volume(8).to(dtype)
    assert match_box(volume, 1.0, 1.1, 8).dtype == dtype
    in_double = match_box(volume.double(), 1.0, 1.1, 8)
    torch.testing.assert_close(
        match_box(volume, 1.0, 1.1, 8).double(), in_double, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("given_size", "wanted", "box"), [(0.0, 1.0, 8), (1.0, -1.0, 8), (1.0, 1.0, 0)]
)
def test_nonsense_sizes_are_refused(given_size: float, wanted: float, box: int) -> None:
    with pytest.raises(SettingsError, match="above zero"):
        match_box(random_volume(4), given_size, wanted, box)


@pytest.mark.relion
@pytest.mark.parametrize(("to_voxel_size", "box"), [(3.0, 12), (3.0, 24), (1.5, 24)])
def test_resampling_is_that_of_relion(tmp_path: Path, to_voxel_size: float, box: int) -> None:
    volume = low_pass_at_shell(random_volume(24), 5.0).float()
    mrcfile.write(tmp_path / "in.mrc", volume.numpy(), voxel_size=2.0)
    options = f"--angpix 2 --rescale_angpix {to_voxel_size} --new_box {box}"
    command = f"relion_image_handler --i in.mrc --o out.mrc {options}"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    theirs = torch.from_numpy(mrcfile.read(tmp_path / "out.mrc").copy())
    torch.testing.assert_close(
        match_box(volume, 2.0, to_voxel_size, box), theirs, rtol=0, atol=1e-5
    )
