"""The microscope behind a set of images."""

from dataclasses import dataclass

from napari_blush.errors import SettingsError


@dataclass(frozen=True, slots=True)
class OpticsGroup:
    """Images that share a microscope, a pixel size and a box.

    Parameters
    ----------
    name : str
        As in ``rlnOpticsGroupName``.
    voltage_kv : float
        Acceleration voltage in kV.
    spherical_aberration_mm : float
        Cs in mm.
    amplitude_contrast : float
        Fraction in [0, 1].
    pixel_size : float
        Angstrom per pixel of the images as stored.
    box_size : int
        Pixels along an edge of the images as stored.
    beam_tilt_mrad : tuple of float
        (x, y) in milliradian.
    odd_zernike, even_zernike : tuple of float
        RELION's antisymmetric and symmetric aberration coefficients (``rlnOddZernike``,
        ``rlnEvenZernike``), radians; empty when there are none.
    magnification_matrix : tuple of tuple of float
        ``((m00, m01), (m10, m11))`` of ``rlnMagMat..``; identity when there is none.
    ctf_premultiplied : bool
        Whether the images have already been multiplied by their CTF.

    Raises
    ------
    SettingsError
        When a value is out of its physical range.
    """

    name: str
    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    pixel_size: float
    box_size: int
    beam_tilt_mrad: tuple[float, float] = (0.0, 0.0)
    odd_zernike: tuple[float, ...] = ()
    even_zernike: tuple[float, ...] = ()
    magnification_matrix: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.0), (0.0, 1.0))
    ctf_premultiplied: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.amplitude_contrast <= 1.0:
            raise SettingsError(
                f"Optics group {self.name!r} has amplitude contrast {self.amplitude_contrast}; "
                "wanted a fraction between 0 and 1; correct rlnAmplitudeContrast."
            )
        if self.voltage_kv <= 0 or self.pixel_size <= 0:
            raise SettingsError(
                f"Optics group {self.name!r} has voltage {self.voltage_kv} kV and pixel size "
                f"{self.pixel_size} A; wanted both above zero; correct the optics table."
            )
        if self.box_size <= 0 or self.box_size % 2:
            raise SettingsError(
                f"Optics group {self.name!r} has images of {self.box_size} px; wanted an even "
                "number; extract or crop the particles to an even box."
            )
