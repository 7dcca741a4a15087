"""The map that answers a request of RELION for an external reconstruction.

Half-maps are denoised unfiltered and cut off where the data stop to vouch for them; the map of a
class is denoised as it is Wiener-filtered; the final map of a refinement is *not* denoised, and a
denoised copy is written beside it. Nothing is said to RELION but the map: its FSC and its signal
power stay those of the data.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from napari_blush.conventions import Volume
from napari_blush.data_model.external_settings import ExternalReconstructionSettings
from napari_blush.denoiser.denoise_options import BlockDenoiser, DenoisedVolume, DenoiseOptions
from napari_blush.denoiser.inference import denoise_volume
from napari_blush.errors import SettingsError
from napari_blush.io.external_reconstruct import (
    ExternalReconstruction,
    JobFigures,
    job_figures,
    read_sums,
)
from napari_blush.io.mrc import write_map
from napari_blush.likelihood.external_sums import ExternalMaps, maps_of_sums
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.shells import shell_to_resolution
from napari_blush.regularization.denoised_maps import symmetrized
from napari_blush.regularization.spectral_trailing import (
    SpectralLimit,
    limited,
    nyquist_limit,
    spectral_limit,
)

LABEL = "Denoised; for alignment only"


@dataclass(frozen=True, slots=True)
class ExternalAnswer:
    """What was made of a request.

    Parameters
    ----------
    written : tuple of Path
        The result first.
    story : str
        What was done, as a sentence.
    messages : tuple of str
        What the denoiser had to say.
    """

    written: tuple[Path, ...]
    story: str
    messages: tuple[str, ...] = ()


def with_figures(
    job: ExternalReconstruction, settings: ExternalReconstructionSettings
) -> JobFigures:
    """Return voxel size, diameter and symmetry as set, as stated, or from the job's other files.

    Raises
    ------
    SettingsError
        When the voxel size is nowhere.
    """
    beside = job_figures(job.path)
    voxel_size = settings.voxel_size or job.voxel_size or beside.voxel_size
    if voxel_size is None:
        raise SettingsError(
            f"Neither {job.path} nor a *_model.star beside it says the voxel size; wanted it in A; "
            "give it with --voxel-size, or in the environment variable of the arguments."
        )
    diameter = settings.particle_diameter or job.particle_diameter or beside.particle_diameter
    return JobFigures(voxel_size, diameter, settings.symmetry or beside.symmetry)


def answer(
    job: ExternalReconstruction,
    denoiser: BlockDenoiser,
    settings: ExternalReconstructionSettings,
) -> ExternalAnswer:
    """Make and write the map that RELION waits for.

    Parameters
    ----------
    job : ExternalReconstruction
    denoiser : BlockDenoiser
        On the device where maps are denoised.
    settings : ExternalReconstructionSettings
    """
    figures = with_figures(job, settings)
    data, weight = read_sums(job)
    maps = maps_of_sums(
        data,
        weight,
        (job.tau2 * job.tau2_fudge).float(),
        box_size=job.box_size,
        padding=job.padding,
        recipe="release" if settings.mode == "release" else "relion",
    )
    del data, weight
    work = _Work(job, denoiser, settings, figures, maps)
    return work.final() if job.purpose == "final" else work.reference()


class _Work:
    """One request with its maps."""

    def __init__(
        self,
        job: ExternalReconstruction,
        denoiser: BlockDenoiser,
        settings: ExternalReconstructionSettings,
        figures: JobFigures,
        maps: ExternalMaps,
    ) -> None:
        self.job, self.settings, self.figures, self.maps = job, settings, figures, maps
        self._denoiser = denoiser
        self.voxel_size = figures.voxel_size or math.nan

    def reference(self) -> ExternalAnswer:
        """Write the denoised map of a half or of a class."""
        is_class = self.job.purpose == "classification"
        before = self.maps.wiener if is_class else self.maps.unfiltered
        made, limit, after = self._denoised(before, is_class=is_class)
        self._write(self.job.result, after, LABEL)
        extra = []
        if self.settings.debug:
            for name, volume in (("denoise_input", before), ("denoise_output", made.volume)):
                extra.append(self._beside(f"_debug_{name}"))
                self._write(extra[-1], volume)
        what = "Wiener map of a class" if is_class else f"half-map {self.job.purpose[-1]}"
        story = f"{what} denoised, {self._reach(limit)}"
        return ExternalAnswer((self.job.result, *extra), story, made.messages)

    def final(self) -> ExternalAnswer:
        """Write the Wiener map as it is, and a denoised copy beside it."""
        self._write(self.job.result, self.maps.wiener)
        made, limit, after = self._denoised(self.maps.unfiltered, is_class=False)
        copy = self._beside("_denoised")
        self._write(copy, after, LABEL)
        story = f"final map not denoised; {copy.name} is, {self._reach(limit)}"
        return ExternalAnswer((self.job.result, copy), story, made.messages)

    def _denoised(
        self, volume: Volume, *, is_class: bool
    ) -> tuple[DenoisedVolume, SpectralLimit, Volume]:
        options = DenoiseOptions(
            mode=self.settings.mode,
            stride=self.settings.denoiser_stride,
            batch_size=self.settings.batch_size,
            particle_diameter=self._diameter_in_box(),
        )
        made = denoise_volume(volume, self.voxel_size, self._denoiser, options)
        made = replace(made, volume=symmetrized(made.volume, self._operators()))
        limit = (
            nyquist_limit(made.nyquist_shell)
            if is_class
            else spectral_limit(
                self.job.fsc.float(),
                made.nyquist_shell,
                trailing=self.settings.spectral_trailing,
            )
        )
        return made, limit, limited(made.volume, self.maps.wiener, limit)

    def _diameter_in_box(self) -> float | None:
        """Return the diameter if there is one and it fits; else the sphere of the box is taken."""
        diameter = self.figures.particle_diameter
        edge = self.job.box_size * self.voxel_size
        return None if diameter is None or diameter >= edge else diameter

    def _operators(self) -> Tensor:
        """Return the point group; that of a body is not that of the whole."""
        symmetry = self.figures.symmetry
        if symmetry is None or "_body" in self.job.path.name:
            return torch.eye(3, dtype=torch.float64)[None]
        return symmetry_operators(symmetry)

    def _reach(self, limit: SpectralLimit) -> str:
        if limit.shell is None:
            return "not cut off (unsafe)"
        reach = shell_to_resolution(limit.shell, self.job.box_size, self.voxel_size)
        beyond = "Wiener map" if limit.is_filled else "nothing"
        return f"{beyond} beyond shell {limit.shell} ({reach:.1f} A)"

    def _beside(self, suffix: str) -> Path:
        return self.job.result.with_name(self.job.result.stem + suffix + ".mrc")

    def _write(self, path: Path, volume: Volume, label: str = "") -> None:
        write_map(path, volume, self.voxel_size, label=label)
