"""Back-projection: the adjoint of slice extraction, summed over many images.

The numerator (data) and the denominator (weight) of a reconstruction, on a grid ``padding`` times
finer than the map's transform. How they become a map is the business of the M-step.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import PackedStack, RotationMatrices
from napari_blush.errors import RefinementError, SettingsError
from napari_blush.numerics.packing import PackedCoordinates
from napari_blush.numerics.slice_backends import slice_kernels
from napari_blush.numerics.slice_extraction import (
    check_slice_geometry,
    plain_rotations,
    zeros_in_large_pages,
)


class SliceAccumulator:
    """Sums of inserted slices and of their weights.

    Parameters
    ----------
    box_size : int
        Edge ``n`` of the images, even.
    r_max : int
        Largest ``|k|`` that will be inserted, in Fourier pixels, at most ``n // 2``.
    padding : int
        Voxels of the sums per Fourier pixel.
    device : torch.device or str
        Where the sums live.

    Attributes
    ----------
    data : Tensor
        complex64, ``[z, y, x]`` of shape ``(D, D, c + 1)``, ``c = padding * r_max + 1``,
        ``D = 2 c + 1``; origin at ``(c, c, 0)``; only ``x >= 0`` is stored.
    weight : Tensor
        float32, same shape.
    is_hermitian : bool
        Whether :meth:`enforce_hermitian` was called; nothing can be inserted after it.

    Notes
    -----
    Memory: ``12 D^2 (c + 1)`` bytes, 820 MB for a box of 256 padded twofold. On the CPU two
    identical sequences of calls give identical bits, whatever the number of threads.
    """

    def __init__(
        self,
        box_size: int,
        *,
        r_max: int,
        padding: int = 2,
        device: torch.device | str = "cpu",
    ) -> None:
        check_slice_geometry(box_size, r_max, padding)
        self.box_size = box_size
        self.r_max = r_max
        self.padding = padding
        center = padding * r_max + 1
        shape = (2 * center + 1, 2 * center + 1, center + 1)
        self.data = zeros_in_large_pages(shape, torch.complex64, torch.device(device))
        self.weight = zeros_in_large_pages(shape, torch.float32, torch.device(device))
        self.is_hermitian = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(D, D, c + 1)``."""
        depth, height, width = self.weight.shape
        return depth, height, width

    @property
    def device(self) -> torch.device:
        """Where the sums live."""
        return self.weight.device

    def insert(
        self,
        rotations: RotationMatrices,
        values: PackedStack,
        weights: Float[Tensor, "b k"],
        coordinates: PackedCoordinates,
    ) -> None:
        """Add slices and their weights at their poses.

        Each coefficient is spread over the eight voxels around ``padding * R @ (kx, ky, 0)`` with
        the shares of trilinear interpolation: the adjoint of ``CentralSlices.extract`` without its
        gridding correction.

        Parameters
        ----------
        rotations : RotationMatrices
            ``(m, 3, 3)``, any float type and device.
        values : PackedStack
            ``(m, k)`` coefficients, already multiplied by what weights them; ``k`` may be any
            prefix of the coordinates.
        weights : Float[Tensor, "m k"]
            What is to be added to the denominator.
        coordinates : PackedCoordinates
            Of images of this box.

        Raises
        ------
        SettingsError
            When the coordinates are of another box or the stacks do not match.
        RefinementError
            When the sums are closed by :meth:`enforce_hermitian`.
        """
        if self.is_hermitian:
            raise RefinementError(
                "Slices given to sums whose Hermitian plane is completed; wanted open sums; "
                "insert all images before enforce_hermitian."
            )
        poses = plain_rotations(rotations, self.device)
        if coordinates.box_size != self.box_size or len(poses) != len(values):
            raise SettingsError(
                f"{len(values)} slices of a box of {coordinates.box_size} px given for "
                f"{len(poses)} poses and sums of box {self.box_size}; wanted as many slices as "
                "poses, of one box."
            )
        slice_kernels(self.device).insert(
            (self.data, self.weight),
            poses,
            coordinates.to(self.device),
            self.padding,
            values.detach().to(self.device, torch.complex64).resolve_conj().contiguous(),
            weights.detach().to(self.device, torch.float32).contiguous(),
        )

    def enforce_hermitian(self) -> None:
        """Complete the plane ``x = 0``: ``F(0, y, z) += conj F(0, -y, -z)``, weights likewise.

        Of each conjugate pair one coefficient was inserted. The plane is the only place where both
        would have landed in what is stored. Call it once, after the last insertion and addition;
        calling it again does nothing.
        """
        if self.is_hermitian:
            return
        plane, weight = self.data[:, :, 0], self.weight[:, :, 0]
        plane += plane.flip(0, 1).conj()
        weight += weight.flip(0, 1)
        self.is_hermitian = True

    def symmetrize(self, operators: Float[Tensor, "g 3 3"]) -> None:
        """Sum the copies rotated by every operator of a point group, data and weight.

        Parameters
        ----------
        operators : Float[Tensor, "g 3 3"]
            The whole group, identity included.

        Raises
        ------
        RefinementError
            When :meth:`enforce_hermitian` has not been called: copies rotated across the plane
            ``x = 0`` would come out wrong.

        Notes
        -----
        Neither sum is divided by the order of the group: a group of ``g`` makes ``g`` images of
        each. Voxels with ``|p| >= c``, beyond all coefficients, become zero.
        """
        if not self.is_hermitian:
            raise RefinementError(
                "Symmetry given for sums whose Hermitian plane is incomplete; wanted complete "
                "sums; call enforce_hermitian first."
            )
        if len(operators) == 1:
            return
        data, weight = slice_kernels(self.device).symmetrize(
            (self.data, self.weight), operators.to(torch.float64).contiguous()
        )
        self.data.copy_(data)
        self.weight.copy_(weight)

    def add(self, other: "SliceAccumulator") -> None:
        """Add the sums of another part of the same images.

        Raises
        ------
        SettingsError
            When the two differ in size, or one is Hermitian and the other is not.
        """
        mine = (self.box_size, self.r_max, self.padding, self.is_hermitian)
        others = (other.box_size, other.r_max, other.padding, other.is_hermitian)
        if mine != others:
            raise SettingsError(
                f"Sums of (box, r_max, padding, Hermitian) = {others} given to add to sums of "
                f"{mine}; wanted equal ones; make both with the same settings."
            )
        self.data += other.data.to(self.device)
        self.weight += other.weight.to(self.device)

    def clone(self) -> "SliceAccumulator":
        """Return an independent copy."""
        copy = SliceAccumulator.__new__(SliceAccumulator)
        copy.__dict__.update(self.__dict__)
        copy.data, copy.weight = self.data.clone(), self.weight.clone()
        return copy

    @property
    def state(self) -> dict[str, Tensor]:
        """The sums themselves, ``data`` and ``weight``: views to reduce over processes or save."""
        return {"data": self.data, "weight": self.weight}
