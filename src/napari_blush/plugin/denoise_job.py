"""Denoises the maps of layers, whole or in part; loaded where it computes."""

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from math import isfinite

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_blush.data_model.denoise_settings import DenoiseSettings
from napari_blush.denoiser.denoiser import Denoiser
from napari_blush.denoiser.inference import (
    DenoisedVolume,
    DenoiseOptions,
    DenoiseProgress,
    denoise_part_steps,
)
from napari_blush.denoiser.sub_box import SubBox, SubBoxDenoiser
from napari_blush.denoiser.weights import KnownWeights, known_weights, load_denoiser
from napari_blush.errors import SettingsError
from napari_blush.numerics.correlation import (
    fourier_shell_correlation,
    resolution_at,
)
from napari_blush.numerics.devices import chosen_device
from napari_blush.numerics.filters import low_pass_at_shell
from napari_blush.plugin.layers import as_array
from napari_blush.regularization.spectral_trailing import (
    SpectralLimit,
    limited,
    spectral_limit,
)

Volume = npt.NDArray[np.float32]
_GIGABYTE = 2**30


@dataclass(frozen=True, slots=True)
class DenoiseRequest:
    """What is asked of the denoiser.

    Parameters
    ----------
    maps : tuple of (n, n, n) arrays
        One map, or two half-maps.
    voxel_size : float
        Angstrom.
    settings : DenoiseSettings
        Its mask, voxel size and threads are not looked at.
    mask : (n, n, n), optional
        In [0, 1]: where there is something.
    n_recycles : int
        How often the denoised map is denoised again.
    trailing : bool
        Cut off short of where two halves agree.
    """

    maps: tuple[npt.NDArray[np.generic], ...]
    voxel_size: float
    settings: DenoiseSettings
    mask: npt.NDArray[np.generic] | None = None
    n_recycles: int = 0
    trailing: bool = False


@dataclass(frozen=True, slots=True)
class DenoisedMap:
    """A map with what the denoiser made of it, all within the same limit of resolution.

    Parameters
    ----------
    before : (n, n, n)
        As it came.
    base : (n, n, n)
        As it came, within the limit.
    passes : tuple of (n, n, n)
        Denoised once, and again after each recycle.
    """

    before: Volume
    base: Volume
    passes: tuple[Volume, ...]

    def blended(self, strength: float, recycle: int = 0) -> tuple[Volume, Volume]:
        """Return denoised by strength in [0, 1], and what changed in deviations of the map."""
        denoised = self.passes[min(recycle, len(self.passes) - 1)]
        mixed = self.base + np.float32(strength) * (denoised - self.base)
        sigma = np.float32(self.before.std()) or np.float32(1)
        return mixed, (mixed - self.before) / sigma


@dataclass(frozen=True, slots=True)
class DenoisedMaps:
    """What came of a request.

    Parameters
    ----------
    maps : tuple of DenoisedMap
        As many as were given.
    start : (z, y, x)
        First voxel of the maps in those given: not zero for a part.
    weights : str
        Names them with their checksum.
    device : str
    seconds : float
        That it took, the weights read and the map prepared.
    messages : tuple of str
        Sentences for a person.
    """

    maps: tuple[DenoisedMap, ...]
    start: tuple[int, int, int]
    weights: str
    device: str
    seconds: float
    messages: tuple[str, ...]


