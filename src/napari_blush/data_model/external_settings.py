"""What a person may set for a denoiser that works inside another program's refinement."""

from typing import Literal

from pydantic import Field

from napari_blush.data_model.settings import Device, Settings


class ExternalReconstructionSettings(Settings):
    """Settings of one external reconstruction."""

    denoiser: str = Field(
        "default", description="Weights: a name that 'weights list' shows, or a file."
    )
    spectral_trailing: bool = Field(
        True,
        description="Cut denoised half-maps off two shells short of where the FSC falls below "
        "0.143; off is unsafe.",
    )
    mode: Literal["default", "release"] = Field(
        "default",
        description="How maps are made and denoised: 'release' follows the published recipe.",
    )
    denoiser_stride: int | None = Field(
        None,
        ge=1,
        description="Voxels of the denoiser's grid between its blocks; default: the mode's own.",
    )
    batch_size: int | None = Field(
        None, ge=1, description="Blocks at a time; default: what suits device and memory."
    )
    voxel_size: float | None = Field(
        None,
        gt=0,
        description="Voxel size in A; default: what RELION says in the STAR file or in other "
        "files of the job.",
    )
    particle_diameter: float | None = Field(
        None, gt=0, description="Particle diameter in A; default: RELION's."
    )
    symmetry: str | None = Field(
        None, description="Point group that denoised maps are given again; default: RELION's."
    )
    device: Device = Field("auto", description="Where to denoise.")
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores.")
    debug: bool = Field(
        False, description="Write the maps before and after the denoiser beside the result."
    )
