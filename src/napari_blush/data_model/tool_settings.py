"""What a person may set for the smaller jobs: simulate, reconstruct, postprocess."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from napari_blush.data_model.settings import Device, Settings


def _fitted(value: object) -> object:
    """Return None, which asks for a fit, for the word ``auto``."""
    return None if value == "auto" else value


class SimulationSettings(Settings):
    """Settings of made-up particle images of an atomic model or a map."""

    n_particles: int = Field(1000, ge=2, description="Number of images.")
    box_size: int = Field(64, ge=16, multiple_of=2, description="Pixels along an edge, even.")
    pixel_size: float = Field(3.0, gt=0, description="Pixel size in A.")
    snr: float | None = Field(
        None,
        gt=0,
        description="Variance of the signal over the whole box by that of the noise; default: "
        "0.1 where no dose is given.",
    )
    dose: float | None = Field(
        None,
        gt=0,
        description="Electrons per A^2 on a perfect detector, instead of a signal-to-noise ratio; "
        "for atomic models.",
    )
    noise: Literal["white", "coloured", "none"] = Field(
        "white", description="Spectrum of the noise; its standard deviation is 1."
    )
    b_factor: float = Field(
        60.0,
        ge=0,
        description="B-factor in A^2 that the best-ordered atoms (first percentile) get; the "
        "others keep their difference to them.",
    )
    voltage_kv: float = Field(300.0, gt=0, description="Acceleration voltage in kV.")
    spherical_aberration_mm: float = Field(2.7, ge=0, description="Spherical aberration in mm.")
    amplitude_contrast: float = Field(
        0.1, ge=0, le=1, description="Fraction of amplitude contrast."
    )
    defocus_min: float = Field(0.8, ge=0, description="Least defocus of a micrograph in um.")
    defocus_max: float = Field(2.5, ge=0, description="Greatest defocus of a micrograph in um.")
    astigmatism: float = Field(
        0.04, ge=0, description="Greatest difference of the two defoci of a micrograph in um."
    )
    phase_shift_deg: float = Field(0.0, description="Phase shift of a phase plate in degrees.")
    particles_per_micrograph: int = Field(50, ge=1, description="Images that share a micrograph.")
    shift_sigma: float = Field(
        1.5, ge=0, description="Standard deviation of the centering error along x and y in px."
    )
    orientations: Literal["uniform", "side", "top"] = Field(
        "uniform",
        description="How particles lie in the ice: anyhow, with the z axis of the model across "
        "the view, or along it.",
    )
    orientation_spread: float = Field(
        15.0, gt=0, le=90, description="Width of a preferred orientation in degrees."
    )
    start_map_resolution: float = Field(
        40.0, gt=0, description="Low-pass filter of the start map that is written beside, in A."
    )
    dtype: Literal["float16", "float32"] = Field(
        "float32", description="Of the images as written; RELION 3 reads float32 only."
    )
    seed: int = Field(0, ge=0, description="Seed of all random choices.")

    @model_validator(mode="after")
    def _check_pairs(self) -> "SimulationSettings":
        if self.snr is not None and self.dose is not None:
            raise ValueError(
                f"Both a signal-to-noise ratio of {self.snr:g} and a dose of {self.dose:g} were "
                "given; wanted one of them."
            )
        if self.defocus_min > self.defocus_max:
            raise ValueError(
                f"The defocus was given as {self.defocus_min:g} to {self.defocus_max:g} um; wanted "
                "the smaller first."
            )
        return self


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
    b_factor: Annotated[float | None, BeforeValidator(_fitted)] = Field(
        None,
        description="B-factor in A^2, negative to sharpen [--adhoc_bfac], or 'auto' to fit it "
        "[--auto_bfac]; default: auto.",
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