class DenoiseJob:
    """A request under way; keeps what a second look at another part needs."""

    def __init__(self, request: DenoiseRequest) -> None:
        self.request = request
        self._part: SubBoxDenoiser | None = None

    @cached_property
    def denoiser(self) -> Denoiser:
        """The network, on its device."""
        settings = self.request.settings
        return load_denoiser(settings.denoiser).to(chosen_device(settings.device, SettingsError))

    @cached_property
    def volumes(self) -> tuple[Tensor, ...]:
        """The maps as they came, copied."""
        return tuple(torch.from_numpy(np.array(m, dtype=np.float32)) for m in self.request.maps)

    @cached_property
    def fsc(self) -> Tensor:
        """Of the two halves as they came, without a mask."""
        if len(self.volumes) != 2 or self.volumes[0].shape[-1] % 2:
            raise SettingsError(
                f"Trailing was asked of {len(self.volumes)} map with {self.volumes[0].shape[-1]} "
                "voxels along an edge; wanted two half-maps with an even number: choose the other "
                "half, or do without trailing."
            )
        return fourier_shell_correlation(*self.volumes)

    @cached_property
    def options(self) -> DenoiseOptions:
        """The settings as the denoiser takes them."""
        settings, mask = self.request.settings, self.request.mask
        limit = settings.memory_limit
        given = None if mask is None else torch.from_numpy(np.array(mask, dtype=np.float32))
        return DenoiseOptions(
            mode=settings.mode,
            stride=settings.stride,
            batch_size=settings.batch_size,
            mask=None if given is None else given.clamp(0, 1),
            particle_diameter=settings.particle_diameter,
            precision=settings.precision,
            memory_bytes=None if limit is None else int(limit * _GIGABYTE),
        )

    def whole(self) -> Generator[DenoiseProgress, None, DenoisedMaps]:
        """Denoise the maps; closing the generator stops the work within a batch of blocks.

        Raises
        ------
        BlushError
            When weights, mask or maps cannot be used.
        """
        began = time.perf_counter()
        yield DenoiseProgress(0, 1)
        n_passes = self.request.n_recycles + 1
        n_parts, made, messages = n_passes * len(self.volumes), [], dict[str, None]()
        for number, volume in enumerate(self.volumes):
            passes: list[Tensor] = []
            shell = float("inf")
            for again in range(n_passes):
                # What recycles is the whole of it; limits are set on what is shown.
                found = yield from self._one_pass(
                    passes[-1] if passes else volume, number * n_passes + again, n_parts
                )
                passes.append(found.volume)
                shell = found.nyquist_shell
                messages.update(dict.fromkeys(found.messages))
            made.append(self._within_limits(volume, passes, shell))
            messages.update(dict.fromkeys(self._limit_in_words(shell)))
        return self._told(tuple(made), (0, 0, 0), began, tuple(messages))

    def preview(
        self, center: tuple[float, float, float]
    ) -> Generator[DenoiseProgress, None, DenoisedMaps]:
        """Denoise the first map once around a point, with the blocks that it takes.

        Parameters
        ----------
        center : (z, y, x)
            Voxels.
        """
        began = time.perf_counter()
        yield DenoiseProgress(0, 1)
        volume = self.volumes[0]
        if self._part is None:
            self._part = SubBoxDenoiser(
                volume, self.request.voxel_size, self.denoiser, self.options
            )
        with closing(self._part.steps(center)) as steps:
            found: SubBox = yield from steps
        whole = self._within_limits(volume, [found.volume], found.nyquist_shell)
        before, base, denoised = (
            np.ascontiguousarray(values[found.inside])
            for values in (whole.before, whole.base, whole.passes[0])
        )
        z, y, x = (axis.start for axis in found.inside)
        blocks = f"{found.n_blocks} of {found.n_blocks_of_all} blocks."
        words = (blocks, *self._limit_in_words(found.nyquist_shell))
        return self._told((DenoisedMap(before, base, (denoised,)),), (z, y, x), began, words)

    def _one_pass(
        self, volume: Tensor, part: int, n_parts: int
    ) -> Generator[DenoiseProgress, None, DenoisedVolume]:
        return (
            yield from denoise_part_steps(
                volume, self.request.voxel_size, self.denoiser, self.options, (part, n_parts)
            )
        )

    def _limit(self, nyquist_shell: float) -> SpectralLimit:
        return spectral_limit(self.fsc, nyquist_shell, trailing=self.request.trailing)

    def _within_limits(
        self, volume: Tensor, denoised: list[Tensor], nyquist_shell: float
    ) -> DenoisedMap:
        """Cut off the denoised maps and the map itself, or fill what the grid cannot hold."""
        base, keep = volume, self.request.settings.keep_beyond_nyquist
        if self.request.trailing:
            limit = self._limit(nyquist_shell)
            beyond = volume if keep and limit.is_filled else torch.zeros_like(volume)
            base, *denoised = (limited(one, beyond, limit) for one in (volume, *denoised))
        elif keep and nyquist_shell < volume.shape[-1] // 2:
            denoised = [_filled(one, volume, nyquist_shell) for one in denoised]
        return DenoisedMap(
            as_array(volume), as_array(base), tuple(as_array(one) for one in denoised)
        )

    def _limit_in_words(self, nyquist_shell: float) -> tuple[str, ...]:
        n, voxel = self.volumes[0].shape[-1], self.request.voxel_size
        if self.request.trailing:
            shell = self._limit(nyquist_shell).shell or 1
            reach = resolution_at(self.fsc, 0.143, n, voxel)
            agree = f"to {reach:.1f} Å" if isfinite(reach) else "nowhere"
            return (f"Cut off at {n * voxel / shell:.1f} Å; the halves agree {agree}.",)
        if nyquist_shell >= n // 2:
            return ()
        finest = f"{n * voxel / nyquist_shell:.1f} Å"
        if self.request.settings.keep_beyond_nyquist:
            return (f"What is finer than {finest} is the map as it came.",)
        return (f"Nothing finer than {finest} is in the denoised map.",)

    def _told(
        self,
        maps: tuple[DenoisedMap, ...],
        start: tuple[int, int, int],
        began: float,
        messages: tuple[str, ...],
    ) -> DenoisedMaps:
        record, device = self.denoiser.record, self.denoiser.device
        return DenoisedMaps(
            maps,
            start,
            f"{record.name} {record.version}, sha256 {record.sha256}",
            str(device),
            time.perf_counter() - began,
            messages,
        )


def _filled(denoised: Tensor, volume: Tensor, nyquist_shell: float) -> Tensor:
    rest = volume - denoised
    return denoised + rest - low_pass_at_shell(rest, nyquist_shell - 1)


def usable_weights() -> list[KnownWeights]:
    """Return the weights that are here and can be used."""
    return [weights for weights in known_weights() if weights.record is not None]
