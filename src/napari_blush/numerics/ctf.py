"""Contrast transfer function of a microscope, by RELION's definitions and signs.

``CTF(k) = -sin(gamma(k)) exp(-B |k|^2 / 4) scale`` with
``gamma = -pi lambda (U x'^2 + V y'^2) + (pi / 2) Cs lambda^3 |k|^4 - phase shift - asin(Q0)
+ even Zernikes``, where ``(x', y')`` is ``k`` turned by the astigmatism angle and ``k`` is the
spatial frequency in 1/angstrom after the magnification matrix. Underfocus is positive, and the
value at the origin is ``+Q0``. Beam tilt and odd Zernikes are not part of the CTF: they are undone
once on the images, by ``CtfEvaluator.antisymmetric_phase``.
"""

from dataclasses import dataclass
from math import asin, pi, sqrt

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from napari_blush.errors import SettingsError
from napari_blush.numerics.aberrations import (
    even_zernike_phase,
    odd_zernike_phase,
    with_beam_tilt,
)
from napari_blush.numerics.half_plane import FourierCoordinates
from napari_blush.numerics.wrapped_phase import Arithmetic, WrappedPhase

# Values evaluated at a time: on a CPU the float64 phases of a block stay in the cache (2.1 ns per
# value against 9 ns for one large block); elsewhere this only bounds the working memory.
_BLOCK_CPU = 2**16
_BLOCK_GPU = 2**24


@dataclass(frozen=True, slots=True)
class CtfOptics:
    """What the images of one optics group share, as plain numbers.

    Parameters
    ----------
    voltage_kv : float
    spherical_aberration_mm : float
    amplitude_contrast : float
        Fraction in [0, 1].
    pixel_size : float
        Angstrom.
    box_size : int
        Pixels.
    beam_tilt_mrad : (float, float)
        Along x and y.
    odd_zernike, even_zernike : tuple of float
        Radian, in the order of ``aberrations.odd_zernike_indices`` and ``even_zernike_indices``.
    magnification_matrix : 2 x 2 tuple of float
        ``((m00, m01), (m10, m11))``, RELION's ``rlnMagMat``; takes the frequency counted on the
        image to the true one.

    Raises
    ------
    SettingsError
        When a number is out of its physical range.
    """

    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    pixel_size: float
    box_size: int
    beam_tilt_mrad: tuple[float, float] = (0.0, 0.0)
    odd_zernike: tuple[float, ...] = ()
    even_zernike: tuple[float, ...] = ()
    magnification_matrix: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.0), (0.0, 1.0))

    def __post_init__(self) -> None:
        if not 0.0 <= self.amplitude_contrast <= 1.0:
            raise SettingsError(
                f"Amplitude contrast is {self.amplitude_contrast}; wanted a fraction between 0 "
                "and 1; correct the optics group."
            )
        if not (self.voltage_kv > 0 and self.pixel_size > 0 and self.box_size > 0):
            raise SettingsError(
                f"Voltage is {self.voltage_kv} kV, pixel size {self.pixel_size} A and box "
                f"{self.box_size} px; wanted all above zero; correct the optics group."
            )
        (m00, m01), (m10, m11) = self.magnification_matrix
        if m00 * m11 - m01 * m10 == 0.0:
            raise SettingsError(
                f"Magnification matrix is {self.magnification_matrix}, which has no inverse; "
                "wanted one near the identity; correct the rlnMagMat columns."
            )


