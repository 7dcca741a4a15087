"""What a person may set, for each job: the one source of command line, form, file and docs."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Device = Literal["auto", "cpu", "cuda", "mps"]


class Settings(BaseModel):
    """Frozen, closed base of all settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RefinementSettings(Settings):
    """Settings of a gold-standard auto-refinement. RELION's name stands in brackets."""

    particle_diameter: float | None = Field(
        None,
        gt=0,
        description="Diameter of the circular mask in A [Mask diameter]; "
        "default: the box less 5 px.",
    )
    symmetry: str = Field("C1", description="Point group: C1, Cn, Dn, T, O, I, I1-I4 [Symmetry].")
    helical_twist: float | None = Field(
        None,
        ge=-180,
        le=180,
        description="Turn in deg from one asymmetric unit of a filament along z to the next, "
        "positive for a right-handed screw [Initial twist]; goes with the rise.",
    )
    helical_rise: float | None = Field(
        None, gt=0, description="Step in A to the next asymmetric unit along z [Initial rise]."
    )
    helical_fraction: float = Field(
        0.3,
        gt=0,
        le=1,
        description="Central part of the box along z whose units are averaged [Central Z length].",
    )
    helical_tilt_range: float = Field(
        15.0,
        gt=0,
        le=90,
        description="Exhaustive searches of filaments look at tilts of 90 deg give or take this; "
        "90 looks at all.",
    )
    initial_low_pass: float | None = Field(
        60.0, gt=0, description="Low-pass filter of the start map in A [Initial low-pass filter]."
    )
    solvent_mask: Path | None = Field(
        None, description="Soft mask in [0, 1] for references and FSC [Reference mask]."
    )
    automatic_mask: bool = Field(
        True,
        description="Without a solvent mask, draw a soft one around each half's own map at every "
        "iteration; off: the sphere of the particle diameter.",
    )
    solvent_corrected_fsc: bool = Field(
        True,
        description="Let the masked, phase-randomisation corrected FSC drive the run "
        "[Use solvent-flattened FSCs]; needs a mask, given or automatic.",
    )
    first_iteration_cc: bool = Field(
        True,
        description="Align by cross-correlation in the first iteration, for a start map "
        "that is not on the images' grey scale [--firstiter_cc].",
    )
    healpix_order: int = Field(
        2,
        ge=0,
        le=7,
        description="Start sampling: 1 is 30 deg, 2 is 15, 3 is 7.5 before "
        "oversampling [Initial angular sampling].",
    )
    exhaustive_order: int = Field(
        2,
        ge=0,
        le=6,
        description="HEALPix order of the pass that looks at every orientation; "
        "finer passes look at what is significant there.",
    )
    local_search_from: int = Field(
        4,
        ge=1,
        le=8,
        description="HEALPix order from which searches are local "
        "[Local searches from auto-sampling].",
    )
    adaptive_oversampling: int = Field(
        1, ge=0, le=2, description="Doublings of the sampling in the fine pass [--oversampling]."
    )
    adaptive_fraction: float = Field(
        0.999, gt=0, le=1, description="Posterior mass kept between passes [--adaptive_fraction]."
    )
    offset_range: float = Field(5.0, gt=0, description="Initial offset search range in px.")
    offset_step: float = Field(
        2.0, gt=0, description="Initial offset step of the coarse pass in px."
    )
    padding: int = Field(2, ge=1, le=4, description="Fourier padding factor [--pad].")
    low_resolution_join: float = Field(
        40.0,
        gt=0,
        description="Halves share what is coarser than this, in A [--low_resol_join_halves].",
    )
    tau2_fudge: float = Field(1.0, gt=0, description="Regularisation parameter T.")
    norm_correction: bool = Field(True, description="Correct the power of each image [--norm].")
    scale_correction: bool = Field(
        True, description="Correct the signal scale of each micrograph [--scale]."
    )
    zero_mask: bool = Field(True, description="Set what is outside the circular mask to zero.")
    regularizer: str = Field(
        "blush",
        description="How half-maps become references: 'smoothness' (Wiener filter), 'blush' "
        "(denoised) or a plug-in.",
    )
    denoiser: str = Field(
        "default",
        description="Weights for blush: a name that 'weights list' shows, or a file.",
    )
    denoise_from: float | None = Field(
        15.0,
        gt=0,
        description="Denoise references once the halves agree to this, in A; before, they are "
        "Wiener maps; none: from the start, as published.",
    )
    spectral_trailing: bool = Field(
        True,
        description="Cut denoised references off two shells short of where the FSC falls below "
        "0.143; off is unsafe.",
    )
    trailing_shells: int = Field(
        2,
        ge=0,
        le=20,
        description="Shells by which that cut-off falls short; fewer than 2 is unsafe.",
    )
    trailing_limit: float | None = Field(
        None,
        gt=0,
        description="Cut denoised references off no finer than this, in A; default: where the FSC "
        "says.",
    )
    trailing_fill: bool = Field(
        False,
        description="Let the Wiener map, which no network has seen, go on where denoised "
        "references are cut off; off: nothing is there, as published.",
    )
    denoiser_strength: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Part of the denoised map in a reference; the rest is the Wiener map.",
    )
    denoiser_gain: bool = Field(
        True,
        description="Scale each shell of the denoised maps to what the other half's unfiltered "
        "map confirms.",
    )
    denoiser_stride: int | None = Field(
        None,
        ge=1,
        description="Voxels of the denoiser's grid between its blocks; default: as few blocks as "
        "serve.",
    )
    max_iterations: int = Field(
        50, ge=1, description="Stop after so many iterations at the latest."
    )
    seed: int = Field(0, ge=0, description="Seed of all random choices.")
    device: Device = Field("auto", description="Where to compute.")
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores.")
    memory_limit: float | None = Field(
        None, gt=0, description="Working memory in GB; default: half of what is free."
    )
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        "float32", description="Arithmetic of the coarse pass on CUDA."
    )
