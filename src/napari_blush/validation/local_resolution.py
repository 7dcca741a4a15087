"""Local resolution: the FSC of half-maps inside a small window, at many places.

Both half-maps, and both with their phases randomized beyond a resolution, are cut into overlapping
soft balls; the transforms of many windows are made at once, and shells are summed by one matrix
product. In each window the curve is corrected for what the window itself makes correlate, as the
whole map's is for its mask (``numerics.solvent_correction``), and read off at a threshold.
"""

from collections.abc import Generator
from dataclasses import dataclass
from math import ceil, isfinite

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy import ndimage
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.errors import SettingsError
from napari_blush.numerics.filters import low_pass_at_shell, randomize_phases
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.shells import resolution_to_shell, shell_index_grid
from napari_blush.stepwise import result_of

LOCAL_THRESHOLD = 0.5
"""Of the corrected FSC: windows hold few coefficients a shell, which at 0.143 is mostly scatter."""

_LEAST_WINDOW = 12  # voxels: six shells, fewer make no curve
_WINDOW_OF_RESOLUTION = 7.0
_LEAST_WINDOW_ANGSTROM = 25.0
_VOXELS_AT_A_TIME = 4_000_000
_LEAKAGE = 1  # window shells above the randomized one that the window's own transform reaches


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """How local resolution is measured.

    Parameters
    ----------
    window_angstrom : float, optional
        Diameter of the window; default: seven times the map's resolution, 25 A and 12 voxels at
        least.
    step : int
        Voxels between windows; between them values are interpolated.
    threshold : float
        Of the corrected FSC.
    randomize_at : float, optional
        Angstrom beyond which phases are randomized; default: twice the map's resolution.
    coarsest : float, optional
        Angstrom that a window with no agreement is given; default: the window's diameter.
    seed : int
    """

    window_angstrom: float | None = None
    step: int = 2
    threshold: float = LOCAL_THRESHOLD
    randomize_at: float | None = None
    coarsest: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class LocalResolution:
    """Resolution by place.

    Parameters
    ----------
    resolution : (n, n, n) float32
        Angstrom; outside the mask the nearest value inside.
    window_voxels : int
        Side of the windows.
    centers : (m, 3) int64
        (z, y, x) of the windows.
    at_centers : (m,) float32
        Angstrom.
    inside : (n, n, n) bool
        Where the mask is above one half.
    """

    resolution: Volume
    window_voxels: int
    centers: Int64[Tensor, "m 3"]
    at_centers: Float[Tensor, " m"]
    inside: Tensor

    def quantiles(self, at: tuple[float, ...] = (0.05, 0.5, 0.95)) -> tuple[float, ...]:
        """Return quantiles of the resolution inside the mask, in angstrom."""
        values = self.resolution[self.inside].double().cpu().numpy()
        return tuple(float(q) for q in np.quantile(values, at))


def local_resolution(
    half1: Volume,
    half2: Volume,
    voxel_size: float,
    resolution: float,
    mask: Volume,
    options: LocalOptions | None = None,
) -> LocalResolution:
    """Measure the resolution at every place; all of ``local_resolution_steps``."""
    return result_of(local_resolution_steps(half1, half2, voxel_size, resolution, mask, options))


