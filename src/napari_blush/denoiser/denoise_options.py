"""What denoising a map is asked for, says on the way, and returns."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import nn

from napari_blush.conventions import Volume
from napari_blush.errors import SettingsError

Mode = Literal["default", "release"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]


@runtime_checkable
class BlockDenoiser(Protocol):
    """A network over blocks, and the grid that it knows.

    ``network(density, local_std)`` takes ``(b, d, d, d)`` blocks of side ``block_size`` and
    returns a ``BlockPrediction`` (``network.py``).
    """

    @property
    def network(self) -> nn.Module:
        """The network; the device of its parameters is where maps are denoised."""
        ...

    @property
    def voxel_size(self) -> float:
        """Angstrom."""
        ...

    @property
    def block_size(self) -> int:
        """Voxels along an edge of a block."""
        ...


@dataclass(frozen=True, slots=True)
class DenoiseOptions:
    """How a map is denoised.

    Parameters
    ----------
    mode : "default" or "release"
        ``release`` follows the published recipe (strides, windows, masks, normalization).
    stride : int, optional
        Voxels of the denoiser's grid between blocks; default: the mode's own.
    batch_size : int, optional
        Blocks at a time; default: what suits device and memory. Does not change the result.
    mask : (n, n, n), optional
        On the map's own grid, in [0, 1]: where there is something; it is dilated softly, so that
        nothing inside it is lost. Default: the sphere of the particle.
    particle_diameter : float, optional
        Angstrom; default: the sphere that fits the box.
    precision : str
        ``auto`` takes half precision where the device has it fast, and float32 in ``release``.
    memory_bytes : int, optional
        Working memory; default: half of what is free.
    """

    mode: Mode = "default"
    stride: int | None = None
    batch_size: int | None = None
    mask: Volume | None = None
    particle_diameter: float | None = None
    precision: Precision = "auto"
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("stride", "batch_size", "particle_diameter", "memory_bytes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                words = name.replace("_", " ")
                raise SettingsError(
                    f"The {words} of the denoiser was given as {value}; wanted more than zero: "
                    "leave it out for the default."
                )


@dataclass(frozen=True, slots=True)
class DenoiseProgress:
    """Blocks done of all that are to do."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class DenoisedVolume:
    """A denoised map.

    Parameters
    ----------
    volume : (n, n, n) float32
        On the grid and grey scale of the input; nothing beyond the denoiser's Nyquist frequency.
    network_mask : (n, n, n) float32
        In [0, 1]: where the network sees a particle.
    nyquist_shell : float
        Shell of the map's box at the denoiser's Nyquist frequency; beyond ``n // 2`` when the
        denoiser's grid is finer than the map's.
    messages : tuple of str
        What was decided on the way, in sentences.
    """

    volume: Volume
    network_mask: Volume
    nyquist_shell: float
    messages: tuple[str, ...] = ()
