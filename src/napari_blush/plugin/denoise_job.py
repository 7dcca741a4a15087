"""Denoises the values of a layer; loaded where it computes."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from napari_blush.data_model.denoise_settings import DenoiseSettings
from napari_blush.denoiser.inference import (
    DenoisedVolume,
    DenoiseOptions,
    DenoiseProgress,
    denoise_steps,
)
from napari_blush.denoiser.weights import KnownWeights, known_weights, load_denoiser
from napari_blush.errors import SettingsError
from napari_blush.io.mrc import read_map
from napari_blush.numerics.devices import chosen_device
from napari_blush.numerics.filters import low_pass_at_shell
from napari_blush.plugin.layer_looks import CHANGE_SIGMA
from napari_blush.plugin.layers import CHANGE_COLORS as CHANGE_COLORS
from napari_blush.plugin.layers import as_array, change_in_sigma

Volume = npt.NDArray[np.float32]
CHANGE_LIMITS = (-CHANGE_SIGMA, CHANGE_SIGMA)
_GIGABYTE = 2**30


@dataclass(frozen=True, slots=True)
class DenoisedLayer:
    """A denoised map and how it came about.

    ``change`` is what was changed in standard deviations of the map; ``weights`` names them with
    their checksum; ``messages`` are sentences for a person.
    """

    denoised: Volume
    change: Volume
    network_mask: Volume
    weights: str
    device: str
    messages: tuple[str, ...]


def denoised_layer(
    values: Volume, voxel_size: float, settings: DenoiseSettings
) -> Generator[DenoiseProgress, None, DenoisedLayer]:
    """Denoise a map; closing the generator stops the work within a batch of blocks.

    Parameters
    ----------
    values : (n, n, n) float32
    voxel_size : float
        Angstrom, unless the settings have one.
    settings : DenoiseSettings

    Raises
    ------
    BlushError
        When weights, mask or map cannot be used.
    """
    voxel_size = settings.voxel_size or voxel_size
    denoiser = load_denoiser(settings.denoiser).to(chosen_device(settings.device, SettingsError))
    volume = torch.from_numpy(values)
    mask = None
    if settings.mask is not None:
        mask = read_map(settings.mask, voxel_size=voxel_size, allow_odd=True).volume
    limit = settings.memory_limit
    options = DenoiseOptions(
        mode=settings.mode,
        stride=settings.stride,
        batch_size=settings.batch_size,
        mask=mask,
        particle_diameter=settings.particle_diameter,
        precision=settings.precision,
        memory_bytes=None if limit is None else int(limit * _GIGABYTE),
    )
    with closing(denoise_steps(volume, voxel_size, denoiser, options)) as steps:
        found: DenoisedVolume = yield from steps
    denoised, note = filled(volume, voxel_size, found, keep=settings.keep_beyond_nyquist)
    record = denoiser.record
    return DenoisedLayer(
        as_array(denoised),
        change_in_sigma(values, as_array(denoised)),
        as_array(found.network_mask),
        f"{record.name} {record.version}, sha256 {record.sha256}",
        str(denoiser.device),
        (*found.messages, *note),
    )


def filled(
    volume: torch.Tensor, voxel_size: float, found: DenoisedVolume, *, keep: bool
) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Return the denoised map with what its grid cannot hold left out or kept, and which."""
    n, shell = volume.shape[-1], found.nyquist_shell
    if shell >= n // 2:
        return found.volume, ()
    finest = f"{n * voxel_size / shell:.2f} A"
    if not keep:
        return found.volume, (f"Nothing finer than {finest} is in the denoised map.",)
    rest = volume - found.volume
    whole = found.volume + rest - low_pass_at_shell(rest, shell - 1)
    return whole, (f"What is finer than {finest} is the map as it came, not denoised.",)


def usable_weights() -> list[KnownWeights]:
    """Return the weights that are here and can be used."""
    return [weights for weights in known_weights() if weights.record is not None]
