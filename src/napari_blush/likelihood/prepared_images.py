"""From particle images on disk to whitened Fourier coefficients ready for comparison."""

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_blush.data_model.particles import Particles
from napari_blush.likelihood.half_model import HalfModel
from napari_blush.numerics.ctf import CtfEvaluator, CtfOptics
from napari_blush.numerics.fft import rfft2_centered
from napari_blush.numerics.masks import background_statistics, soft_disc
from napari_blush.numerics.packing import PackedCoordinates, pack, packed_shell_sum

MASK_EDGE_PX = 5.0  # width of the cosine edge of the circular mask, RELION's default


@dataclass(frozen=True, slots=True)
class PreparedImages:
    """A batch of images, divided by the standard deviation of their noise.

    Parameters
    ----------
    index : (b,) int64
        Rows of the particle table.
    masked, unmasked : (b, k) complex64
        ``X / sigma`` of the image inside the circular mask (compared) and of the whole image
        (back-projected), both moved by ``base_shift_px``.
    ctf : (b, k) float32
        ``scale * CTF / sigma``.
    sigma2 : (b, shells) float32
        Noise variance by shell, to undo the whitening of residuals.
    power : (b, shells) float32
        ``sum |X|^2`` of the masked image by shell, over all shells, not whitened.
    base_shift_px : (b, 2) float32
        Whole-pixel translation applied before masking: the rounded old origin.
    """

    index: Tensor
    masked: Tensor
    unmasked: Tensor
    ctf: Tensor
    sigma2: Tensor
    power: Tensor
    base_shift_px: Tensor

    def __len__(self) -> int:
        return int(self.index.shape[0])

    def rows(self, rows: Tensor) -> "PreparedImages":
        """Return a part of the batch."""
        return PreparedImages(
            self.index[rows.to(self.index.device)],
            self.masked[rows],
            self.unmasked[rows],
            self.ctf[rows],
            self.sigma2[rows],
            self.power[rows],
            self.base_shift_px[rows],
        )


@dataclass(frozen=True, slots=True)
class ImagePreparation:
    """How images are treated before they are compared.

    Parameters
    ----------
    mask_radius_px : float
        Radius of the circular mask (half the particle diameter).
    zero_mask : bool
        Fill outside the mask with the mean of the background; else with noise of the model.
    normalize_background : bool
        Subtract the mean and divide by the standard deviation of what is outside the mask first.
    whiten : bool
        Divide by sigma; off for alignment by cross-correlation.
    seed : int
        Seed of the noise fill; with the particle's row it determines the noise.
    """

    mask_radius_px: float
    zero_mask: bool = True
    normalize_background: bool = False
    whiten: bool = True
    seed: int = 0