def local_resolution_steps(
    half1: Volume,
    half2: Volume,
    voxel_size: float,
    resolution: float,
    mask: Volume,
    options: LocalOptions | None = None,
) -> Generator[float, None, LocalResolution]:
    """Measure the resolution at every place, on the device of the half-maps.

    Parameters
    ----------
    half1, half2 : (n, n, n)
        Unfiltered.
    voxel_size : float
        Angstrom.
    resolution : float
        Of the whole map, in angstrom; decides the window and where phases are randomized.
    mask : (n, n, n)
        Windows are centered where it is above one half.
    options : LocalOptions, optional

    Yields
    ------
    float
        The fraction that is done; closing the generator stops the work.

    Returns
    -------
    LocalResolution

    Raises
    ------
    SettingsError
        When the window does not fit the box or the mask is empty.

    Notes
    -----
    Costs four small transforms a window; windows are ``step`` voxels apart, so eight times fewer
    than voxels with the default, which a window far wider than that hardly notices.

    References
    ----------
    Cardone, Heymann & Steven (2013), J. Struct. Biol. 184, 226 (windowed FSC);
    Chen et al. (2013), Ultramicroscopy 135, 24 (phase randomization).
    """
    asked = options or LocalOptions()
    n = int(half1.shape[-1])
    window = window_voxels(voxel_size, resolution, asked.window_angstrom)
    if window > n or not bool((mask > 0.5).any()):
        raise SettingsError(
            f"Given a window of {window} voxels, a box of {n} and a mask that is above 0.5 in "
            f"{int((mask > 0.5).sum())} voxels; wanted a window inside the box and a mask that is "
            "not empty; lessen the window or correct the mask."
        )
    known = isfinite(resolution)
    randomize_at = asked.randomize_at or (2 * resolution if known else window * voxel_size)
    from_shell = max(1, round(resolution_to_shell(randomize_at, n, voxel_size)))
    generator = torch.Generator(device="cpu").manual_seed(asked.seed)
    maps = torch.stack(
        [
            half1,
            half2,
            randomize_phases(half1, from_shell, generator),
            randomize_phases(half2, from_shell, generator),
        ]
    )
    centers = window_centers(mask, asked.step)
    first = round(from_shell * window / n)
    shells = []
    batch = max(1, _VOXELS_AT_A_TIME // (4 * window**3))
    for start in range(0, len(centers), batch):
        curves = windowed_fsc(maps, centers[start : start + batch], window)
        corrected = corrected_curves(curves[:, 0], curves[:, 1], first + _LEAKAGE)
        shells.append(crossing(corrected, asked.threshold).cpu())
        yield min(1.0, (start + batch) / len(centers))
    length = window * voxel_size
    coarsest = asked.coarsest or length
    found = (length / torch.cat(shells).clamp(min=length / coarsest)).float()
    grid = _spread(found, centers, n, asked.step)
    return LocalResolution(grid, window, centers, found, (mask > 0.5).cpu())


def window_voxels(voxel_size: float, resolution: float, diameter: float | None) -> int:
    """Return the even side of the windows in voxels; see ``LocalOptions``."""
    if diameter is None:
        wanted = _WINDOW_OF_RESOLUTION * resolution if isfinite(resolution) else 0.0
        diameter = max(_LEAST_WINDOW_ANGSTROM, wanted, _LEAST_WINDOW * voxel_size)
    return max(_LEAST_WINDOW, 2 * ceil(diameter / voxel_size / 2))


def window_centers(mask: Volume, step: int) -> Int64[Tensor, "m 3"]:
    """Return the (z, y, x) of every ``step``-th voxel whose neighborhood the mask touches."""
    n = int(mask.shape[-1])
    inside = (mask > 0.5).cpu()
    # Voxels between the sampled ones must have sampled neighbors on all sides.
    wide = torch.nn.functional.max_pool3d(inside.float()[None, None], 2 * step - 1, 1, step - 1)
    sampled = torch.zeros(n, n, n, dtype=torch.bool)
    sampled[::step, ::step, ::step] = True
    return ((wide[0, 0] > 0) & sampled).nonzero()


def windowed_fsc(
    maps: Float[Tensor, "maps n n n"], centers: Int64[Tensor, "m 3"], window: int
) -> Float[Tensor, "m pairs shells"]:
    """Correlate pairs of maps inside soft balls.

    Parameters
    ----------
    maps : (2 p, n, n, n)
        Pairs one after the other.
    centers : (m, 3)
        (z, y, x) of the windows' middles; beyond the box there are zeros.
    window : int
        Side in voxels, even; the ball's soft edge takes its outer half.

    Returns
    -------
    (m, p, window // 2 + 1) float32
        Shell 0 is 1, shells without power 0.
    """
    half = window // 2
    n_maps, device = len(maps), maps.device
    padded = torch.nn.functional.pad(maps, (half,) * 6)
    side = int(padded.shape[-1])
    axis = torch.arange(window, device=device)
    offsets = (axis[:, None, None] * side + axis[:, None]) * side + axis
    # Matrix products of integers exist on the CPU only.
    starts = (centers * torch.tensor([side**2, side, 1])).sum(dim=1).to(device)
    ball = soft_sphere(window, half / 2, half / 2 - 0.5, device)
    index = starts[:, None] + offsets.flatten()
    blocks = padded.reshape(n_maps, -1)[:, index].reshape(n_maps, -1, window, window, window)
    transforms = torch.fft.rfftn(blocks * ball, dim=(-3, -2, -1)).flatten(2)
    sums = _shell_sums(window, device).to(maps.dtype)
    power = (transforms.real**2 + transforms.imag**2) @ sums
    a, b = transforms[0::2], transforms[1::2]
    cross = (a.real * b.real + a.imag * b.imag) @ sums
    norm = power[0::2].sqrt() * power[1::2].sqrt()
    fsc = torch.where(norm > 0, cross / norm.clamp(min=1e-30), 0.0)
    fsc[..., 0] = 1
    return fsc.transpose(0, 1)


def corrected_curves(
    total: Float[Tensor, "m shells"], random: Float[Tensor, "m shells"], first: int
) -> Float[Tensor, "m shells"]:
    """Return ``(F_t - F_n) / (1 - F_n)`` from shell ``first`` on; nothing is gained by it.

    A negative correlation of random phases is chance, and would raise the curve: it counts as 0.
    """
    noise = random.clamp(min=0, max=1 - 1e-6)
    corrected = ((total - noise) / (1 - noise)).clamp(min=-1)
    early = torch.arange(total.shape[-1], device=total.device) < first
    return torch.where(early, total, corrected)


def crossing(curves: Float[Tensor, "m shells"], threshold: float) -> Float[Tensor, " m"]:
    """Return the shell, interpolated, where each curve first falls below a threshold."""
    last = curves.shape[-1] - 1
    below = curves < threshold
    below[:, 0] = False
    falls = below.any(dim=1)
    first = torch.where(falls, below.int().argmax(dim=1), last)
    at = curves.gather(1, first[:, None])[:, 0]
    before = curves.gather(1, (first - 1)[:, None])[:, 0]
    fraction = ((before - threshold) / (before - at).clamp(min=1e-6)).clamp(0, 1)
    return torch.where(falls, first - 1 + fraction, torch.full_like(at, last))


def locally_filtered(
    volume: Volume, resolution: Volume, voxel_size: float, *, n_filters: int = 16
) -> Volume:
    """Low-pass a map at every place to the resolution there.

    Parameters
    ----------
    volume : (n, n, n)
    resolution : (n, n, n)
        Angstrom.
    voxel_size : float
        Angstrom.
    n_filters : int
        Low-pass filters, evenly spaced in frequency, between which voxels are interpolated.

    Returns
    -------
    (n, n, n)
    """
    return result_of(locally_filtered_steps(volume, resolution, voxel_size, n_filters=n_filters))


def locally_filtered_steps(
    volume: Volume, resolution: Volume, voxel_size: float, *, n_filters: int = 16
) -> Generator[float, None, Volume]:
    """Do what ``locally_filtered`` does, with the fraction done before each filter."""
    yield 0.0
    n = int(volume.shape[-1])
    shell = (n * voxel_size / resolution.to(volume)).clamp(max=n // 2)
    low, high = float(shell.min()), float(shell.max())
    if high - low < 1e-3:
        return low_pass_at_shell(volume, high)
    place = (shell - low) / (high - low) * (n_filters - 1)
    out = torch.zeros_like(volume)
    for i in range(n_filters):
        yield i / n_filters
        weight = (1 - (place - i).abs()).clamp(min=0)
        if bool((weight > 0).any()):
            at = low + (high - low) * i / (n_filters - 1)
            out += weight * low_pass_at_shell(volume, at)
    return out


def _shell_sums(window: int, device: torch.device) -> Tensor:
    """Return the matrix that sums a half transform over shells, each coefficient as stored."""
    shells = shell_index_grid(window, 3, device).flatten()
    return (shells[:, None] == torch.arange(window // 2 + 1, device=device)).float()


def _spread(values: Tensor, centers: Tensor, n: int, step: int) -> Volume:
    """Interpolate what was measured at sampled voxels; elsewhere the nearest value holds."""
    coarse = -(-n // step)
    known = np.zeros((coarse,) * 3, dtype=bool)
    grid = np.zeros((coarse,) * 3, dtype=np.float32)
    z, y, x = (centers // step).numpy().T
    known[z, y, x], grid[z, y, x] = True, values.numpy()
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled = grid[tuple(nearest)]
    axis = np.arange(n) / step
    where = np.meshgrid(axis, axis, axis, indexing="ij")
    fine = ndimage.map_coordinates(filled, where, order=1, mode="nearest")
    return torch.from_numpy(np.asarray(fine, dtype=np.float32))
