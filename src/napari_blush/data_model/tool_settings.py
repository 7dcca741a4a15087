"""What a person may set for the smaller jobs: simulate, reconstruct, postprocess."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from napari_blush.data_model.settings import Device, Settings


class SimulationSettings(Settings):
    """Settings of made-up particle images of an atomic model."""

    n_particles: int = Field(1000, ge=2, description="Number of images.")
    box_size: int = Field(64, ge=16, description="Pixels along an edge, even.")
    pixel_size: float = Field(3.0, gt=0, description="Pixel size in A.")
    snr: float | None = Field(
        0.1,
        gt=0,
        description="Variance of the signal over the whole box by that of the noise; "
        "'none' to take --dose.",
    )
    dose: float | None = Field(
        None, gt=0, description="Electrons per A^2 on a perfect detector, instead of --snr."
    )
    noise: Literal["white", "coloured", "none"] = Field(
        "white", description="Spectrum of the noise; its standard deviation is 1."
    )
    b_factor: float = Field(
        60.0,
        ge=0,
        description="B-factor in A^2 that the best-ordered atoms get; the others keep their "
        "difference to them.",
    )
    voltage_kv: float = Field(300.0, gt=0, description="Acceleration voltage in kV.")
    spherical_aberration_mm: float = Field(2.7, ge=0, description="Spherical aberration in mm.")
    amplitude_contrast: float = Field(
        0.1, ge=0, le=1, description="Fraction of amplitude contrast."
    )
    defocus_range: tuple[float, float] = Field(
        (0.8, 2.5), description="Least and greatest defocus of a micrograph in um."
    )
    astigmatism: float = Field(
        0.04, ge=0, description="Greatest difference of the two defoci of a micrograph in um."
    )
    phase_shift_deg: float = Field(0.0, description="Phase shift of a phase plate in degrees.")
    particles_per_micrograph: int = Field(50, ge=1, description="Images that share a micrograph.")
    shift_sigma: float = Field(
        1.5, ge=0, description="Standard deviation of the centering error along x and y in px."
    )
    orientations: Literal["uniform", "side", "top"] = Field(
        "uniform", description="How particles lie in the ice."
    )
    orientation_spread: float = Field(
        15.0, gt=0, le=90, description="Width of a preferred orientation in degrees."
    )
    start_map_resolution: float = Field(
        40.0, gt=0, description="Low-pass filter of the start map that is written beside, in A."
    )
    float16: bool = Field(True, description="Write images as 16-bit floats (MRC mode 12).")
    seed: int = Field(0, ge=0, description="Seed of all random choices.")


class ReconstructionSettings(Settings):
    """Settings of a reconstruction from known poses."""

    symmetry: str = Field("C1", description="Point group: C1, Cn, Dn, T, O, I, I1-I4 [--sym].")
    max_resolution: float | None = Field(
        None, gt=0, description="Finest resolution used in A [--maxres]; default: Nyquist."
    )
    padding: int = Field(2, ge=1, le=4, description="Fourier padding factor [--pad].")
    ctf: bool = Field(True, description="Correct for the CTF [--ctf].")
    device: Device = Field("auto", description="Where to compute.")
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores.")


class PostprocessSettings(Settings):
    """Settings of post-processing two half-maps."""

    mask: Path | None = Field(
        None, description="Soft mask in [0, 1] [--mask]; default: drawn around the mean map."
    )
    voxel_size: float | None = Field(
        None, gt=0, description="Voxel size in A [--angpix]; default: that of the maps."
    )
    b_factor: float | None = Field(
        None,
        description="B-factor in A^2 to sharpen by, negative to sharpen [--adhoc_bfac]; default: "
        "fitted.",
    )
    fit_from: float = Field(
        10.0, gt=0, description="Coarsest resolution of the fit in A [--autob_lowres]."
    )
    fit_to: float | None = Field(
        None,
        gt=0,
        description="Finest resolution of the fit in A [--autob_highres]; default: the map's.",
    )
    seed: int = Field(0, ge=0, description="Seed of the random phases.")
