"""A run on disk: maps and tables as RELION names them, settings, history, checkpoints.

Every file is written under a temporary name and renamed. The files of an iteration are::

    run_it003_half1_class001.mrc         what the next iteration aligns to (half2 likewise)
    run_it003_half1_class001_unfil.mrc   unfiltered half-map
    run_it003_half1_class001_denoised.mrc  what a denoiser made of it: to look at, not a result
    run_it003_data.star  run_it003_half1_model.star  run_it003_sampling.star
    run_it003_optimiser.star             written last of what RELION reads
    run_it003_state.safetensors          exact checkpoint: its presence makes the iteration whole

and at the end ``run_class001.mrc``, ``run_half1_class001_unfil.mrc``, ``run_data.star``,
``run_model.star``, ``run_sampling.star``, ``run_optimiser.star`` and ``run_class001_sharpened.mrc``
(a name that RELION does not know).
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from napari_blush.data_model.particles import Particles
from napari_blush.data_model.results import IterationResult, Outcome, RefinementResult
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import MrcFileError, RunFolderError, StarFileError
from napari_blush.io.atomic import reason_of
from napari_blush.io.mrc import write_map
from napari_blush.io.run_failure import forget_failure, write_failure
from napari_blush.io.run_folder_star import (
    RunDescription,
    data_updates,
    model_blocks,
    optimiser_blocks,
    sampling_blocks,
)
from napari_blush.io.run_history import MASK_NAME, append_history
from napari_blush.io.run_lock import RunLock
from napari_blush.io.run_settings import (
    RunSource,
    check_same_run,
    read_source,
    settings_as_begun,
    settings_to_go_on,
    write_settings,
)
from napari_blush.io.run_state import (
    last_whole_iteration,
    remove_states_from,
    save_state,
    state_path,
)
from napari_blush.io.star import write_particles
from napari_blush.io.star_table import StarBlock
from napari_blush.io.star_text import write_star

DENOISED_LABEL = "Denoised: a reference for alignment only, not a result"


class RunWriter:
    """Writes a refinement into a folder of its own, which it holds until ``close``.

    Parameters
    ----------
    folder : path
        Made if need be.
    settings : RefinementSettings
    particles : Particles
    resume : bool
        Go on with the run that the folder holds; otherwise it must hold none.
    source : RunSource, optional
        What the run was started from, to be kept.

    Attributes
    ----------
    messages : tuple of str
        What a person should be told about how the folder was opened.

    Raises
    ------
    RunFolderError
        When the folder is in use, holds another run, or cannot be written to.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: RefinementSettings,
        particles: Particles,
        *,
        resume: bool = False,
        source: RunSource | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._settings = self._in_force = settings
        self._particles = particles
        self._source = RunSource() if source is None else source
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise RunFolderError(
                f"Cannot make run folder {self.folder}: {reason_of(problem)}"
            ) from problem
        self._lock = RunLock(self.folder)
        self.messages: tuple[str, ...] = ()
        if self._lock.taken_over_from:
            self.messages = (
                f"The lock of {self._lock.taken_over_from}, which is no longer running, was taken "
                f"over in {self.folder}.",
            )
        try:
            self._open(resume)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            with contextlib.suppress(RunFolderError):  # the error itself is what is to be told
                write_failure(self.folder, error)
        self.close()

    def close(self) -> None:
        """Give the folder back; may be called twice."""
        self._lock.release()

    def write_regularizer(self, regularizer: str) -> None:
        """Write into the settings what makes the references, weights with their checksum."""
        write_settings(self.folder, self._settings, self._particles, regularizer, self._source)

    def write_iteration(
        self,
        result: IterationResult,
        random_subset: Tensor,
        tensors: Mapping[str, Tensor],
        numbers: Mapping[str, Any] | None = None,
    ) -> None:
        """Write an iteration, its checkpoint last.

        Parameters
        ----------
        result : IterationResult
        random_subset : (particles,) int64
            The half (1, 2) of each particle.
        tensors, numbers
            The state to go on from; see ``run_state.save_state``.

        Raises
        ------
        RunFolderError
            When the disk refuses; what this call had written of the iteration is removed.
        """
        for change in result.changes:
            self._in_force = self._in_force.model_copy(update=dict(change.values))
        run = RunDescription(self._in_force, self._particles, random_subset)
        stem = f"run_it{result.iteration:03d}"
        voxel = result.half_maps.voxel_size
        unfiltered = (result.half_maps.half1, result.half_maps.half2)
        with self._whole_or_nothing() as path:
            # What an earlier attempt left must not vouch for the new files.
            remove_states_from(self.folder, result.iteration)
            (self.folder / "run_optimiser.star").unlink(missing_ok=True)
            for half in (1, 2):
                reference = f"{stem}_half{half}_class001.mrc"
                write_map(path(reference), result.references[half - 1], voxel)
                write_map(
                    path(f"{stem}_half{half}_class001_unfil.mrc"), unfiltered[half - 1], voxel
                )
                if result.denoised_maps is not None:
                    both = (result.denoised_maps.half1, result.denoised_maps.half2)
                    denoised = path(f"{stem}_half{half}_class001_denoised.mrc")
                    write_map(denoised, both[half - 1], voxel, label=DENOISED_LABEL)
                model = model_blocks(run, result, half, str(self.folder / reference))
                write_star(path(f"{stem}_half{half}_model.star"), model)
            models = [f"{stem}_half{half}_model.star" for half in (1, 2)]
            self._write_tables(path, stem, run, result, models, has_converged=False)
            path(state_path(self.folder, result.iteration).name)
            if any(change.mask is not None for change in result.changes):
                path(MASK_NAME.format(result.iteration))
            append_history(self.folder, result)
            save_state(self.folder, result.iteration, tensors, numbers)

    def write_result(self, result: RefinementResult, random_subset: Tensor) -> None:
        """Write the files of a finished run.

        Raises
        ------
        RunFolderError
            When the disk refuses; what this call had written is removed.
        """
        last = result.last_iteration
        run = RunDescription(self._in_force, self._particles, random_subset)
        voxel = result.half_maps.voxel_size
        with self._whole_or_nothing() as path:
            write_map(path("run_class001.mrc"), result.final_map, voxel)
            write_map(path("run_class001_sharpened.mrc"), result.sharpened_map, voxel)
            write_map(path("run_half1_class001_unfil.mrc"), result.half_maps.half1, voxel)
            write_map(path("run_half2_class001_unfil.mrc"), result.half_maps.half2, voxel)
            model = model_blocks(run, last, None, str(self.folder / "run_class001.mrc"))
            write_star(path("run_model.star"), model)
            converged = result.outcome is Outcome.CONVERGED
            self._write_tables(path, "run", run, last, ["run_model.star"], has_converged=converged)

    def _open(self, resume: bool) -> None:
        last = last_whole_iteration(self.folder)
        if not resume and any(self.folder.glob("run_*")):
            raise RunFolderError(
                f"Run folder {self.folder} holds a run already; wanted an empty one; choose "
                "another folder, or resume that run."
            )
        if resume and last is not None:
            check_same_run(self.folder, self._settings, self._particles)
            parent = read_source(self.folder).branched_from
            self._source = replace(self._source, branched_from=parent)
            self._in_force = settings_to_go_on(self.folder, self._settings)
            self._settings = settings_as_begun(self.folder, self._settings)
        forget_failure(self.folder)
        write_settings(self.folder, self._settings, self._particles, source=self._source)

    def _write_tables(
        self,
        path: Callable[[str], Path],
        stem: str,
        run: RunDescription,
        result: IterationResult,
        models: Sequence[str],
        *,
        has_converged: bool,
    ) -> None:
        data, sampling = f"{stem}_data.star", f"{stem}_sampling.star"
        write_particles(path(data), self._particles, self._columns(run, result))
        write_star(path(sampling), sampling_blocks(run, result))
        names = {
            "rlnOutputRootName": str(self.folder / "run"),
            "rlnModelStarFile": str(self.folder / models[0]),
            "rlnModelStarFile2": str(self.folder / models[1]) if len(models) > 1 else "None",
            "rlnExperimentalDataStarFile": str(self.folder / data),
            "rlnOrientSamplingStarFile": str(self.folder / sampling),
        }
        blocks: list[StarBlock] = optimiser_blocks(run, result, names, has_converged=has_converged)
        write_star(path(f"{stem}_optimiser.star"), blocks)

    def _columns(self, run: RunDescription, result: IterationResult) -> dict[str, Any]:
        columns: dict[str, Any] = dict(data_updates(run, result))
        if "rlnImageName" not in self._particles.columns:
            # Images that were never in a file still need a name each.
            columns["rlnImageName"] = [f"{i + 1:06d}@memory" for i in range(len(self._particles))]
        return columns

    @contextlib.contextmanager
    def _whole_or_nothing(self) -> Iterator[Callable[[str], Path]]:
        """Yield a function from a name to its path; remove these files when the block fails."""
        written: list[Path] = []

        def path(name: str) -> Path:
            written.append(self.folder / name)
            return written[-1]

        try:
            yield path
        except BaseException as problem:
            for file in written:
                with contextlib.suppress(OSError):
                    file.unlink(missing_ok=True)
            if isinstance(problem, MrcFileError | StarFileError):
                raise RunFolderError(str(problem)) from problem
            raise


def is_finished(folder: str | Path) -> bool:
    """Return whether a run folder holds the final files of a run."""
    return (Path(folder) / "run_optimiser.star").is_file()
