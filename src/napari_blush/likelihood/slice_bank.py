"""Central slices of the reference on an orientation grid, kept where they will be used again."""

import torch
from torch import Tensor

from napari_blush.numerics.orientation_grid import OrientationGrid
from napari_blush.numerics.packing import PackedCoordinates
from napari_blush.numerics.slice_extraction import CentralSlices

EXTRACT_BLOCK = 4096  # slices extracted at a time into a table


class SliceBank:
    """Slices of one grid up to one Fourier radius, as a table or extracted when asked for.

    A table is worth its memory when particles share orientations (global passes); in a local
    search every particle has its own and nothing is kept.

    Parameters
    ----------
    projector : CentralSlices
        Slices in the units of ``HalfModel`` (``FT(volume) / n``).
    grid : OrientationGrid
    coordinates : PackedCoordinates
    r_max : int
        Fourier radius; the slices have ``coordinates.count(r_max)`` coefficients.
    perturbation : (3, 3)
        See ``SearchPlan``.
    slice_matrix : (3, 3) or None
        Anisotropic magnification of the optics, applied to the slice coordinates.
    """

    def __init__(
        self,
        projector: CentralSlices,
        grid: OrientationGrid,
        coordinates: PackedCoordinates,
        *,
        r_max: int,
        perturbation: Tensor,
        slice_matrix: Tensor | None = None,
    ) -> None:
        self.projector = projector
        self.grid = grid
        self.coordinates = coordinates
        self.count = coordinates.count(r_max)
        self.perturbation = perturbation
        self.slice_matrix = slice_matrix
        self.covered = torch.empty(0, dtype=torch.int64, device=projector.device)
        self._memory = torch.empty(0, dtype=torch.complex64, device=projector.device)
        self._row_of_pixel: Tensor | None = None
        self._table: Tensor | None = None
        self._power: Tensor | None = None

    @property
    def bytes_per_slice(self) -> int:
        """Memory of one kept slice and its power."""
        return 12 * self.count

    def rotations(self, index: Tensor) -> Tensor:
        """Return the rotations of grid orientations, ``(m,)`` to ``(m, 3, 3)`` float32."""
        rotations = self.grid.rotations(index.cpu(), self.perturbation)
        return rotations.to(self.projector.device)

    def extract(self, index: Tensor, out: Tensor | None = None) -> Tensor:
        """Return slices ``(m, count)`` of orientations ``(m,)``, computed now.

        Without ``out`` they lie in memory that the next call uses again: touching fresh memory
        costs as much as the interpolation.
        """
        rotations = self.rotations(index)
        if self.slice_matrix is not None:
            rotations = rotations @ self.slice_matrix.to(rotations)
        if out is None:
            entries = len(index) * self.count
            if len(self._memory) < entries:
                self._memory = torch.empty(
                    entries, dtype=torch.complex64, device=self.projector.device
                )
            out = self._memory[:entries].view(len(index), self.count)
        return self.projector.extract(rotations, self.coordinates, self.count, out=out)

    def cover(self, pixels: Tensor, *, keep: bool) -> None:
        """Let ``tile`` run over all orientations of ``pixels``, ``(p,)`` int64.

        With ``keep`` their slices are extracted now and kept; without, each tile is extracted
        whenever it is asked for.
        """
        device = self.projector.device
        psi = torch.arange(self.grid.n_psi)
        index = (pixels[:, None].cpu() * self.grid.n_psi + psi).reshape(-1)
        self.covered = index.to(device)
        self._table = self._power = self._row_of_pixel = None
        if not keep:
            return
        rows = torch.full((self.grid.n_pixels,), -1, dtype=torch.int64)
        rows[pixels.cpu()] = torch.arange(len(pixels))
        self._row_of_pixel = rows.to(device)
        table = torch.empty(len(index), self.count, dtype=torch.complex64, device=device)
        for start in range(0, len(index), EXTRACT_BLOCK):
            part = slice(start, start + EXTRACT_BLOCK)
            self.extract(index[part], out=table[part])
        self._table = table

    @property
    def kept(self) -> bool:
        """Whether the slices are kept in a table."""
        return self._table is not None

    def tile(self, part: slice) -> tuple[Tensor, Tensor]:
        """Return covered slices ``(m, count)`` and their squared magnitudes."""
        if self._table is None:
            slices = self.extract(self.covered[part])
            return slices, squared_magnitude(slices)
        if self._power is None:
            self._power = squared_magnitude(self._table)
        return self._table[part], self._power[part]

    def lookup(self, index: Tensor) -> Tensor:
        """Return slices ``(..., count)`` of orientations ``(...)``, kept or extracted now.

        They are valid until the next call.
        """
        flat = index.reshape(-1)
        if self._table is None or self._row_of_pixel is None:
            slices = self.extract(flat)
        else:
            slices = torch.index_select(self._table, 0, self.rows(flat))
        return slices.reshape(*index.shape, self.count)

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows of the kept table that hold orientations ``(m,)``.

        An orientation that is not kept (padding of a candidate list) gets row 0.
        """
        if self._row_of_pixel is None:
            return index
        pixel = torch.div(index, self.grid.n_psi, rounding_mode="floor")
        row = self._row_of_pixel[pixel] * self.grid.n_psi + index % self.grid.n_psi
        return row.clamp(min=0)


def squared_magnitude(slices: Tensor) -> Tensor:
    """Return ``|slices|^2`` as float32."""
    return slices.real.square().addcmul_(slices.imag, slices.imag)
