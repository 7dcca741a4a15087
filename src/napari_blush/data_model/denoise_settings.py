"""What a person may set when maps are denoised outside of a refinement."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from napari_blush.data_model.settings import Device, Settings


class DenoiseSettings(Settings):
    """Settings of denoising maps."""

    denoiser: str = Field(
        "default", description="Weights: a name of 'napari-blush weights list', or a file."
    )
    mode: Literal["default", "release"] = Field(
        "default",
        description="How they are applied: our own way, or the published one "
        "(strides, windows, masks).",
    )
    stride: int | None = Field(
        None,
        ge=1,
        description="Voxels of the denoiser's grid between blocks; default: the mode's own.",
    )
    batch_size: int | None = Field(
        None, ge=1, description="Blocks at a time; default: what suits device and memory."
    )
    mask: Path | None = Field(
        None,
        description="Mask in [0, 1] on the grid of the maps: where there is something; "
        "default: the sphere of the particle.",
    )
    particle_diameter: float | None = Field(
        None, gt=0, description="Diameter of the particle in A; default: what the box holds."
    )
    voxel_size: float | None = Field(
        None, gt=0, description="Voxel size in A [--angpix]; default: that of the maps."
    )
    network_mask: bool = Field(
        False, description="Write where the network sees a particle, in [0, 1], as well."
    )
    difference: bool = Field(
        False, description="Write what was taken away, map less denoised map, as well."
    )
    keep_beyond_nyquist: bool = Field(
        False,
        description="Fill what is finer than the denoiser's grid can hold from the map as it came, "
        "noise and all; off: nothing is there.",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Arithmetic of the convolutions; auto: half where the device has it fast, "
        "float32 in release mode.",
    )
    device: Device = Field("auto", description="Where to compute.")
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores.")
    memory_limit: float | None = Field(
        None, gt=0, description="Working memory in GB; default: half of what is free."
    )
