"""The independent Fourier coefficients of an image as one flat row, low resolution first.

A real image's half transform holds each coefficient of the ``kx = 0`` column twice and, for even
boxes, Nyquist coefficients that are their own mates. Packing keeps one coefficient of every
conjugate pair, ordered so that "all up to shell r" is a prefix: a pass at low resolution slices
the row instead of masking it. Neighbours in the row are neighbours in Fourier space, which is what
keeps the slice kernels inside the processor's caches.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from napari_blush.conventions import Indices, PackedStack, RfftStack
from napari_blush.errors import SettingsError


@dataclass(frozen=True, eq=False)
class PackedCoordinates:
    """Where each packed coefficient lies; make it with :func:`packed_coordinates`.

    Parameters
    ----------
    box_size : int
        Edge ``n`` of the image in pixels, even.
    r_max : int
        Largest ``|k|`` packed, in Fourier pixels, at most ``n // 2``.
    kx, ky : Indices
        Frequencies in Fourier pixels, ``(K,)`` int64; ``kx >= 0``.
    shell : Indices
        ``round(|k|)``.
    index : Indices
        Position in the flattened ``(n, n // 2 + 1)`` half transform.

    Notes
    -----
    One coefficient per conjugate pair: ``kx > 0`` with any ``ky``, or ``kx == 0`` with ``ky > 0``;
    neither DC nor the Nyquist row ``ky = -n/2`` and column ``kx = n/2``, which are their own mates.
    Ordered by ``(ceil(|k|), polar angle)``.
    """

    box_size: int
    r_max: int
    kx: Indices
    ky: Indices
    shell: Indices
    index: Indices

    def __len__(self) -> int:
        """Return the number of packed coefficients."""
        return int(self.kx.shape[0])

    @cached_property
    def frequencies(self) -> Float[Tensor, "2 k"]:
        """``(kx, ky)`` as contiguous float32, in Fourier pixels."""
        return torch.stack([self.kx, self.ky]).to(torch.float32)

    @cached_property
    def ring_ends(self) -> tuple[int, ...]:
        """``ring_ends[r]`` coefficients have ``|k| <= r``, for ``r`` from 0 to ``r_max``."""
        squared = (self.kx**2 + self.ky**2).cpu()
        radii = torch.arange(self.r_max + 1) ** 2
        # The order is by ceil(|k|), not by |k|, so this counts; it must not search.
        counts = torch.bincount(torch.searchsorted(radii, squared), minlength=self.r_max + 1)
        return tuple(int(end) for end in counts.cumsum(0))

    def count(self, r: int) -> int:
        """Return how many coefficients have ``|k| <= r``: the length of their prefix.

        Parameters
        ----------
        r : int
            Radius in Fourier pixels; beyond ``r_max`` it counts as ``r_max``.
        """
        return 0 if r < 1 else self.ring_ends[min(r, self.r_max)]

    def to(self, device: torch.device | str) -> "PackedCoordinates":
        """Return these coordinates on ``device``."""
        target = torch.device(device)
        return self if self.kx.device == target else _on_device(self.box_size, self.r_max, target)


def packed_coordinates(
    box_size: int, r_max: int, device: torch.device | str = "cpu"
) -> PackedCoordinates:
    """Lay out the packed coefficients of images of one box; repeated calls return the same object.

    Parameters
    ----------
    box_size : int
        Edge in pixels, even.
    r_max : int
        Largest ``|k|`` in Fourier pixels, from 1 to ``box_size // 2``.
    device : torch.device or str
        Where the index tensors live.

    Raises
    ------
    SettingsError
        When the box is odd or ``r_max`` is outside the transform.
    """
    if box_size < 4 or box_size % 2:
        raise SettingsError(
            f"Box of {box_size} px given; wanted an even number of at least 4; crop or pad the box."
        )
    if not 1 <= r_max <= box_size // 2:
        raise SettingsError(
            f"r_max = {r_max} given for a box of {box_size} px; wanted 1 to {box_size // 2}; "
            "lower the resolution limit."
        )
    return _on_device(box_size, r_max, torch.device(device))


def pack(
    transform: RfftStack | Float[Tensor, "b n half"], coordinates: PackedCoordinates
) -> PackedStack | Float[Tensor, "b k"]:
    """Gather the packed coefficients of half transforms (or of real half grids).

    Parameters
    ----------
    transform : RfftStack or Float[Tensor, "b n half"]
        Half transforms, ``(b, n, n // 2 + 1)``, DC at ``[0, 0]``.
    coordinates : PackedCoordinates
        Of the same box.

    Raises
    ------
    SettingsError
        When the transform's box is not that of the coordinates.
    """
    n = coordinates.box_size
    if tuple(transform.shape[-2:]) != (n, n // 2 + 1):
        raise SettingsError(
            f"Half transforms of shape {tuple(transform.shape[-2:])} given; wanted "
            f"{(n, n // 2 + 1)}; use coordinates of the images' own box."
        )
    return transform.flatten(1).index_select(1, coordinates.index)


def unpack(packed: PackedStack, coordinates: PackedCoordinates) -> RfftStack:
    """Lay packed coefficients out as half transforms, the inverse of :func:`pack`.

    Parameters
    ----------
    packed : PackedStack
        ``(b, k)``; ``k`` may be any prefix of the coordinates.
    coordinates : PackedCoordinates
        The layout.

    Returns
    -------
    RfftStack
        ``(b, n, n // 2 + 1)``, zero where nothing is packed; the ``kx = 0`` column is Hermitian,
        so that the inverse transform is real.
    """
    n, count = coordinates.box_size, packed.shape[1]
    flat = packed.new_zeros(packed.shape[0], n * (n // 2 + 1))
    flat[:, coordinates.index[:count]] = packed
    transform = flat.reshape(-1, n, n // 2 + 1)
    transform[:, n // 2 + 1 :, 0] = transform[:, 1 : n // 2, 0].flip(-1).conj()
    return transform


def packed_shell_sum(
    values: Float[Tensor, "*batch k"], shell: Indices, n_shells: int
) -> Float[Tensor, "*batch n_shells"]:
    """Sum packed values over shells, each conjugate pair counted once.

    Parameters
    ----------
    values : Float[Tensor, "*batch k"]
        One value per packed coefficient.
    shell : Indices
        ``coordinates.shell[:k]``.
    n_shells : int
        Length of the result; coefficients of shells beyond it are left out.

    Notes
    -----
    Off the CPU, where scattering is not reproducible, a product with the shells' indicator matrix.
    """
    if values.device.type != "cpu":
        indicator = shell[:, None] == torch.arange(n_shells, device=shell.device)
        return values @ indicator.to(values.dtype)
    sums = values.new_zeros(*values.shape[:-1], n_shells + 1)
    return sums.index_add_(-1, shell.clamp(max=n_shells), values)[..., :n_shells]


def shift_phases(
    shifts_px: Float[Tensor, "t 2"], coordinates: PackedCoordinates, count: int
) -> Complex[Tensor, "t k"]:
    """Phase factors that translate images, ``exp(-2 pi i (kx sx + ky sy) / n)``.

    Parameters
    ----------
    shifts_px : Float[Tensor, "t 2"]
        (x, y) translations to apply, in pixels.
    coordinates : PackedCoordinates
        The layout.
    count : int
        Length of the prefix wanted.

    Returns
    -------
    Complex[Tensor, "t k"]
        complex64, ``(t, count)``.

    Notes
    -----
    The factor is separable: the sines are taken once per row and column of the transform, in
    float64 where the device has it, and only multiplied per coefficient.
    """
    n = coordinates.box_size
    wide = torch.float32 if shifts_px.device.type == "mps" else torch.float64
    frequencies = torch.arange(-(n // 2), n // 2 + 1, device=shifts_px.device, dtype=wide)
    angles = (-2.0 * torch.pi / n) * shifts_px.to(wide)[..., None] * frequencies
    tables = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)
    along_x = tables[:, 0].index_select(1, coordinates.kx[:count] + n // 2)
    return along_x.mul_(tables[:, 1].index_select(1, coordinates.ky[:count] + n // 2))


@lru_cache(maxsize=64)
def _on_device(box_size: int, r_max: int, device: torch.device) -> PackedCoordinates:
    if device.type != "cpu":
        host = _on_device(box_size, r_max, torch.device("cpu"))
        parts = [part.to(device) for part in (host.kx, host.ky, host.shell, host.index)]
        return PackedCoordinates(box_size, r_max, *parts)
    half = box_size // 2
    ky, kx = torch.meshgrid(torch.arange(-half + 1, half), torch.arange(half), indexing="ij")
    squared = kx**2 + ky**2
    keep = ((kx > 0) | (ky > 0)) & (squared <= r_max**2)
    kx, ky = kx[keep], ky[keep]
    radius = torch.sqrt((kx**2 + ky**2).double())
    # Integer radii are exact in float64, so ceil never overshoots a whole ring.
    angle = torch.atan2(ky.double(), kx.double())
    order = torch.argsort(angle, stable=True)
    order = order[torch.argsort(radius[order].ceil(), stable=True)]
    kx, ky, radius = kx[order], ky[order], radius[order]
    return PackedCoordinates(
        box_size=box_size,
        r_max=r_max,
        kx=kx,
        ky=ky,
        shell=radius.round().long(),
        index=(ky % box_size) * (half + 1) + kx,
    )
