"""What a person may set to train or fine-tune a denoiser."""

from typing import Literal

from pydantic import Field, model_validator

from napari_blush.data_model.settings import Device, Settings


class TrainingSettings(Settings):
    """Settings of a training. The paper's value stands in brackets where it has one."""

    steps: int = Field(20000, ge=1, description="Optimizer steps in all [950000].")
    minutes: float | None = Field(
        None,
        gt=0,
        description="End within so many minutes, the fall of the rate included, where the steps "
        "would take longer.",
    )
    batch_size: int = Field(
        8, ge=1, description="Pairs of half-maps in a step; each gives two blocks [8]."
    )
    block_size: int = Field(64, ge=8, description="Voxels along the edge of a block [64].")
    width: int = Field(16, ge=1, description="Channels of the network's first level [16].")
    depth: int = Field(5, ge=1, le=7, description="Halvings in the network [5].")
    learning_rate: float = Field(1e-3, gt=0, description="Of AdamW, after the warm-up.")
    warmup_steps: int = Field(200, ge=0, description="Steps over which the rate rises.")
    decay_fraction: float = Field(
        0.3, ge=0, le=1, description="Last part of the steps, over which the rate falls to zero."
    )
    weight_decay: float = Field(1e-4, ge=0, description="Of AdamW.")
    gradient_clip: float = Field(1.0, gt=0, description="Greatest norm of a gradient.")
    ema_decay: float = Field(
        0.999, ge=0, lt=1, description="Of the running mean of the weights, which is the result."
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Of channels at the three deepest levels [0.5]."
    )
    mask_loss_weight: float = Field(
        0.05, ge=0, description="Weight of the cross-entropy of the predicted mask."
    )
    recycling_odds: tuple[float, float, float, float, float, float] = Field(
        (10.0, 6.0, 3.0, 2.0, 1.0, 1.0),
        description="Odds that a block is denoised 0 to 5 times before the pass that learns.",
    )
    finest_resolution: float | None = Field(
        None,
        gt=0,
        description="Where the weakest Gaussian filter is one half, in A; default: the voxel "
        "size, half of Nyquist's resolution.",
    )
    coarsest_resolution: float = Field(
        15.0, gt=0, description="Where the strongest Gaussian filter is one half, in A."
    )
    input_anisotropy: float = Field(
        0.35, ge=0, description="Spread of the logarithm of a filter's resolution along its axes."
    )
    target_anisotropy: float = Field(0.1, ge=0, description="The same of the filters of targets.")
    cutoff_probability: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Of a sharp low-pass on input and target, as a refinement's current size.",
    )
    noise_probability: float = Field(
        0.5, ge=0, le=1, description="Of added colored noise in the input."
    )
    noise_maximum: float = Field(
        1.0, ge=0, description="Greatest added noise, relative to the map's own amplitude."
    )
    rotation_probability: float = Field(
        0.6, ge=0, le=1, description="Of any rotation; else one that takes voxels to voxels."
    )
    sphere_probability: float = Field(
        0.5, ge=0, le=1, description="Of a spherical mask around the input's particle."
    )
    particle_fraction: float = Field(
        0.8, ge=0, le=1, description="Part of the blocks that are placed on the particle."
    )
    validation_every: int = Field(500, ge=1, description="Steps between validations.")
    validation_entries: int = Field(
        16, ge=1, description="Pairs of the validation split that are looked at."
    )
    log_every: int = Field(20, ge=1, description="Steps between lines of the log.")
    checkpoint_minutes: float = Field(5.0, gt=0, description="Minutes between checkpoints.")
    seed: int = Field(0, ge=0, description="Seed of all random choices.")
    device: Device = Field("auto", description="Where to compute.")
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores.")
    memory_limit: float | None = Field(
        None,
        gt=0,
        description="Memory in GB for half-maps; those beyond it are read from files that are "
        "made in the output folder; default: half of what is free.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Arithmetic of the network; auto: bfloat16 where it is fast."
    )

    @model_validator(mode="after")
    def _check_block(self) -> "TrainingSettings":
        if self.block_size % 2**self.depth:
            raise ValueError(
                f"The block size was given as {self.block_size} with a depth of {self.depth}; "
                f"wanted a multiple of {2**self.depth}."
            )
        if sum(self.recycling_odds) <= 0 or min(self.recycling_odds) < 0:
            raise ValueError(
                f"The recycling odds were given as {self.recycling_odds}; wanted six numbers, "
                "none below zero and one above."
            )
        return self


class PreparationSettings(Settings):
    """Settings of the preparation of half-maps for training. The paper's value in brackets."""

    voxel_size: float = Field(3.0, gt=0, description="Voxel size to train on in A [1.5].")
    worst_resolution: float | None = Field(
        None, gt=0, description="Drop pairs of a resolution above this, in A [4]."
    )
    validation_share: float = Field(
        0.07, ge=0, lt=1, description="Share of the clusters that is kept for validation."
    )
    test_share: float = Field(
        0.08, ge=0, lt=1, description="Share of the clusters that is kept for tests."
    )
    seed: int = Field(0, ge=0, description="Seed of the split.")

    @model_validator(mode="after")
    def _check_shares(self) -> "PreparationSettings":
        if self.validation_share + self.test_share >= 1:
            raise ValueError(
                f"Shares of {self.validation_share:g} and {self.test_share:g} were given for "
                "validation and tests; wanted less than one together."
            )
        return self