class CtfEvaluator:
    """CTFs of one optics group at a fixed list of Fourier coefficients.

    All that does not change from image to image is computed once, in float64.

    Parameters
    ----------
    optics : CtfOptics
    coordinates : PackedCoordinates or other FourierCoordinates
        Must be of the group's box; results are on its device.
    arithmetic : {"double", "split"}, optional
        How phases are kept accurate, see ``wrapped_phase``; default: what the device can do.

    Raises
    ------
    SettingsError
        When the coordinates are of another box.

    Notes
    -----
    Memory: 40 bytes per coefficient, once per group. An evaluation in double arithmetic differs
    from one in float64 throughout by less than 1e-6, in split arithmetic by less than 1e-5 as long
    as gamma stays below 1e4 rad; plain float32 loses 4e-4 at 1e3 rad.
    """

    def __init__(
        self,
        optics: CtfOptics,
        coordinates: FourierCoordinates,
        arithmetic: Arithmetic | None = None,
    ) -> None:
        if coordinates.box_size != optics.box_size:
            raise SettingsError(
                f"Coordinates are of a box of {coordinates.box_size} px and the optics group has "
                f"{optics.box_size} px; wanted the same; make the coordinates from the group's box."
            )
        self.optics = optics
        self.device = coordinates.kx.device
        self.wavelength = electron_wavelength_angstrom(optics.voltage_kv)
        x, y = self._frequencies(coordinates)
        self.n_coefficients = int(x.shape[0])
        u2 = x * x + y * y
        self._u2 = u2.to(torch.float32).to(self.device)
        fixed = 0.25 * optics.spherical_aberration_mm * 1e7 * self.wavelength**3 * u2 * u2
        fixed = fixed + even_zernike_phase(optics.even_zernike, x, y) / (2 * pi)
        terms = torch.stack([u2, x * x - y * y, 2 * x * y, fixed])
        self._phase = WrappedPhase(terms, self.device, arithmetic)
        self._antisymmetric = self._image_phase(x, y)

    def ctf(
        self,
        defocus: Float[Tensor, "b 3"],
        phase_shift_deg: Float[Tensor, " b"],
        b_factor: Float[Tensor, " b"],
        scale: Float[Tensor, " b"],
        count: int,
    ) -> Float[Tensor, "b count"]:
        """Return the CTF of ``b`` images at the first ``count`` coefficients.

        Parameters
        ----------
        defocus : (b, 3) float64
            U and V in angstrom, underfocus positive, in any order of size; angle of U in degrees,
            from x towards y.
        phase_shift_deg : (b,)
            Of a phase plate.
        b_factor : (b,)
            Angstrom squared; the envelope is ``exp(-B |k|^2 / 4)``.
        scale : (b,)
        count : int
            At most the number of coordinates.

        Returns
        -------
        (b, count) float32
            On the device of the coordinates.

        Raises
        ------
        SettingsError
            When ``count`` is more than there are coordinates.
        """
        self._check_count(count)
        coefficients, offset = self._image_terms(defocus, phase_shift_deg)
        # -sin(gamma) scale; the minus sign is put into the scale.
        amplitude = -scale.to(torch.float32).to(self.device)[:, None]
        decay = -0.25 * b_factor.to(torch.float32).to(self.device)[:, None]
        has_decay = bool((b_factor != 0).any())
        n_images = defocus.shape[0]
        result = torch.empty(n_images, count, dtype=torch.float32, device=self.device)
        block = _BLOCK_CPU if self.device.type == "cpu" else _BLOCK_GPU
        step = max(1, block // max(count, 1))
        for first in range(0, n_images, step):
            part = slice(first, first + step)
            values = result[part]
            turns = self._phase.turns(coefficients[part], offset[part], count)
            torch.mul(turns, 2 * pi, out=values)
            values.sin_().mul_(amplitude[part])
            if has_decay:
                values.mul_(torch.exp(decay[part] * self._u2[:count]))
        return result

    def antisymmetric_phase(self, count: int) -> Complex[Tensor, " count"] | None:
        """Return the factors that undo beam tilt and odd Zernikes, or None when there are none.

        Transforms of images are to be multiplied by them once (simulated images by their
        conjugates), at the first ``count`` coefficients: ``exp(-i phi)`` with ``phi`` from
        ``aberrations``. Complex64, ``(count,)``.

        Raises
        ------
        SettingsError
            When ``count`` is more than there are coordinates.
        """
        self._check_count(count)
        return None if self._antisymmetric is None else self._antisymmetric[:count]

    @property
    def slice_matrix(self) -> Float[Tensor, "2 2"] | None:
        """Return what is applied to ``(kx, ky)`` before a slice is read or written (float64, CPU).

        RELION's magnification matrix itself; None when it is the identity.
        """
        matrix = torch.tensor(self.optics.magnification_matrix, dtype=torch.float64)
        return None if torch.equal(matrix, torch.eye(2, dtype=torch.float64)) else matrix

    def magnify(self, rotations: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
        """Return ``R diag(M, 1)``: its slice at ``(kx, ky)`` is that of ``R`` at ``M (kx, ky)``.

        To be given to slice extraction and insertion in place of ``rotations`` (which come back
        as they are when there is no anisotropic magnification).
        """
        matrix = self.slice_matrix
        if matrix is None:
            return rotations
        full = torch.eye(3, dtype=torch.float64)
        full[:2, :2] = matrix
        return rotations @ full.to(rotations.dtype).to(rotations.device)

    def _frequencies(
        self, coordinates: FourierCoordinates
    ) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
        """Return the true frequencies in 1/angstrom, float64 on the CPU."""
        step = 1.0 / (self.optics.box_size * self.optics.pixel_size)
        kx = coordinates.kx.cpu().to(torch.float64) * step
        ky = coordinates.ky.cpu().to(torch.float64) * step
        (m00, m01), (m10, m11) = self.optics.magnification_matrix
        return m00 * kx + m01 * ky, m10 * kx + m11 * ky

    def _image_phase(
        self, x: Float[Tensor, " k"], y: Float[Tensor, " k"]
    ) -> Complex[Tensor, " k"] | None:
        """Return ``exp(-i phi)`` of all antisymmetric aberrations, or None."""
        optics = self.optics
        if not any(optics.beam_tilt_mrad) and not any(optics.odd_zernike):
            return None
        coefficients = with_beam_tilt(
            optics.odd_zernike,
            optics.beam_tilt_mrad,
            optics.spherical_aberration_mm,
            self.wavelength,
        )
        phase = odd_zernike_phase(coefficients, x, y)
        return torch.polar(torch.ones_like(phase), -phase).to(torch.complex64).to(self.device)

    def _image_terms(
        self, defocus: Float[Tensor, "b 3"], phase_shift_deg: Float[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b 4"], Float[Tensor, "b 1"]]:
        """Return coefficients of the fixed terms and the offset of each image, in turns."""
        # A device without float64 cannot hold these few numbers exactly; the CPU always can.
        home = torch.device("cpu") if self.device.type == "mps" else self.device
        u, v, angle = defocus.to(home).to(torch.float64).unbind(dim=1)
        half_wave = -0.5 * self.wavelength
        mean, deviation = half_wave * 0.5 * (u + v), half_wave * 0.5 * (u - v)
        twice = 2.0 * torch.deg2rad(angle)
        coefficients = torch.stack(
            [mean, deviation * torch.cos(twice), deviation * torch.sin(twice), torch.ones_like(u)],
            dim=1,
        )
        amplitude_phase = asin(self.optics.amplitude_contrast) / (2 * pi)
        offset = -phase_shift_deg.to(home).to(torch.float64) / 360.0 - amplitude_phase
        return coefficients, offset[:, None]

    def _check_count(self, count: int) -> None:
        if count > self.n_coefficients:
            raise SettingsError(
                f"Wanted {count} coefficients of {self.n_coefficients}; make the coordinates with "
                "a larger radius or ask for fewer."
            )


def electron_wavelength_angstrom(voltage_kv: float) -> float:
    """Return the relativistic de Broglie wavelength in angstrom.

    ``12.2643247 / sqrt(V (1 + 0.978466e-6 V))``, ``V`` in volts: RELION's constants, kept so that
    defocus values mean the same (the constants of nature give one 6e-6 shorter).
    """
    volts = 1e3 * voltage_kv
    return 12.2643247 / sqrt(volts * (1.0 + 0.978466e-6 * volts))
