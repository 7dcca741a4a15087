"""Centered Fourier transforms of images and maps, and resizing by Fourier cropping or padding.

Layout and normalization are those of ``napari_blush.conventions``: half transforms, DC first,
unnormalized forward, divided by the number of voxels backward, phases about voxel ``n // 2``.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from napari_blush.errors import SettingsError


def rfftn_centered(volume: Float[Tensor, "*batch n n n"]) -> Complex[Tensor, "*batch n n half"]:
    r"""Transform maps to Fourier space, phases about voxel ``n // 2``.

    :math:`F(k) = \sum_x f(x) \exp(-2 \pi i\, k \cdot (x - n/2) / n)`

    Parameters
    ----------
    volume
        ``(..., n, n, n)`` real maps, ``[z, y, x]``.

    Returns
    -------
    Tensor
        ``(..., n, n, n // 2 + 1)``, DC at ``[0, 0, 0]``, unnormalized.
    """
    return _forward(volume, 3)


def irfftn_centered(
    transform: Complex[Tensor, "*batch n n half"], box_size: int
) -> Float[Tensor, "*batch n n n"]:
    """Transform back to real space: the inverse of ``rfftn_centered``.

    Parameters
    ----------
    transform
        ``(..., n, n, n // 2 + 1)`` half transforms.
    box_size
        ``n`` of the map; the half transform alone leaves its parity open.

    Returns
    -------
    Tensor
        ``(..., n, n, n)`` real maps.
    """
    return _backward(transform, box_size, 3)


def rfft2_centered(images: Float[Tensor, "*batch n n"]) -> Complex[Tensor, "*batch n half"]:
    """Transform images ``(..., n, n)`` to Fourier space; see ``rfftn_centered``."""
    return _forward(images, 2)


def irfft2_centered(
    transform: Complex[Tensor, "*batch n half"], box_size: int
) -> Float[Tensor, "*batch n n"]:
    """Transform ``(..., n, n // 2 + 1)`` back to images; see ``irfftn_centered``."""
    return _backward(transform, box_size, 2)


def half_spectrum_multiplicity(
    box_size: int, device: torch.device | str | None = None
) -> Float[Tensor, " half"]:
    """Count how often each x column of a half transform stands in the full transform.

    Parameters
    ----------
    box_size
        ``n``.
    device
        Where the result lives.

    Returns
    -------
    Tensor
        ``(n // 2 + 1,)``: 2, but 1 for ``kx = 0`` and, in even boxes, for ``kx = n / 2``.
    """
    multiplicity = torch.full((box_size // 2 + 1,), 2.0, device=device)
    multiplicity[0] = 1
    if box_size % 2 == 0:
        multiplicity[-1] = 1
    return multiplicity


def fourier_resize(
    volume: Float[Tensor, "*batch n n n"], new_box: int
) -> Float[Tensor, "*batch m m m"]:
    r"""Sample maps on another number of voxels over the same box.

    Crops or zero-pads the transform, so the voxel size becomes ``voxel_size * n / new_box`` and
    the density values stay: each output voxel is the value, at its place, of the trigonometric
    interpolant restricted to the frequencies that both grids hold.

    Parameters
    ----------
    volume
        ``(..., n, n, n)``, ``n`` even.
    new_box
        Even number of voxels along each axis of the result.

    Returns
    -------
    Tensor
        ``(..., new_box, new_box, new_box)``; the center stays at voxel ``new_box // 2``.

    Raises
    ------
    SettingsError
        If either box is odd.

    Notes
    -----
    A Nyquist coefficient stands for both signs of the frequency. When padding it is shared
    equally between them; when cropping the two that fall together are added (what sampling does).
    """
    return _resize(volume, new_box, 3)


def fourier_resize_images(
    images: Float[Tensor, "*batch n n"], new_box: int
) -> Float[Tensor, "*batch m m"]:
    """Sample images ``(..., n, n)`` on another number of pixels; see ``fourier_resize``."""
    return _resize(images, new_box, 2)


def fourier_resize_transform(
    transform: Complex[Tensor, "*shape"], box_size: int, new_box: int, ndim: int
) -> Complex[Tensor, "*new_shape"]:
    """Crop or pad half transforms; the transform of what ``fourier_resize`` returns.

    Parameters
    ----------
    transform
        ``(..., n, n // 2 + 1)`` for ``ndim`` 2, ``(..., n, n, n // 2 + 1)`` for ``ndim`` 3.
    box_size, new_box
        ``n`` and the new ``n``, both even.
    ndim
        Dimensions of the transformed objects, 2 or 3.

    Returns
    -------
    Tensor
        The half transforms of the new box, scaled by ``(new_box / box_size) ** ndim``.

    Raises
    ------
    SettingsError
        If either box is odd.
    """
    for box in (box_size, new_box):
        if box < 2 or box % 2:
            raise SettingsError(
                f"Fourier resizing was given a box of {box}; wanted an even box: "
                "pad or crop the map by one voxel first."
            )
    if new_box == box_size:
        return transform
    resize = _crop_axis if new_box < box_size else _pad_axis
    for axis in range(-ndim, -1):
        transform = resize(transform, axis, new_box)
    if new_box < box_size:
        transform = _crop_half_axis(transform, new_box, ndim)
    else:
        transform = _pad_half_axis(transform, new_box)
    return transform * (new_box / box_size) ** ndim


def _forward(array: Tensor, ndim: int) -> Tensor:
    dims = tuple(range(-ndim, 0))
    transform: Tensor = torch.fft.rfftn(torch.fft.ifftshift(array, dim=dims), dim=dims)
    return transform


def _backward(transform: Tensor, box_size: int, ndim: int) -> Tensor:
    dims = tuple(range(-ndim, 0))
    array = torch.fft.irfftn(transform, s=(box_size,) * ndim, dim=dims)
    centered: Tensor = torch.fft.fftshift(array, dim=dims)
    return centered


def _resize(array: Tensor, new_box: int, ndim: int) -> Tensor:
    resized = fourier_resize_transform(_forward(array, ndim), array.shape[-1], new_box, ndim)
    return _backward(resized, new_box, ndim)


def _crop_axis(transform: Tensor, axis: int, new_box: int) -> Tensor:
    half = new_box // 2
    box = transform.shape[axis]
    nyquist = transform.narrow(axis, half, 1) + transform.narrow(axis, box - half, 1)
    below = transform.narrow(axis, 0, half)
    above = transform.narrow(axis, box - half + 1, half - 1)
    return torch.cat([below, nyquist, above], dim=axis)


def _pad_axis(transform: Tensor, axis: int, new_box: int) -> Tensor:
    box = transform.shape[axis]
    half = box // 2
    nyquist = transform.narrow(axis, half, 1) / 2
    shape = list(transform.shape)
    shape[axis] = new_box - box - 1
    parts = [
        transform.narrow(axis, 0, half),
        nyquist,
        transform.new_zeros(shape),
        nyquist,
        transform.narrow(axis, half + 1, half - 1),
    ]
    return torch.cat(parts, dim=axis)


def _crop_half_axis(transform: Tensor, new_box: int, ndim: int) -> Tensor:
    cropped = transform[..., : new_box // 2 + 1].clone()
    nyquist = cropped[..., -1]
    # The coefficient at -Nyquist is not stored: it is the conjugate of its mate at
    # (-ky, -kz), which a flip and a roll by one bring here.
    dims = tuple(range(-(ndim - 1), 0))
    mate = nyquist.flip(dims).roll([1] * len(dims), dims).conj()
    cropped[..., -1] = nyquist + mate
    return cropped


def _pad_half_axis(transform: Tensor, new_box: int) -> Tensor:
    half = transform.shape[-1]
    padded = torch.nn.functional.pad(transform, (0, new_box // 2 + 1 - half))
    padded[..., half - 1] /= 2
    return padded
