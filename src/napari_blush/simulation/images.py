"""Particle images from a density: projected, shifted, CTF-modulated, with noise on top.

Images are made when they are read, and image ``i`` is the same whatever is read with it, so one
source serves small tests in memory and data sets that only fit on a disk. Noise has standard
deviation 1 and mean 0 per pixel; the density is what carries the scale.

Signal-to-noise ratio is, here and in all that follows from it, the variance of the CTF-modulated
signal over the whole box, averaged over images, by the variance of the noise, which is 1.
"""

from dataclasses import dataclass
from math import asin, sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import ImageStack, Indices, RfftStack, Volume
from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.particles import ImagesInMemory, ImageSource, Particles
from napari_blush.data_model.poses import Poses
from napari_blush.errors import SettingsError
from napari_blush.numerics.ctf import CtfEvaluator, CtfOptics
from napari_blush.numerics.fft import half_spectrum_multiplicity, irfft2_centered
from napari_blush.numerics.packing import packed_coordinates, shift_phases, unpack
from napari_blush.numerics.slice_extraction import CentralSlices
from napari_blush.simulation.exposure import Exposure
from napari_blush.simulation.noise import NoiseSpectrum, draw_noise, noise_power, white_spectrum

_IMAGES_AT_A_TIME = 128
_VARIANCE_SAMPLE = 1000
_MOST_PADDED_VALUES = 2**28
"""Largest padded transform (complex64 values, 2 GB) before a coarser padding is taken."""


