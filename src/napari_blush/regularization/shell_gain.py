"""How much of each shell of a denoised map the *other* half confirms, and that much of it.

A denoiser damps some shells more than the best estimate would, and leaves in others what it should
have damped; by how much is nowhere defined. The unfiltered map of the other half tells: its noise
is independent of the denoised half, so that the correlation of the two counts signal only. One
number for each shell, the same for both halves: no more passes between them than does by the FSC.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.numerics.fft import rfftn_centered
from napari_blush.numerics.shells import shell_sum

LARGEST_GAIN = 2.0
"""A shell that the denoiser all but emptied is not blown up."""


def shell_gain(
    denoised: tuple[Volume, Volume],
    unfiltered: tuple[Volume, Volume],
    masks: tuple[Volume, Volume] | None = None,
) -> Float[Tensor, " shells"]:
    r"""Return the factor by which each shell of the denoised maps best estimates the signal.

    :math:`g(s) = \sum \Re(D_1 \bar U_2 + D_2 \bar U_1) / \sum (|D_1|^2 + |D_2|^2)` over the shell,
    the least-squares factor of ``D`` against the other half's map; in [0, 2].

    Parameters
    ----------
    denoised, unfiltered
        Both halves, ``(n, n, n)`` each.
    masks
        Where the denoised maps will be kept, if that is known: what is left outside does not
        count. Each may be drawn from its own half, not from the other.

    Returns
    -------
    Tensor
        ``(n // 2 + 1,)``: 1 for the best linear estimate, below where noise or inventions are
        left, above where too much was damped; 1 at shell 0 and where the denoised maps are empty.
    """
    box_size = denoised[0].shape[-1]
    cross = power = torch.zeros(box_size // 2 + 1, dtype=torch.float64)
    for half in (0, 1):
        one, other = denoised[half], unfiltered[1 - half]
        if masks is not None:
            one, other = one * masks[half], other * masks[half]
        d, u = rfftn_centered(one), rfftn_centered(other)
        cross = cross + shell_sum(d.real * u.real + d.imag * u.imag, box_size, 3).double().cpu()
        power = power + shell_sum(d.real**2 + d.imag**2, box_size, 3).double().cpu()
    empty = power <= power.max() * torch.finfo(torch.float32).eps ** 2
    gain = torch.where(empty, 1.0, cross / power.where(~empty, torch.ones_like(power)))
    gain[0] = 1.0
    return gain.clamp(0, LARGEST_GAIN).float()
