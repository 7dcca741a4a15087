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
from napari_blush.numerics.correlation import resolution_shell
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
    SHELLS_SHORT,
    SpectralLimit,
    Trailing,
    has_agreement,
    limited,
    spectral_limit,
)

FEW_SHELLS = (
    "Denoised references are cut off {given} shells short of where the halves agree, which is "
    "unsafe; wanted at least {wanted}: what the denoiser makes up there can raise the FSC."
)
NO_EFFECT = (
    "The trailing limit of {limit:.1f} A has no effect: the FSC cuts denoised references off at "
    "{automatic:.1f} A already."
)

WAITS = (
    "The halves agree to {reach:.1f} A: references are Wiener maps, and are denoised with {label} "
    "once the halves agree to {wanted:g} A (denoise_from)."
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
    trailing : Trailing or bool
        Off is unsafe, and says so.
    strength : float
        Part of the denoised map in a reference; the rest is the Wiener map.
    gain : bool
        Scale each shell to what the other half confirms (``shell_gain``).
    from_angstrom : float or None
        Nothing is denoised while the halves agree to less than this: where no image finds its pose
        both halves follow what a network makes of the little that they share. None denoises from
        the start, as published.
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
        trailing: Trailing | bool = True,
        strength: float = 1.0,
        gain: bool = True,
        from_angstrom: float | None = None,
        label: str = "weights of no name",
        provenance: str = "",
    ) -> None:
        self.provenance = provenance
        self._denoiser, self._label = denoiser, label
        self._trailing = Trailing(is_on=trailing) if isinstance(trailing, bool) else trailing
        self._strength, self._gain = strength, gain
        self._from_angstrom, self._waits = from_angstrom, False
        self._options = DenoiseOptions() if options is None else options
        self._has_told = False
        self._has_told_no_effect = False

    def regularize(
        self, given: RegularizationInput
    ) -> Generator[RegularizationProgress, None, Regularized]:
        """Denoise both halves, one after the other, or wait until they agree far enough."""
        if self._is_too_coarse(given):
            wiener = (given.wiener.half1, given.wiener.half2)
            return Regularized(references=wiener, messages=self._messages_of_waiting(given))
        self._waits = False
        options = replace(self._options, mask=given.mask, particle_diameter=given.particle_diameter)
        voxel_size = given.unfiltered.voxel_size
        made: list[DenoisedVolume] = []
        for number, half in enumerate((given.unfiltered.half1, given.unfiltered.half2)):
            part = (number, 2, f"denoising half {number + 1}")
            made.append(
                (yield from denoised_steps(half, voxel_size, self._denoiser, options, part))
            )
        nyquist = made[0].nyquist_shell
        automatic = spectral_limit(given.fsc, nyquist, given.shared_shell)
        limit = self._trailing.limit_of(given.fsc, nyquist, given.shared_shell, voxel_size)
        first, second = (symmetrized(half.volume, given.symmetry_operators) for half in made)
        scaled = self._scaled((first, second), given)
        wiener = (given.wiener.half1, given.wiener.half2)
        references = [
            limited(blended(half, base, self._strength), base, limit)
            for half, base in zip(scaled, wiener, strict=True)
        ]
        return Regularized(
            references=(references[0], references[1]),
            cutoff_shell=limit.shell,
            denoised=(first, second),
            messages=self._messages(given, made, limit, automatic),
            automatic_cutoff_shell=automatic.shell,
            denoiser_nyquist_shell=nyquist,
        )

    def _is_too_coarse(self, given: RegularizationInput) -> bool:
        return self._from_angstrom is not None and agreed_angstrom(given) > self._from_angstrom

    def _messages_of_waiting(self, given: RegularizationInput) -> tuple[str, ...]:
        """Return what is said when waiting begins."""
        is_new, self._waits = not self._waits, True
        if not is_new:
            return ()
        reach, wanted = agreed_angstrom(given), self._from_angstrom
        return (WAITS.format(reach=reach, label=self._label, wanted=wanted),)

    def _scaled(
        self, denoised: tuple[Tensor, Tensor], given: RegularizationInput
    ) -> tuple[Tensor, Tensor]:
        if not self._gain:
            return denoised
        unfiltered = (given.unfiltered.half1, given.unfiltered.half2)
        gain = shell_gain(denoised, unfiltered, given.reference_masks)
        return apply_spectrum(denoised[0], gain), apply_spectrum(denoised[1], gain)

    def _messages(
        self,
        given: RegularizationInput,
        made: list[DenoisedVolume],
        limit: SpectralLimit,
        automatic: SpectralLimit,
    ) -> tuple[str, ...]:
        messages = []
        if not self._has_told:
            messages.append(f"Half-maps are denoised with {self._label}.")
            messages += self._warnings()
        self._has_told = True
        messages += dict.fromkeys(text for half in made for text in half.messages)
        box, voxel = given.fsc.shape[0] * 2 - 2, given.unfiltered.voxel_size
        if self._is_limit_idle(limit, automatic, box, voxel):
            reach = shell_to_resolution(automatic.shell or 1, box, voxel)
            messages.append(NO_EFFECT.format(limit=self._trailing.limit_angstrom, automatic=reach))
        if limit.shell is not None and not has_agreement(given.fsc, given.shared_shell):
            reach = shell_to_resolution(limit.shell, box, voxel)
            messages.append(
                "The half-maps agree nowhere beyond the shells that they share: their denoised "
                f"references end at {reach:.1f} A."
            )
        return tuple(messages)

    def _warnings(self) -> list[str]:
        """Return what is unsafe about how the maps are made."""
        if not self._trailing.is_on:
            return [UNSAFE]
        if self._trailing.shells_short < SHELLS_SHORT:
            return [FEW_SHELLS.format(given=self._trailing.shells_short, wanted=SHELLS_SHORT)]
        return []

    def _is_limit_idle(
        self, limit: SpectralLimit, automatic: SpectralLimit, box: int, voxel: float
    ) -> bool:
        """Return whether a limit was set, cuts nothing, and that was not told before."""
        wanted = self._trailing.limit_shell(box, voxel)
        is_idle = wanted is not None and limit.shell is not None and wanted > limit.shell
        is_new = is_idle and not self._has_told_no_effect
        self._has_told_no_effect = is_idle
        return is_new and automatic.shell is not None


def agreed_angstrom(given: RegularizationInput) -> float:
    """Return the resolution, in angstrom, to which the halves agree by the FSC that was given."""
    box, voxel = given.fsc.shape[0] * 2 - 2, given.unfiltered.voxel_size
    return shell_to_resolution(max(resolution_shell(given.fsc), 1), box, voxel)


def blended(denoised: Tensor, wiener: Tensor, strength: float) -> Tensor:
    r"""Return :math:`s D + (1 - s) W`, to the last bit the denoised map where ``strength`` is 1."""
    if strength == 1:
        return denoised
    return strength * denoised + (1 - strength) * wiener.to(denoised)


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
        trailing=Trailing(
            settings.spectral_trailing,
            settings.trailing_shells,
            settings.trailing_limit,
            settings.trailing_fill,
        ),
        strength=settings.denoiser_strength,
        gain=settings.denoiser_gain,
        from_angstrom=settings.denoise_from,
        label=str(record),
        provenance=f"{record.name} {record.version}, sha256 {record.sha256}",
    )
