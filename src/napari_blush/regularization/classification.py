"""Blush for 3-D classification: there are no halves, hence no FSC and no spectral trailing.

What is denoised is the Wiener map of a class, and the Wiener map it is again beyond the denoiser's
Nyquist frequency (Kimanius et al. 2024, Methods).
"""

from collections.abc import Generator
from dataclasses import dataclass, replace

from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.denoiser.denoise_options import BlockDenoiser, DenoiseOptions
from napari_blush.regularization.denoised_maps import denoised_steps, symmetrized
from napari_blush.regularization.regularizer import RegularizationProgress
from napari_blush.regularization.spectral_trailing import limited, nyquist_limit


@dataclass(frozen=True, slots=True)
class ClassMap:
    """The reconstruction of one class.

    Parameters
    ----------
    wiener : (n, n, n) float32
        Regularized with the signal power of the class.
    voxel_size, particle_diameter : float
        Angstrom.
    mask : (n, n, n) float32 or None
    symmetry_operators : (g, 3, 3) float64
    """

    wiener: Volume
    voxel_size: float
    particle_diameter: float
    mask: Volume | None
    symmetry_operators: Tensor


@dataclass(frozen=True, slots=True)
class RegularizedClass:
    """A reference, the denoised map it was made of, and what is to be told."""

    reference: Volume
    denoised: Volume
    crossover_shell: int
    messages: tuple[str, ...] = ()


class ClassBlush:
    """Denoises the Wiener map of a class.

    Parameters
    ----------
    denoiser : BlockDenoiser
        On the device where maps are denoised.
    options : DenoiseOptions, optional
        Mask and diameter are those of the class.
    """

    name = "blush"

    def __init__(self, denoiser: BlockDenoiser, options: DenoiseOptions | None = None) -> None:
        self._denoiser = denoiser
        self._options = DenoiseOptions() if options is None else options

    def regularize(
        self, given: ClassMap
    ) -> Generator[RegularizationProgress, None, RegularizedClass]:
        """Yield progress; return the reference of the class."""
        options = replace(self._options, mask=given.mask, particle_diameter=given.particle_diameter)
        part = (0, 1, "denoising")
        made = yield from denoised_steps(
            given.wiener, given.voxel_size, self._denoiser, options, part
        )
        denoised = symmetrized(made.volume, given.symmetry_operators)
        limit = nyquist_limit(made.nyquist_shell)
        reference = limited(denoised, given.wiener, limit)
        return RegularizedClass(reference, denoised, limit.shell or 0, made.messages)