class ImagePreparer:
    """Reads, shifts, masks and transforms batches of particles.

    Parameters
    ----------
    particles : Particles
    coordinates : PackedCoordinates
        Coefficients up to the Nyquist shell; batches use a prefix of them.
    device : torch.device
    preparation : ImagePreparation
    """

    def __init__(
        self,
        particles: Particles,
        coordinates: PackedCoordinates,
        device: torch.device,
        preparation: ImagePreparation,
    ) -> None:
        self.particles = particles
        self.coordinates = coordinates
        self.device = device
        self.preparation = preparation
        self.box_size = coordinates.box_size
        self.pixel_size = particles.optics_groups[0].pixel_size
        self._evaluators = [
            CtfEvaluator(
                CtfOptics(
                    voltage_kv=group.voltage_kv,
                    spherical_aberration_mm=group.spherical_aberration_mm,
                    amplitude_contrast=group.amplitude_contrast,
                    pixel_size=group.pixel_size,
                    box_size=group.box_size,
                    beam_tilt_mrad=group.beam_tilt_mrad,
                    odd_zernike=group.odd_zernike,
                    even_zernike=group.even_zernike,
                    magnification_matrix=group.magnification_matrix,
                ),
                coordinates,
            )
            for group in particles.optics_groups
        ]
        self._mask = soft_disc(self.box_size, preparation.mask_radius_px, MASK_EDGE_PX).to(device)

    def slice_matrix(self, group: int) -> Tensor | None:
        """Return the (3, 3) map of slice coordinates of an optics group, None for the identity."""
        matrix = self._evaluators[group].slice_matrix
        if matrix is None:
            return None
        full = torch.eye(3, dtype=torch.float32)
        full[:2, :2] = torch.as_tensor(matrix, dtype=torch.float32)
        return full

    def prepare(
        self, index: Tensor, shifts_px: Tensor, norm: Tensor, model: HalfModel, count: int
    ) -> PreparedImages:
        """Return the batch ``index`` with ``count`` coefficients each.

        Parameters
        ----------
        index : (b,) int64
            Rows of the particle table, CPU.
        shifts_px : (b, 2)
            Old origins; rounded to whole pixels here.
        norm : (b,)
            Old norm corrections.
        model : HalfModel
        count : int
            Length of the prefix of packed coefficients.
        """
        images = self.particles.images.read(index).to(self.device)
        if self.preparation.normalize_background:
            mean, std = background_statistics(images, self.preparation.mask_radius_px)
            images = (images - mean[:, None, None]) / std[:, None, None]
        factor = (model.average_norm / norm).to(device=self.device, dtype=torch.float32)
        base = torch.round(shifts_px).to(device=self.device, dtype=torch.float32)
        images = roll_images(images * factor[:, None, None], base)
        groups = self.particles.optics_group_index[index].to(self.device)
        sigma2 = model.sigma2_noise.to(self.device)[groups]
        masked = self._masked(images, index, sigma2)
        phase_undone = self._antisymmetric_phase(index)
        both = rfft2_centered(torch.cat([masked, images])) / self.box_size
        packed = pack(both, self.coordinates)
        masked_f, unmasked_f = packed[: len(index)], packed[len(index) :]
        shells = self.box_size // 2 + 1
        power = packed_shell_sum(_squared(masked_f), self.coordinates.shell, shells)
        ctf = self._ctf(index, count)
        group_scale = model.group_scale.to(self.device)
        ctf = ctf * group_scale[self.particles.group_index[index].to(self.device), None]
        masked_f, unmasked_f = masked_f[:, :count], unmasked_f[:, :count]
        if phase_undone is not None:
            masked_f = masked_f * phase_undone[:, :count]
            unmasked_f = unmasked_f * phase_undone[:, :count]
        if self.preparation.whiten:
            inverse = torch.rsqrt(sigma2)[:, self.coordinates.shell[:count]]
            masked_f, unmasked_f, ctf = masked_f * inverse, unmasked_f * inverse, ctf * inverse
        return PreparedImages(index, masked_f, unmasked_f, ctf, sigma2, power, base)

    def _masked(self, images: Tensor, index: Tensor, sigma2: Tensor) -> Tensor:
        """Return the images with what is outside the circle replaced."""
        if self.preparation.zero_mask:
            mean, _ = background_statistics(images, self.preparation.mask_radius_px)
            fill = mean[:, None, None]
        else:
            fill = self._noise_like(images, index, sigma2)
        return images * self._mask + fill * (1 - self._mask)

    def _noise_like(self, images: Tensor, index: Tensor, sigma2: Tensor) -> Tensor:
        """Return coloured noise of the model's spectrum, the same for a particle every time."""
        noise = torch.empty(images.shape, dtype=torch.float32)
        for row, particle in enumerate(index.tolist()):
            generator = torch.Generator().manual_seed(self.preparation.seed * 1_000_003 + particle)
            noise[row] = torch.randn(images.shape[1:], generator=generator)
        transform = torch.fft.rfft2(noise.to(self.device))
        k = torch.fft.fftfreq(self.box_size, 1 / self.box_size, device=self.device)
        kx = torch.arange(self.box_size // 2 + 1, device=self.device)
        shell = torch.round(torch.hypot(k[:, None], kx[None, :].to(k))).long()
        amplitude = torch.sqrt(2 * sigma2)[:, shell.clamp(max=self.box_size // 2)]
        filled: Tensor = torch.fft.irfft2(transform * amplitude, s=images.shape[1:])
        return filled

    def _by_group(self, index: Tensor) -> list[tuple[int, Tensor]]:
        """Return (optics group, rows of the batch that belong to it)."""
        groups = self.particles.optics_group_index[index]
        return [(int(g), torch.nonzero(groups == g)[:, 0]) for g in torch.unique(groups)]

    def _ctf(self, index: Tensor, count: int) -> Tensor:
        """Return the CTF of each image, ``(b, count)`` float32."""
        particles = self.particles
        ctf = torch.empty(len(index), count, dtype=torch.float32, device=self.device)
        for group, rows in self._by_group(index):
            chosen = index[rows]
            ctf[rows.to(self.device)] = self._evaluators[group].ctf(
                self._on_device(particles.defocus[chosen]),
                self._on_device(particles.phase_shift_deg[chosen]),
                self._on_device(particles.ctf_b_factor[chosen]),
                self._on_device(particles.ctf_scale[chosen]),
                count,
            )
        return ctf

    def _on_device(self, values: Tensor) -> Tensor:
        """Return values where they are computed with, in single precision if there is no other."""
        single = self.device.type == "mps"
        return (values.float() if single else values).to(self.device)

    def _antisymmetric_phase(self, index: Tensor) -> Tensor | None:
        """Return the factors that undo beam tilt and odd aberrations, or None."""
        total = len(self.coordinates.shell)
        phases = {
            group: self._evaluators[group].antisymmetric_phase(total)
            for group, _ in self._by_group(index)
        }
        if all(phase is None for phase in phases.values()):
            return None
        factor = torch.ones(len(index), total, dtype=torch.complex64, device=self.device)
        for group, rows in self._by_group(index):
            phase = phases[group]
            if phase is not None:
                factor[rows.to(self.device)] = phase.to(self.device)
        return factor


def roll_images(images: Tensor, shift_px: Tensor) -> Tensor:
    """Move each image by whole pixels, wrapping round.

    Parameters
    ----------
    images : (b, n, n)
    shift_px : (b, 2)
        (x, y), whole numbers.
    """
    if not bool(shift_px.any()):
        return images
    b, n, _ = images.shape
    steps = torch.arange(n, device=images.device)
    rows = (steps[None] - shift_px[:, 1:].long()) % n
    columns = (steps[None] - shift_px[:, :1].long()) % n
    first = torch.arange(b, device=images.device)[:, None, None]
    return images[first, rows[:, :, None], columns[:, None, :]]


def _squared(values: Tensor) -> Tensor:
    parts = torch.view_as_real(values)
    return (parts * parts).sum(-1)
