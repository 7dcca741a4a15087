r"""Noise that is taken for signal: phase randomization of half-maps and of particle images.

Beyond a resolution the phases of every image are replaced by random ones, amplitudes kept [1]_:
nothing is left there to find. A refinement of such images that nonetheless finds agreement between
its halves, ``FSC_n``, has made it from noise, and did so with the true images too; what is not made
is :math:`FSC_{true} = (FSC_t - FSC_n) / (1 - FSC_n)`.

The verdict. At the resolution that is quoted, ``FSC_t`` is 0.143. Where ``FSC_n`` alone reaches
0.143, noise would be quoted as resolution: red. Half of that, 0.0715, leaves half of the quoted
agreement to noise: yellow. One shell may exceed a threshold by chance, so the judged figure is the
highest mean of three neighboring shells, less twice its standard error.

References
----------
.. [1] Chen et al. (2013), Ultramicroscopy 135, 24.
"""

from dataclasses import dataclass, replace
from math import ceil, sqrt

import torch
from jaxtyping import Int64
from torch import Tensor

from napari_blush.conventions import FSC_GOLD_STANDARD, ImageStack, Spectrum, Volume
from napari_blush.data_model.particles import ImageSource, Particles
from napari_blush.errors import SettingsError
from napari_blush.numerics.correlation import resolution_at
from napari_blush.numerics.fft import irfft2_centered, rfft2_centered
from napari_blush.numerics.shells import resolution_to_shell, shell_index_grid, shell_sum
from napari_blush.validation.lights import Check, Light, light_of

_LEAKAGE = 2
"""Shells above the first randomized one that a mask's transform still reaches."""

_RUN = 3
_SIGMAS = 2.0
_SEED_STRIDE = 1_000_003  # a prime: seeds of different runs do not share images' seeds


class PhaseRandomizedImages:
    """An ``ImageSource`` whose images have random phases beyond a shell.

    Parameters
    ----------
    images : ImageSource
    from_shell : (n,) int64
        First shell of each image to be randomized, ``round(|k|)``.
    seed : int
        With the image's number decides its phases: they are the same whenever it is read, in
        whatever company and by whichever thread.
    """

    def __init__(self, images: ImageSource, from_shell: Int64[Tensor, " n"], seed: int = 0) -> None:
        if len(from_shell) != len(images):
            raise SettingsError(
                f"Given {len(from_shell)} shells for {len(images)} images; wanted one for each."
            )
        self._images = images
        self._from_shell = from_shell
        self._seed = seed

    def __len__(self) -> int:
        return len(self._images)

    def read(self, indices: Tensor) -> ImageStack:
        """Read images; ``indices (b,)`` int64 to ``(b, n, n)`` float32 on the CPU."""
        images = self._images.read(indices)
        if not len(indices):
            return images
        box = int(images.shape[-1])
        noise = torch.stack([self._noise(index, box) for index in indices.tolist()])
        transform = rfft2_centered(images)
        # The phases of real white noise are Hermitian: amplitudes of the real image stay.
        phases = torch.sgn(rfft2_centered(noise))
        kept = shell_index_grid(box, 2) < self._from_shell[indices][:, None, None]
        return irfft2_centered(torch.where(kept, transform, transform.abs() * phases), box)

    def _noise(self, index: int, box: int) -> Tensor:
        generator = torch.Generator().manual_seed(self._seed * _SEED_STRIDE + index)
        return torch.randn(box, box, generator=generator)


def phase_randomized_particles(particles: Particles, resolution: float, seed: int = 0) -> Particles:
    """Return particles whose images have random phases beyond a resolution.

    Parameters
    ----------
    particles : Particles
    resolution : float
        Angstrom; per optics group the nearest shell is the first to be randomized.
    seed : int

    Raises
    ------
    SettingsError
        When the resolution is finer than the images' Nyquist frequency: nothing would change.
    """
    shells = []
    for group in particles.optics_groups:
        shell = round(resolution_to_shell(resolution, group.box_size, group.pixel_size))
        if not 1 <= shell < group.box_size // 2:
            raise SettingsError(
                f"Phases were to be randomized beyond {resolution:g} A, shell {shell} of images of "
                f"{group.box_size} px at {group.pixel_size:g} A; wanted 1 to "
                f"{group.box_size // 2 - 1}; choose another resolution."
            )
        shells.append(shell)
    from_shell = torch.tensor(shells)[particles.optics_group_index]
    return replace(particles, images=PhaseRandomizedImages(particles.images, from_shell, seed))


@dataclass(frozen=True, slots=True)
class OverfittingVerdict:
    """What agreement was made from noise.

    Parameters
    ----------
    fsc_t, fsc_n, fsc_true : Spectrum
        Of the data, of the phase-randomized data, and what is left.
    from_shell : int
        First randomized shell.
    excess : float
        The highest mean of ``fsc_n`` over three shells less twice its standard error.
    resolution, resolution_true : float
        Angstrom at 0.143 of ``fsc_t`` and of ``fsc_true``.
    check : Check
    """

    fsc_t: Spectrum
    fsc_n: Spectrum
    fsc_true: Spectrum
    from_shell: int
    excess: float
    resolution: float
    resolution_true: float
    check: Check


