"""FSC inside a mask, corrected for what the mask itself makes correlate."""

from typing import NamedTuple

import torch
from torch import Tensor

from napari_blush.conventions import Spectrum, Volume
from napari_blush.errors import SettingsError
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.filters import randomize_phases

_SHELLS_OF_LEAKAGE = 2
"""Shells above the first randomized one that a mask's own transform still reaches."""


class SolventCorrectedFsc(NamedTuple):
    """Curves of ``solvent_corrected_fsc``, each ``(n // 2 + 1,)``."""

    unmasked: Spectrum
    masked: Spectrum
    phase_randomized: Spectrum
    """Masked, after randomizing; zero where no shell was randomized."""
    corrected: Spectrum
    randomized_from_shell: int | None
    """None when the unmasked curve never fell far enough; ``corrected`` is then ``unmasked``."""


def solvent_corrected_fsc(
    half1: Volume,
    half2: Volume,
    mask: Volume,
    generator: torch.Generator,
    *,
    randomize_at: float = 0.8,
    n_draws: int = 1,
) -> SolventCorrectedFsc:
    r"""Correlate two half-maps inside a mask, without the correlation the mask brings.

    :math:`FSC_{true} = (FSC_t - FSC_n) / (1 - FSC_n)`

    with ``t`` the masked half-maps and ``n`` the same after randomizing their phases from the
    first shell on where the unmasked FSC is below ``randomize_at``. It is ``FSC_t`` up to and
    including the shell after that one, and 0 where ``FSC_n > FSC_t``.

    Parameters
    ----------
    half1, half2
        ``(n, n, n)`` unfiltered half-maps.
    mask
        ``(n, n, n)`` soft mask in [0, 1].
    generator
        Source of the random phases, drawn apart for each half.
    randomize_at
        Unmasked FSC below which phases are randomized.
    n_draws
        Number of random draws whose ``FSC_n`` is averaged.

    Returns
    -------
    SolventCorrectedFsc
        The four curves and the shell phases were randomized from.

    Raises
    ------
    SettingsError
        If ``n_draws`` is less than one.

    Notes
    -----
    Equation 4 of [1]_. RELION draws once; one draw leaves ``FSC_n`` a scatter that is largest in
    the small shells next to the first randomized one, and averaging takes it away.

    References
    ----------
    .. [1] Chen et al. (2013). High-resolution noise substitution to measure overfitting and
       validate resolution in 3D structure determination by single particle electron
       cryomicroscopy. Ultramicroscopy 135, 24-35.
    """
    if n_draws < 1:
        raise SettingsError(f"n_draws is {n_draws}; wanted at least 1: ask for one draw or more.")
    unmasked = fourier_shell_correlation(half1, half2)
    masked = fourier_shell_correlation(half1 * mask, half2 * mask)
    below = (unmasked[1:] < randomize_at).nonzero()
    if not len(below):
        nothing = torch.zeros_like(masked)
        return SolventCorrectedFsc(unmasked, masked, nothing, unmasked.clone(), None)
    first = 1 + int(below[0])
    random = torch.zeros_like(masked)
    for _ in range(n_draws):
        noise1 = randomize_phases(half1, first, generator) * mask
        noise2 = randomize_phases(half2, first, generator) * mask
        random += fourier_shell_correlation(noise1, noise2) / n_draws
    corrected = masked.clone()
    above = slice(first + _SHELLS_OF_LEAKAGE, None)
    corrected[above] = _correct(masked[above], random[above])
    return SolventCorrectedFsc(unmasked, masked, random, corrected, first)


def _correct(masked: Tensor, random: Tensor) -> Tensor:
    # A curve of noise alone that reaches one leaves nothing to divide by, and no signal.
    room = (1 - random).clamp(min=torch.finfo(random.dtype).eps)
    return torch.where(random > masked, 0.0, (masked - random) / room)
