"""Volumes whose structure, projections and symmetry are known in closed form.

A phantom is a sum of isotropic Gaussians. Its density on a grid, its projections along any
direction and its Fourier transform are all elementary formulas, so projectors, refinements and
symmetry code can be held to something that shares nothing with them.
"""

from dataclasses import dataclass
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import ImageStack, RotationMatrices, Volume
from napari_blush.errors import SettingsError
from napari_blush.numerics.point_group import symmetry_operators


@dataclass(frozen=True, slots=True)
class BlobPhantom:
    """A sum of isotropic Gaussians ``w exp(-|x - c|^2 / (2 s^2))``.

    Parameters
    ----------
    centers_px : (m, 3) float64
        (x, y, z) from the center of the box, in voxels.
    sigmas_px : (m,) float64
        Standard deviations in voxels. From 1 on, sampling aliases less than 1e-4 of the power.
    weights : (m,) float64
        Densities at the centers.

    Raises
    ------
    SettingsError
        When the shapes do not fit or a standard deviation is not above zero.
    """

    centers_px: Tensor
    sigmas_px: Tensor
    weights: Tensor

    def __post_init__(self) -> None:
        m = len(self.weights)
        if tuple(self.centers_px.shape) != (m, 3) or tuple(self.sigmas_px.shape) != (m,):
            raise SettingsError(
                f"A phantom was given centers {tuple(self.centers_px.shape)}, widths "
                f"{tuple(self.sigmas_px.shape)} and {m} weights; wanted (m, 3), (m,) and (m,)."
            )
        if bool((self.sigmas_px <= 0).any()):
            raise SettingsError("A phantom was given a width of zero or less; wanted all above 0.")

    def symmetrized(self, operators: RotationMatrices) -> "BlobPhantom":
        """Return the sum of the phantom's copies, rotated by each of ``operators (g, 3, 3)``."""
        g = len(operators)
        copies = torch.einsum("gij,mj->gmi", operators.double(), self.centers_px)
        return BlobPhantom(copies.reshape(-1, 3), self.sigmas_px.repeat(g), self.weights.repeat(g))

    def volume(self, box_size: int) -> Volume:
        """Sample the density on a grid, ``(n, n, n)`` float32, center at voxel ``n // 2``."""
        x, y, z = (self._profile(self.centers_px[:, i], box_size) for i in range(3))
        return torch.einsum("m,mz,my,mx->zyx", self.weights, z, y, x).float()

    def projections(
        self,
        rotations: RotationMatrices,
        box_size: int,
        shifts_px: Float[Tensor, "b 2"] | None = None,
    ) -> ImageStack:
        """Integrate along the viewing directions, exactly.

        Parameters
        ----------
        rotations : (b, 3, 3)
            Image frame to volume frame.
        box_size : int
            Pixels along an edge of the images.
        shifts_px : (b, 2), optional
            Translations that would *center* the images, in pixels: they show the particle at
            minus the shift.

        Returns
        -------
        (b, n, n) float32
            Line integrals in units of density times voxel.
        """
        # R takes image to volume coordinates, so a point of the volume lies at R^T c in the image.
        seen = torch.einsum("bji,mj->bmi", rotations.double(), self.centers_px)[..., :2]
        if shifts_px is not None:
            seen = seen - shifts_px.double()[:, None, :]
        x, y = (self._profile(seen[..., i], box_size) for i in range(2))
        line = self.weights * self.sigmas_px * (2 * pi) ** 0.5
        return torch.einsum("m,bmy,bmx->byx", line, y, x).float()

    def _profile(self, position: Tensor, box_size: int) -> Tensor:
        grid = torch.arange(box_size, dtype=torch.float64) - box_size // 2
        distance = (grid - position[..., None]) / self.sigmas_px[:, None]
        return torch.exp(-0.5 * distance**2)


def random_blobs(
    generator: torch.Generator,
    *,
    n_blobs: int = 24,
    radius_px: float = 10.0,
    sigma_px: tuple[float, float] = (1.2, 2.5),
    symmetry: str = "C1",
) -> BlobPhantom:
    """Draw a phantom: blobs strewn in a ball, lopsided on purpose, then symmetrized.

    Parameters
    ----------
    generator : torch.Generator
        Decides everything; the same state gives the same phantom.
    n_blobs : int
        Blobs of the asymmetric unit.
    radius_px : float
        Radius of the ball that holds the centers.
    sigma_px : (float, float)
        Range of the blobs' widths.
    symmetry : str
        Point group, in the orientation of ``numerics.point_group``.

    Returns
    -------
    BlobPhantom

    Notes
    -----
    Centers are uniform in the ball and then squeezed by 1, 0.8 and 0.6 along x, y and z; weights
    are uniform in 0.5 to 1.5. Without symmetry no rotation maps the phantom onto itself, and its
    mirror image differs from it.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    direction = torch.randn(n_blobs, 3, generator=generator, dtype=torch.float64)
    direction = direction / direction.norm(dim=1, keepdim=True)
    centers = direction * radius_px * uniform(n_blobs, 1) ** (1 / 3)
    centers = centers * torch.tensor([1.0, 0.8, 0.6], dtype=torch.float64)
    narrow, wide = sigma_px
    phantom = BlobPhantom(
        centers, narrow + (wide - narrow) * uniform(n_blobs), 0.5 + uniform(n_blobs)
    )
    return phantom.symmetrized(symmetry_operators(symmetry))
