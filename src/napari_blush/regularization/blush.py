"""Blush: half-maps denoised by a network, cut off where the data stop to vouch for them.

Each half is denoised *without* regularization of its own, as in the published release: what the
network was trained on is the noise of unfiltered half-maps. Its result stands in the place of the
Wiener map, on the same grey scale, and is a reference for alignment only.
"""

from collections.abc import Generator
from dataclasses import replace

import torch
from torch import Tensor

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.denoiser.denoise_options import BlockDenoiser, DenoisedVolume, DenoiseOptions
from napari_blush.denoiser.weights import load_denoiser
from napari_blush.numerics.filters import apply_spectrum
from napari_blush.numerics.shells import shell_to_resolution
from napari_blush.regularization.denoised_maps import denoised_steps, symmetrized
from napari_blush.regularization.regularizer import (
    RegularizationInput,
    RegularizationProgress,
    Regularized,
)
from napari_blush.regularization.shell_gain import shell_gain
from napari_blush.regularization.spectral_trailing import (
    SpectralLimit,
    has_agreement,
    limited,
    spectral_limit,
)

UNSAFE = (
    "Spectral trailing is off, which is unsafe: what the denoiser makes up beyond the resolution "
    "reaches the alignment, and the FSC can rise by itself."
)


class BlushRegularizer:
    """Denoises each unfiltered half, re-imposes symmetry, and applies spectral trailing.

    Parameters
    ----------
    denoiser : BlockDenoiser
        On the device where maps are denoised.
    options : DenoiseOptions, optional
        Mask and diameter are those of the run.
    trailing : bool
        Off is unsafe, and says so.
    gain : bool
        Scale each shell to what the other half confirms (``shell_gain``).
    label : str
        What is said of the denoiser in the first iteration.
    provenance : str
        What is kept of it with the run: a run goes on with the same only.
    """

    name = "blush"

    def __init__(
        self,
        denoiser: BlockDenoiser,
        options: DenoiseOptions | None = None,
        *,
        trailing: bool = True,
        gain: bool = True,
        label: str = "weights of no name",
        provenance: str = "",
    ) -> None:
        self.provenance = provenance
        self._denoiser, self._label = denoiser, label
        self._trailing, self._gain = trailing, gain
        self._options = DenoiseOptions() if options is None else options
        self._has_told = False

    def regularize(
        self, given: RegularizationInput
    ) -> Generator[RegularizationProgress, None, Regularized]:
        """Denoise both halves, one after the other."""
        options = replace(self._options, mask=given.mask, particle_diameter=given.particle_diameter)
        voxel_size = given.unfiltered.voxel_size
        made: list[DenoisedVolume] = []
        for number, half in enumerate((given.unfiltered.half1, given.unfiltered.half2)):
            part = (number, 2, f"denoising half {number + 1}")
            made.append(
                (yield from denoised_steps(half, voxel_size, self._denoiser, options, part))
            )
        limit = spectral_limit(
            given.fsc, made[0].nyquist_shell, given.shared_shell, trailing=self._trailing
        )
        first, second = (symmetrized(half.volume, given.symmetry_operators) for half in made)
        scaled = self._scaled((first, second), given)
        wiener = (given.wiener.half1, given.wiener.half2)
        references = [limited(half, base, limit) for half, base in zip(scaled, wiener, strict=True)]
        return Regularized(
            references=(references[0], references[1]),
            cutoff_shell=limit.shell,
            denoised=(first, second),
            messages=self._messages(given, made, limit),
        )

    def _scaled(
        self, denoised: tuple[Tensor, Tensor], given: RegularizationInput
    ) -> tuple[Tensor, Tensor]:
        if not self._gain:
            return denoised
        unfiltered = (given.unfiltered.half1, given.unfiltered.half2)
        gain = shell_gain(denoised, unfiltered, given.reference_masks)
        return apply_spectrum(denoised[0], gain), apply_spectrum(denoised[1], gain)

    def _messages(
        self, given: RegularizationInput, made: list[DenoisedVolume], limit: SpectralLimit
    ) -> tuple[str, ...]:
        messages = [] if self._has_told else [f"Half-maps are denoised with {self._label}."]
        if not self._trailing and not self._has_told:
            messages.append(UNSAFE)
        self._has_told = True
        messages += dict.fromkeys(text for half in made for text in half.messages)
        if limit.shell is not None and not has_agreement(given.fsc, given.shared_shell):
            box, voxel = given.fsc.shape[0] * 2 - 2, given.unfiltered.voxel_size
            reach = shell_to_resolution(limit.shell, box, voxel)
            messages.append(
                "The half-maps agree nowhere beyond the shells that they share: their denoised "
                f"references end at {reach:.1f} A."
            )
        return tuple(messages)


def blush_of_settings(settings: RefinementSettings, device: torch.device) -> BlushRegularizer:
    """Return the regularizer with the weights that the settings name, on ``device``.

    Raises
    ------
    WeightsError
        When there are no such weights, or they cannot be used.
    """
    denoiser = load_denoiser(settings.denoiser)
    record = denoiser.record
    memory = None if settings.memory_limit is None else int(settings.memory_limit * 2**30)
    return BlushRegularizer(
        denoiser.to(device),
        DenoiseOptions(stride=settings.denoiser_stride, memory_bytes=memory),
        trailing=settings.spectral_trailing,
        gain=settings.denoiser_gain,
        label=str(record),
        provenance=f"{record.name} {record.version}, sha256 {record.sha256}",
    )
