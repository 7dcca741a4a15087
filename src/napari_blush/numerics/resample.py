"""Bring a map to another voxel size and box, values of density kept."""

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.errors import SettingsError

_SAME_VOXEL_SIZE = 1e-6
"""Relative difference below which voxel sizes are one: what float32 headers round off."""

_SAME_PLACE = 1e-6
"""Voxels: rounding must not decide whether a place on the box's rim is inside."""


def match_box(
    volume: Volume, voxel_size: float, to_voxel_size: float, to_box: int
) -> Float[Tensor, "m m m"]:
    r"""Sample a map on a grid of another voxel size and box, center on center.

    :math:`g(y) = \sum_{|k| \le K} F(k)\, \exp(2 \pi i\, k \cdot y / n), \quad y = (j - m/2)\,a'/a`

    the trigonometric interpolant of the map, restricted along each axis to the frequencies that
    both grids hold (``K = (n / 2) \min(1, a / a')``); 0 beyond the given box.

    Parameters
    ----------
    volume
        ``(n, n, n)``, any ``n``.
    voxel_size, to_voxel_size
        Angstrom, of the map and of the result (``a`` and ``a'``).
    to_box
        Voxels along each axis of the result (``m``), even or odd.

    Returns
    -------
    Tensor
        ``(to_box, to_box, to_box)``, dtype and device of ``volume``; voxel ``n // 2`` of the map
        comes to voxel ``to_box // 2``.

    Raises
    ------
    SettingsError
        If a voxel size is not positive or the new box is empty.

    Notes
    -----
    The sum is separable: one dense matrix ``(m, n)`` multiplied onto each axis. Where the new
    voxel size makes an even box of the same length this *is* Fourier cropping or padding
    (``fourier_resize``) followed by cropping or padding in real space; elsewhere it is as exact,
    so no voxel size is ever rounded and nothing is interpolated between voxels. Costs
    ``2 n m (n^2 + n m + m^2)`` floating-point operations and ``n^2 m`` values of memory.
    """
    if voxel_size <= 0 or to_voxel_size <= 0 or to_box < 1:
        raise SettingsError(
            f"Resampling was given voxel sizes {voxel_size} and {to_voxel_size} A and box "
            f"{to_box}; wanted all above zero: set the voxel size of the map."
        )
    scale = to_voxel_size / voxel_size
    if abs(scale - 1) < _SAME_VOXEL_SIZE:
        return _crop_or_pad(volume, to_box)
    along_axis = _interpolation_matrix(volume.shape[-1], to_box, scale).to(volume)
    return torch.einsum("zyx,az,by,cx->abc", volume, along_axis, along_axis, along_axis)


def _interpolation_matrix(n: int, m: int, scale: float) -> Tensor:
    place = (torch.arange(m, dtype=torch.float64) - m // 2) * scale
    source = torch.arange(n, dtype=torch.float64) - n // 2
    frequency = torch.arange(n // 2 + 1, dtype=torch.float64)
    # Each frequency but 0 stands for its negative as well; the two signs of the source's own
    # Nyquist frequency share one coefficient.
    weight = torch.full_like(frequency, 2.0)
    weight[0] = 1
    if n % 2 == 0:
        weight[-1] = 1
    limit = n / 2 * min(1.0, 1 / scale)
    weight = weight.where(frequency <= limit * (1 + _SAME_VOXEL_SIZE), 0.0)
    to = 2 * torch.pi / n * place[:, None] * frequency
    of = 2 * torch.pi / n * source[:, None] * frequency
    # cos(to - of), summed over the frequencies without ever holding all three indices.
    waves = (to.cos() * weight) @ of.cos().T + (to.sin() * weight) @ of.sin().T
    # Outside the box the interpolant would repeat the map.
    from_start = place - source[0] + _SAME_PLACE
    inside = (from_start >= 0) & (from_start < n)
    return waves / n * inside[:, None]


def _crop_or_pad(volume: Volume, box: int) -> Float[Tensor, "m m m"]:
    before = box // 2 - volume.shape[-1] // 2
    after = box - volume.shape[-1] - before
    return torch.nn.functional.pad(volume, (before, after) * 3)