class ProjectedImages:
    """Noise-free images of a density; an ``ImageSource``.

    The transform of image ``i`` is ``CTF(k) exp(i phi(k)) exp(2 pi i k.s / n) V(R M (kx, ky, 0))``
    for ``|k| <= n / 2``, with the sign of ``phi`` (beam tilt, odd Zernikes) and ``M`` (anisotropic
    magnification) such that refinement undoes them. Delocalized signal wraps round the box.

    Parameters
    ----------
    volume : (n, n, n) float32
        Density; its voxels are those of the images.
    poses : Poses
    exposure : Exposure
        One row for each pose; optics groups of this box.
    padding : int, optional
        Of the Fourier interpolation. By default 4, a quarter of the error of a refinement at
        its usual 2, or less where the padded transform would take more than 2 GB.

    Raises
    ------
    SettingsError
        When box sizes or numbers of images do not fit.

    Notes
    -----
    Memory: ``4 (padding n)^3`` bytes for the padded transform; a batch of 128 images while reading.
    """

    def __init__(
        self, volume: Volume, poses: Poses, exposure: Exposure, *, padding: int | None = None
    ) -> None:
        self.box_size = int(volume.shape[-1])
        group = exposure.optics_groups[0]
        if group.box_size != self.box_size or len(poses) != len(exposure):
            raise SettingsError(
                f"There is a density of {self.box_size} voxels, optics for {group.box_size} px, "
                f"{len(poses)} poses and {len(exposure)} exposures; wanted equal boxes and one "
                "exposure for each pose."
            )
        self.poses = poses
        self.exposure = exposure
        r_max = self.box_size // 2
        self._coordinates = packed_coordinates(self.box_size, r_max, volume.device)
        self._slices = CentralSlices(
            volume, r_max=r_max, padding=padding or _affordable_padding(self.box_size)
        )
        self._total = float(volume.double().sum())
        self._ctf = [
            CtfEvaluator(_ctf_optics(each), self._coordinates) for each in exposure.optics_groups
        ]

    def __len__(self) -> int:
        return len(self.poses)

    def read(self, indices: Indices) -> ImageStack:
        """Return the images at ``indices``, ``(b, n, n)`` float32 on the CPU."""
        images = torch.empty(len(indices), self.box_size, self.box_size)
        for first in range(0, len(indices), _IMAGES_AT_A_TIME):
            part = slice(first, first + _IMAGES_AT_A_TIME)
            images[part] = irfft2_centered(self._transforms(indices[part]), self.box_size).cpu()
        return images

    def signal_variance(self) -> float:
        """Return the variance of the pixels of an image, averaged over (at most 1,000) images."""
        n = len(self)
        chosen = torch.linspace(0, n - 1, min(n, _VARIANCE_SAMPLE)).round().long()
        multiplicity = half_spectrum_multiplicity(self.box_size).double()
        power = 0.0
        for first in range(0, len(chosen), _IMAGES_AT_A_TIME):
            transform = self._transforms(chosen[first : first + _IMAGES_AT_A_TIME]).cpu()
            transform[:, 0, 0] = 0
            power += float((transform.abs().double() ** 2 * multiplicity).sum())
        return power / len(chosen) / self.box_size**4

    def _transforms(self, indices: Indices) -> RfftStack:
        shape = (len(indices), self.box_size, self.box_size // 2 + 1)
        transforms = torch.empty(shape, dtype=torch.complex64, device=self._coordinates.kx.device)
        group_of = self.exposure.optics_group_index[indices]
        for group in sorted(set(group_of.tolist())):
            rows = torch.nonzero(group_of == group).flatten()
            transforms[rows] = self._transforms_of_group(group, indices[rows])
        return transforms

    def _transforms_of_group(self, group: int, indices: Indices) -> RfftStack:
        coordinates, ctf, exposure = self._coordinates, self._ctf[group], self.exposure
        count, device = len(coordinates), coordinates.kx.device
        optics = exposure.optics_groups[group]
        rotations = ctf.magnify(self.poses.rotations[indices]).float().to(device)
        packed = self._slices.extract(rotations, coordinates, count)
        packed = packed * ctf.ctf(
            exposure.defocus[indices],
            exposure.phase_shift_deg[indices],
            exposure.ctf_b_factor[indices],
            exposure.ctf_scale[indices],
            count,
        )
        # A pose's shift centers the image; the particle therefore lies at minus the shift.
        shifts = -self.poses.shifts_angstrom[indices] / optics.pixel_size
        packed = packed * shift_phases(shifts.float().to(device), coordinates, count)
        undo = ctf.antisymmetric_phase(count)
        if undo is not None:
            packed = packed * undo.conj()
        transforms = unpack(packed, coordinates)
        transforms[:, 0, 0] = (self._total * self._ctf_at_origin(optics, indices)).to(transforms)
        return transforms

    def _ctf_at_origin(self, optics: OpticsGroup, indices: Indices) -> Float[Tensor, " b"]:
        phase = asin(optics.amplitude_contrast)
        shifted = torch.deg2rad(self.exposure.phase_shift_deg[indices])
        return torch.sin(phase + shifted) * self.exposure.ctf_scale[indices]


@dataclass(frozen=True, slots=True)
class NoisyImages:
    """Noise of standard deviation 1 added to a scaled signal; an ``ImageSource``.

    Parameters
    ----------
    signal : ImageSource
    scale : float
        Factor of the signal.
    power : (n, n // 2 + 1) float64
        Of the noise, from ``noise.noise_power``.
    seed : int
    """

    signal: ImageSource
    scale: float
    power: Tensor
    seed: int

    def __len__(self) -> int:
        return len(self.signal)

    def read(self, indices: Indices) -> ImageStack:
        """Return the images at ``indices``, ``(b, n, n)`` float32."""
        noise = draw_noise(self.seed, indices.tolist(), self.power)
        return noise + self.scale * self.signal.read(indices)


def scale_for_snr(signal: ProjectedImages, snr: float) -> float:
    """Return the factor that gives the signal a variance of ``snr``, noise having 1.

    Raises
    ------
    SettingsError
        When ``snr`` is not above zero or the density is empty.
    """
    variance = signal.signal_variance()
    if not (snr > 0 and variance > 0):
        raise SettingsError(
            f"The signal-to-noise ratio asked for is {snr} and the signal's variance {variance}; "
            "wanted both above zero; check the density."
        )
    return sqrt(snr / variance)


def simulate_particles(
    volume: Volume,
    poses: Poses,
    exposure: Exposure,
    *,
    spectrum: NoiseSpectrum | None = white_spectrum,
    seed: int = 0,
    padding: int | None = None,
    in_memory: bool = True,
) -> Particles:
    """Make particles of a density that is on the grey scale of the images.

    Parameters
    ----------
    volume : (n, n, n) float32
        Density in units of noise standard deviations per voxel of depth; ``scale_for_snr`` gives
        the factor that brings a density of any scale there.
    poses : Poses
    exposure : Exposure
    spectrum : callable or None
        Of the noise (``noise.white_spectrum``, ``noise.coloured_spectrum`` or any other); None
        for images without noise.
    seed : int
        Of the noise.
    padding : int, optional
        See ``ProjectedImages``.
    in_memory : bool
        Whether images are made now and kept, or each time that they are read.

    Returns
    -------
    Particles
        With the true poses, and without random halves.
    """
    images: ImageSource = ProjectedImages(volume, poses, exposure, padding=padding)
    if spectrum is not None:
        group = exposure.optics_groups[0]
        power = noise_power(spectrum, group.box_size, group.pixel_size)
        images = NoisyImages(images, 1.0, power, seed)
    if in_memory:
        images = ImagesInMemory(images.read(torch.arange(len(images))))
    return as_particles(images, poses, exposure)


def as_particles(images: ImageSource, poses: Poses, exposure: Exposure) -> Particles:
    """Join images with what is true of them; halves are left to be drawn."""
    n = len(images)
    return Particles(
        images=images,
        optics_groups=exposure.optics_groups,
        optics_group_index=exposure.optics_group_index,
        defocus=exposure.defocus,
        phase_shift_deg=exposure.phase_shift_deg,
        ctf_b_factor=exposure.ctf_b_factor,
        ctf_scale=exposure.ctf_scale,
        poses=poses,
        has_poses=True,
        random_subset=torch.zeros(n, dtype=torch.int64),
        group_index=exposure.group_index,
        group_names=exposure.group_names,
        norm_correction=torch.ones(n, dtype=torch.float64),
    )


def _ctf_optics(group: OpticsGroup) -> CtfOptics:
    return CtfOptics(
        voltage_kv=group.voltage_kv,
        spherical_aberration_mm=group.spherical_aberration_mm,
        amplitude_contrast=group.amplitude_contrast,
        pixel_size=group.pixel_size,
        box_size=group.box_size,
        beam_tilt_mrad=group.beam_tilt_mrad,
        odd_zernike=group.odd_zernike,
        even_zernike=group.even_zernike,
        magnification_matrix=group.magnification_matrix,
    )


def _affordable_padding(box_size: int) -> int:
    padding = 4
    while padding > 2 and (padding * box_size) ** 3 // 2 > _MOST_PADDED_VALUES:
        padding -= 1
    return padding
