"""What a person may set for each validation."""

from pathlib import Path

from pydantic import Field

from napari_blush.data_model.settings import Device, Settings


class MaskedMapSettings(Settings):
    """What every validation of maps takes."""

    mask: Path | None = Field(
        None, description="Soft mask in [0, 1] [--mask]; default: drawn around the map."
    )
    voxel_size: float | None = Field(
        None, gt=0, description="Voxel size in A; default: that of the maps."
    )
    seed: int = Field(0, ge=0, description="Seed of the random phases.")


class DirectionalSettings(MaskedMapSettings):
    """Settings of the conical FSC."""

    healpix_order: int = Field(
        1, ge=0, le=3, description="Directions: 6, 24, 96 or 384 for 0, 1, 2 and 3."
    )


class LocalResolutionSettings(MaskedMapSettings):
    """Settings of the local resolution."""

    window: float | None = Field(
        None,
        gt=0,
        description="Diameter of the window in A; default: seven times the map's resolution.",
    )
    step: int = Field(2, ge=1, le=16, description="Voxels between windows.")
    threshold: float = Field(0.5, gt=0, lt=1, description="Of the corrected FSC in a window.")
    randomize_at: float | None = Field(
        None,
        gt=0,
        description="Resolution in A beyond which phases are randomized; default: twice the map's.",
    )
    device: Device = Field("auto", description="Where to compute.")


class ModelCheckSettings(MaskedMapSettings):
    """Settings of a map against an atomic model."""

    half1: Path | None = Field(
        None, description="Half-map that the model was refined against, for the check of both."
    )
    half2: Path | None = Field(None, description="The other half-map.")
    built: Path | None = Field(
        None, description="Model that another program built: its completeness is reported."
    )
    waters: bool = Field(False, description="Keep water molecules of the model.")
    build: bool = Field(
        False,
        description="Let ModelAngelo build a model into the map, where it is installed, and report "
        "its completeness.",
    )


class DenoiserCheckSettings(MaskedMapSettings):
    """Settings of the test of a denoiser by phase-randomized half-maps."""

    denoiser: str = Field("default", description="Weights: a name of 'weights list', or a file.")
    randomize_at: float | None = Field(
        None,
        gt=0,
        description="Resolution in A beyond which phases are randomized; default: where the "
        "unmasked FSC falls below 0.8.",
    )
    particle_diameter: float | None = Field(
        None, gt=0, description="Diameter of the particle in A; default: the sphere in the box."
    )
    steadiness: bool = Field(
        True,
        description="Denoise also again and again, and after movements of the network's grid: a "
        "dozen maps more.",
    )
    passes: int = Field(5, ge=2, le=50, description="Times that a map is denoised in a row.")
    other_denoiser: str | None = Field(
        None, description="Weights to compare with: a name of 'weights list', or a file."
    )
    device: Device = Field("auto", description="Where to compute.")
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores.")


class ImageRandomizationSettings(Settings):
    """Settings of a refinement that is run again on phase-randomized images."""

    randomize_at: float | None = Field(
        None,
        gt=0,
        description="Resolution in A beyond which phases are randomized; default: where the "
        "run's unmasked FSC falls below 0.8.",
    )
    keep_trailing: bool = Field(
        True, description="Keep the run's spectral trailing; off: test the denoiser without it."
    )
    max_iterations: int | None = Field(
        None, ge=1, description="Stop after so many iterations; default: as the run."
    )
    seed: int = Field(0, ge=0, description="Seed of the random phases.")
    device: Device | None = Field(None, description="Where to compute; default: as the run.")
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores.")


class ReferenceBiasSettings(Settings):
    """Settings of a refinement of pure noise against a run's start map."""

    max_iterations: int = Field(5, ge=1, description="Iterations of the noise.")
    seed: int = Field(0, ge=0, description="Seed of the noise.")
    device: Device | None = Field(None, description="Where to compute; default: as the run.")
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores.")


class AngleSettings(Settings):
    """Settings of the angular distribution."""

    symmetry: str = Field("C1", description="Point group: C1, Cn, Dn, T, O, I, I1-I4 [--sym].")
    healpix_order: int = Field(
        3, ge=1, le=5, description="Fineness of the sphere: 192, 768, 3072 pixels for 2, 3 and 4."
    )


class ValidationSettings(MaskedMapSettings):
    """Settings of all validations of half-maps at once."""

    model: Path | None = Field(None, description="Atomic model fitted in the map.")
    particles: Path | None = Field(
        None, description="Refined particles (.star) or run folder, for views and poses."
    )
    symmetry: str = Field("C1", description="Point group of the particles [--sym].")
    step: int = Field(3, ge=1, le=16, description="Voxels between local resolution's windows.")
    denoiser: str | None = Field(
        None,
        description="Weights to be tested on the half-maps: a name of 'weights list', or a file; "
        "default: none are.",
    )
    other_denoiser: str | None = Field(
        None, description="Weights to compare them with: a name of 'weights list', or a file."
    )
    overfitting: Path | None = Field(
        None, description="Output folder of validate-overfitting, to be shown on the page."
    )
    bias: Path | None = Field(
        None, description="Output folder of validate-bias, to be shown on the page."
    )
    device: Device = Field("auto", description="Where to compute.")
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores.")


class ComparisonSettings(Settings):
    """Settings of two runs side by side."""

    mask: Path | None = Field(
        None,
        description="Soft mask in [0, 1] in which both are judged; default: drawn around the known "
        "density, or around the mean of both maps.",
    )
    truth: Path | None = Field(
        None, description="Known density on the grid of the runs, such as that of a simulation."
    )
    model: Path | None = Field(
        None, description="Atomic model fitted in the maps, whose density takes that place."
    )
    picture: Path | None = Field(None, description="SVG file for the curves of both runs.")
    seed: int = Field(0, ge=0, description="Seed of the random phases.")
