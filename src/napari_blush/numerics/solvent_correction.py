"""FSC inside a mask, corrected for what the mask itself makes correlate."""

from collections.abc import Generator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import Spectrum, Volume
from napari_blush.errors import SettingsError
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.filters import randomize_phases
from napari_blush.stepwise import result_of

_SHELLS_OF_LEAKAGE = 2
"""Shells above the first randomized one that a mask's own transform still reaches."""


class SolventCorrectedFsc(NamedTuple):
    """Curves of ``solvent_corrected_fsc``, each ``(n // 2 + 1,)`` but for the draws."""

    unmasked: Spectrum
    masked: Spectrum
    phase_randomized: Spectrum
    """Masked, after randomizing; zero where no shell was randomized."""
    corrected: Spectrum
    randomized_from_shell: int | None
    """None when the unmasked curve never fell far enough; ``corrected`` is then ``unmasked``."""
    draws: Float[Tensor, "draws shells"]
    """What ``phase_randomized`` is the mean of; no rows where no shell was randomized."""


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
        The four curves, the shell phases were randomized from, and each draw.

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
    return result_of(
        solvent_corrected_fsc_steps(
            half1, half2, mask, generator, randomize_at=randomize_at, n_draws=n_draws
        )
    )


def solvent_corrected_fsc_steps(
    half1: Volume,
    half2: Volume,
    mask: Volume,
    generator: torch.Generator,
    *,
    randomize_at: float = 0.8,
    n_draws: int = 1,
) -> Generator[float, None, SolventCorrectedFsc]:
    """Do what ``solvent_corrected_fsc`` does, with the fraction done before each draw."""
    if n_draws < 1:
        raise SettingsError(f"n_draws is {n_draws}; wanted at least 1: ask for one draw or more.")
    yield 0.0
    unmasked = fourier_shell_correlation(half1, half2)
    yield 0.5 / (n_draws + 1)
    masked = fourier_shell_correlation(half1 * mask, half2 * mask)
    below = (unmasked[1:] < randomize_at).nonzero()
    if not len(below):
        nothing = torch.zeros_like(masked)
        return SolventCorrectedFsc(
            unmasked, masked, nothing, unmasked.clone(), None, nothing.expand(0, -1)
        )
    first = 1 + int(below[0])
    drawn = []
    for number in range(n_draws):
        halves = []
        for place, half in enumerate((half1, half2)):
            yield (1 + number + place / 3) / (n_draws + 1)
            halves.append(randomize_phases(half, first, generator) * mask)
        yield (1 + number + 2 / 3) / (n_draws + 1)
        drawn.append(fourier_shell_correlation(*halves))
    draws = torch.stack(drawn)
    random = draws.mean(dim=0)
    corrected = without_noise(masked, random, first)
    return SolventCorrectedFsc(unmasked, masked, random, corrected, first, draws)


def without_noise(
    masked: Spectrum, random: Float[Tensor, "*draws shells"], from_shell: int
) -> Float[Tensor, "*draws shells"]:
    r"""Return :math:`(FSC_t - FSC_n) / (1 - FSC_n)` as ``solvent_corrected_fsc`` does.

    Parameters
    ----------
    masked
        ``(n // 2 + 1,)``, :math:`FSC_t`.
    random
        ``(..., n // 2 + 1)``, :math:`FSC_n`; one corrected curve for each.
    from_shell
        First shell whose phases were randomized.
    """
    # A curve of noise alone that reaches one leaves nothing to divide by, and no signal.
    room = (1 - random).clamp(min=torch.finfo(random.dtype).eps)
    corrected = torch.where(random > masked, 0.0, (masked - random) / room)
    corrected[..., : from_shell + _SHELLS_OF_LEAKAGE] = masked[: from_shell + _SHELLS_OF_LEAKAGE]
    return corrected
