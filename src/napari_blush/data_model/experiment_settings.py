"""What a person may set for the simulated experiments that a denoiser is trained on."""

from typing import Literal

from pydantic import Field, model_validator

from napari_blush.data_model.settings import Settings


class ExperimentSettings(Settings):
    """Settings of a folder of simulated half-map pairs."""

    level: Literal["noise-model", "poses", "refinement"] = Field(
        "noise-model",
        description="How half-maps are made: from the exact power of reconstruction noise, from "
        "images with erroneous poses, or by refining images.",
    )
    n_entries: int = Field(400, ge=1, description="Number of half-map pairs.")
    voxel_size: float = Field(3.0, gt=0, description="Voxel size in A.")
    box_size: int = Field(
        48, ge=32, multiple_of=2, description="Least box in px; larger where a particle needs it."
    )
    largest_box: int = Field(
        96,
        ge=32,
        multiple_of=2,
        description="Largest box in px; structures too large are left out.",
    )
    resolution_finest: float = Field(
        6.0, gt=0, description="Finest resolution of the pairs that is drawn, in A."
    )
    resolution_coarsest: float = Field(
        24.0, gt=0, description="Coarsest resolution of the pairs that is drawn, in A."
    )
    mass_min: float = Field(25.0, ge=0, description="Least mass of a structure in kDa.")
    mass_max: float = Field(300.0, gt=0, description="Greatest mass of a structure in kDa.")
    images_min: int = Field(
        200, ge=2, description="Least number of images of an experiment, where images are made."
    )
    images_max: int = Field(
        1000, ge=2, description="Greatest number of images of an experiment, where they are made."
    )
    max_iterations: int = Field(
        10, ge=2, description="Iterations of a refinement, where images are refined."
    )
    iterations_kept: int = Field(
        4, ge=1, description="Pairs kept of the iterations of a refinement."
    )
    regularizer: str = Field(
        "smoothness", description="Regularizer of the refinements, where images are refined."
    )
    validation_share: float = Field(
        0.07, ge=0, lt=1, description="Share of the clusters kept for validation."
    )
    test_share: float = Field(0.08, ge=0, lt=1, description="Share of the clusters never used.")
    split_seed: int = Field(
        0, ge=0, description="Seed of the split; folders of one seed can be trained on together."
    )
    seed: int = Field(0, ge=0, description="Seed of all random choices but the split.")

    @model_validator(mode="after")
    def _check_ranges(self) -> "ExperimentSettings":
        if self.resolution_finest > self.resolution_coarsest:
            raise ValueError(
                f"Resolutions from {self.resolution_finest:g} to {self.resolution_coarsest:g} A "
                "were given; wanted the finer first."
            )
        if self.box_size > self.largest_box:
            raise ValueError(
                f"Boxes from {self.box_size} to {self.largest_box} px were given; wanted the "
                "smaller first."
            )
        if self.mass_min > self.mass_max:
            raise ValueError(
                f"Masses from {self.mass_min:g} to {self.mass_max:g} kDa were given; wanted the "
                "smaller first."
            )
        if self.images_min > self.images_max:
            raise ValueError(
                f"Experiments of {self.images_min} to {self.images_max} images were given; wanted "
                "the smaller number first."
            )
        return self
