import pytest
import torch

from napari_blush.numerics.fft import rfftn_centered
from napari_blush.numerics.padded_transform import padded_inverse, padded_transform


def _whole(volume: torch.Tensor, padding: int) -> torch.Tensor:
    """The same numbers the obvious way: pad, transform the whole, look every frequency up."""
    n = volume.shape[0]
    before = (n * padding) // 2 - n // 2
    after = n * padding - n - before
    return rfftn_centered(torch.nn.functional.pad(volume, (before, after) * 3))


@pytest.mark.parametrize(("box", "padding", "reach"), [(8, 1, 3), (8, 2, 7), (6, 3, 9), (10, 2, 4)])
def test_is_the_crop_of_the_whole_padded_transform(box: int, padding: int, reach: int) -> None:
    generator = torch.Generator().manual_seed(box)
    volume = torch.randn(box, box, box, dtype=torch.float64, generator=generator)
    whole, padded = _whole(volume, padding), box * padding
    ours = padded_transform(volume, padding=padding, reach=reach)
    assert ours.shape == (2 * reach + 1, 2 * reach + 1, reach + 1)
    for z in range(-reach, reach + 1):
        for y in range(-reach, reach + 1):
            row = whole[z % padded, y % padded, : reach + 1]
            torch.testing.assert_close(ours[z + reach, y + reach], row)


def test_goes_on_periodically_beyond_nyquist() -> None:
    n, padding = 8, 2
    volume = torch.randn(n, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    reach = n * padding // 2 + 1
    ours = padded_transform(volume, padding=padding, reach=reach)
    position = torch.arange(n, dtype=torch.float64) - n // 2
    for k in [(reach, 0, 2), (-reach, reach, 1), (3, 5, reach), (reach, -reach, reach)]:
        z, y, x = (torch.exp(-2j * torch.pi * f * position / (n * padding)) for f in k)
        expected = torch.einsum("zyx,z,y,x->", volume.to(z.dtype), z, y, x)
        torch.testing.assert_close(ours[k[0] + reach, k[1] + reach, k[2]], expected)


@pytest.mark.parametrize(("box", "padding"), [(8, 1), (8, 2), (12, 2)])
def test_inverse_undoes_it_for_maps_without_nyquist(box: int, padding: int) -> None:
    generator = torch.Generator().manual_seed(1)
    volume = torch.randn(box, box, box, dtype=torch.float64, generator=generator)
    reach = box * padding // 2 - 1
    transform = padded_transform(volume, padding=padding, reach=reach)
    once = padded_inverse(transform, box_size=box, padding=padding)
    # What the inverse keeps of the padded box it must give back unchanged a second time.
    embedded = torch.zeros_like(_whole(volume, padding))
    signed = torch.arange(-reach, reach + 1) % (box * padding)
    block = torch.zeros(*embedded.shape[:2], reach + 1, dtype=embedded.dtype)
    block[signed[:, None], signed] = transform
    embedded[:, :, : reach + 1] = block
    padded = torch.fft.irfftn(embedded, s=(box * padding,) * 3)
    wanted = (torch.arange(box) - box // 2) % (box * padding)
    torch.testing.assert_close(once, padded[wanted][:, wanted][:, :, wanted])


def test_inverse_of_a_band_limited_map_is_the_map() -> None:
    n, padding = 16, 2
    axis = torch.arange(n, dtype=torch.float64) - n // 2
    squared = axis[:, None, None] ** 2 + axis[:, None] ** 2 + (axis - 1) ** 2
    blob = torch.exp(-squared / 4.5)
    transform = padded_transform(blob, padding=padding, reach=n * padding // 2 + 1)
    again = padded_inverse(transform, box_size=n, padding=padding)
    torch.testing.assert_close(again, blob, atol=3e-5, rtol=0)
