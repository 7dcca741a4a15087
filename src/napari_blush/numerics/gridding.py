"""The real-space window that trilinear interpolation in Fourier space leaves on a map."""

import torch
from torch import Tensor

from napari_blush.conventions import Volume


def gridding_correction(
    box_size: int,
    padding: int,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Volume:
    r"""Return the window to divide a map by before extracting or after inserting slices.

    :math:`\mathrm{sinc}^2(r / (n\,p)), \quad \mathrm{sinc}(x) = \sin(\pi x) / (\pi x)`

    Parameters
    ----------
    box_size
        ``n`` of the unpadded map.
    padding
        ``p``: the transform was sampled on ``n p`` voxels.
    device, dtype
        Of the result.

    Returns
    -------
    Tensor
        ``(n, n, n)``, 1 at voxel ``n // 2``; no less than 0.5 in the corners for ``p`` of 2.

    Notes
    -----
    Trilinear interpolation convolves with a product of triangles, whose transform is the product
    of one ``sinc^2`` per axis. RELION divides by the ``sinc^2`` of the radius instead, and so does
    this: the two agree along the axes, and elsewhere up to
    terms of fourth order.
    """
    axis = torch.arange(box_size, device=device, dtype=dtype) - box_size // 2
    squared: Tensor = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    return torch.sinc(squared.sqrt() / (box_size * padding)) ** 2