def overfitting_verdict(
    fsc_t: Spectrum,
    fsc_n: Spectrum,
    from_shell: int,
    voxel_size: float,
    *,
    mask: Volume | None = None,
    name: str = "made from noise",
) -> OverfittingVerdict:
    """Judge how much of an FSC was made from noise.

    Parameters
    ----------
    fsc_t, fsc_n : (n // 2 + 1,)
        Of the data, and of the same data phase-randomized from ``from_shell`` on.
    from_shell : int
    voxel_size : float
        Angstrom.
    mask : (n, n, n), optional
        The one that both curves were made in: it leaves fewer independent coefficients.
    name : str
        Of the check.

    Returns
    -------
    OverfittingVerdict

    Raises
    ------
    SettingsError
        When no shell is left to be judged.
    """
    n_shells = len(fsc_t)
    box = 2 * (n_shells - 1)
    first = from_shell + _LEAKAGE
    if len(fsc_n) != n_shells or first + _RUN > n_shells:
        raise SettingsError(
            f"Curves of {n_shells} and {len(fsc_n)} shells were randomized from shell "
            f"{from_shell}; wanted two of one length and {_LEAKAGE + _RUN} shells beyond it; "
            "randomize from a coarser resolution."
        )
    means, errors = _runs(fsc_n[first:]), _run_errors(box, mask)[first:]
    excess = float((means - _SIGMAS * errors[: len(means)]).max())
    fsc_true = true_fsc(fsc_t, fsc_n, from_shell)
    resolution = resolution_at(fsc_t, FSC_GOLD_STANDARD, box, voxel_size)
    resolution_true = resolution_at(fsc_true, FSC_GOLD_STANDARD, box, voxel_size)
    light = light_of(excess, yellow=FSC_GOLD_STANDARD / 2, red=FSC_GOLD_STANDARD)
    text = {
        Light.GREEN: "Where phases are random nothing is found: no sign of overfitting.",
        Light.YELLOW: "Some agreement comes from noise: quote the corrected resolution.",
        Light.RED: "Noise alone agrees as much as is quoted for signal: overfitting, a mask that "
        "is too tight, or halves that share something.",
    }[light]
    value = f"{max(excess, 0.0):.3f}"
    text = f"{text} {resolution:.2f} A, corrected {resolution_true:.2f} A."
    check = Check(name, value, light, text)
    return OverfittingVerdict(
        fsc_t, fsc_n, fsc_true, from_shell, excess, resolution, resolution_true, check
    )


def true_fsc(fsc_t: Spectrum, fsc_n: Spectrum, from_shell: int) -> Spectrum:
    """Return ``(FSC_t - FSC_n) / (1 - FSC_n)`` from two shells above the first randomized one on.

    0 where ``FSC_n > FSC_t``; a negative ``FSC_n`` is chance and counts as 0.
    """
    noise = fsc_n.clamp(min=0, max=1 - 1e-6)
    corrected = torch.where(noise > fsc_t, 0.0, (fsc_t - noise) / (1 - noise))
    early = torch.arange(len(fsc_t)) < from_shell + _LEAKAGE
    return torch.where(early.to(fsc_t.device), fsc_t, corrected)


def standard_errors(box_size: int, mask: Volume | None = None) -> Spectrum:
    r"""Return the standard deviation of the FSC of independent noise, ``(n // 2 + 1,)``.

    ``1 / sqrt(2 N)`` for ``N`` independent complex coefficients, half of those of a shell; a mask
    leaves the fraction :math:`(\sum m^2)^2 / (n^3 \sum m^4)` of them independent, where shells are
    thick; in one thin shell of a small mask the deviation is up to 0.7 of this.
    """
    ones = torch.ones(box_size, box_size, box_size // 2 + 1)
    count = shell_sum(ones, box_size, 3)
    fraction = 1.0
    if mask is not None:
        square = mask.double() ** 2
        fraction = float(square.sum() ** 2 / (mask.numel() * (square**2).sum()))
    return (count * fraction).clamp(min=1).rsqrt()


def _runs(curve: Tensor) -> Tensor:
    return curve.unfold(0, _RUN, 1).mean(dim=1)


def _run_errors(box_size: int, mask: Volume | None) -> Spectrum:
    """Return the standard error of the mean of three shells, at the first of them."""
    return standard_errors(box_size, mask) / sqrt(_RUN)


def suggested_randomization(fsc: Spectrum, voxel_size: float) -> float:
    """Return the resolution to randomize from, in angstrom: where the FSC first falls below 0.8.

    At most half of the shells, so that enough are left to be judged.
    """
    below = (~(fsc[1:] >= 0.8)).nonzero()
    n_shells = len(fsc)
    shell = 1 + int(below[0]) if len(below) else n_shells
    shell = max(1, min(shell, ceil(n_shells / 2)))
    return 2 * (n_shells - 1) * voxel_size / shell
