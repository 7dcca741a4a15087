"""The life of a run beyond one sitting: opened again, followed, continued, branched, twinned."""

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import BlushError
from napari_blush.io.mrc import MapFile, read_map
from napari_blush.io.run_settings import SETTINGS_NAME, read_source, settings_at
from napari_blush.io.whole_iterations import whole_iterations
from napari_blush.plugin.job_description import JobDescription
from napari_blush.plugin.layer_looks import TAG
from napari_blush.plugin.loading import run_in_background
from napari_blush.plugin.run_phase import RunPhase, is_busy
from napari_blush.refine.going_on import FIXED_IN_A_BRANCH
from napari_blush.refine.kept_run import RunReopened
from napari_blush.refine.reopening import reopened
from napari_blush.session import RefinementSession, RunStatus

_FINAL = "run_class001.mrc"
_OTHER = {"blush": "smoothness"}
_UNFINISHED = (RunPhase.CANCELLED, RunPhase.FAILED)


class RunLife:
    """Joins the offers of a dock to its controller and to run folders.

    Parameters
    ----------
    dock : RefineWidget
    viewer : napari.viewer.Viewer
    watches_layers : bool
        Whether a run folder that is dropped on the viewer is opened in this dock.

    Attributes
    ----------
    folder : Path or None
        Of the run that the dock shows.
    branch_from : (Path, int) or None
        Where the run that is entered in the dock goes on from.
    """

    def __init__(self, dock: Any, viewer: Any, *, watches_layers: bool = True) -> None:
        self._dock, self._viewer = dock, viewer
        self._session = dock.controller.session
        self.folder: Path | None = None
        self.branch_from: tuple[Path, int] | None = None
        self._before: RefinementSettings | None = None
        self._beside: RefinementSession | None = None
        offer = dock.offer
        offer.continue_wanted.connect(self.go_on)
        offer.branch_wanted.connect(self.branch)
        offer.twin_wanted.connect(self.twin)
        offer.branch_dropped.connect(self.drop_branch)
        self._slots: dict[str, Callable[..., None]] = {
            "summaries": self.refresh,
            "status": self._at_status,
        }
        for name, slot in self._slots.items():
            self._session.events[name].connect(slot)
        viewer.layers.events.inserted.connect(self._layer_came)
        self._watches_layers = watches_layers
        if watches_layers:
            self._open_what_is_there()

    def end(self) -> None:
        """Hear no more of session and viewer."""
        for name, slot in self._slots.items():
            self._session.events[name].disconnect(slot)
        self._viewer.layers.events.inserted.disconnect(self._layer_came)
        if self._beside is not None:
            self._beside.events.resolution_history.disconnect(self._compare)
            self._session.events.resolution_history.disconnect(self._compare)

    def open(self, folder: Path) -> None:
        """Show a run folder, and fill in the dock with what its run was started with."""
        if is_busy(self._dock.controller.phase) or not (folder / SETTINGS_NAME).is_file():
            return
        try:
            job = job_of(folder)
        except BlushError as error:
            self._dock.say(str(error))
            return
        self.drop_branch()
        self.folder = folder
        self._dock.fill(job)
        self._dock.begin(replace(job, resume=True))  # its layers may be here, and stay in view
        self._dock.controller.open(folder)
        self._show_parent(read_source(folder).branched_from)

    def began(self, job: JobDescription) -> None:
        """Know the folder of a run that was started."""
        self.folder = job.output
        if job.branch_from is not None:
            folder, iteration = job.branch_from
            self._dock.offer.show_origin(f"Went on from iteration {iteration} of {folder.name}.")
            if self._dock.original is None:  # the run of a twin is drawn as it goes on
                self._show_parent(job.branch_from)
        self.refresh()

    def entered(self, job: JobDescription) -> JobDescription:
        """Return the job that is entered, as the branch that it is."""
        if self.branch_from is None:
            return job
        return replace(job, branch_from=self.branch_from, settings_before=self._before)

    def problem(self, job: JobDescription) -> str:
        """Return why a job cannot be started beside the run that is followed."""
        is_followed = self._dock.controller.phase is RunPhase.FOLLOWING
        if is_followed and job.output == self.folder:
            return "Another process writes to this run folder; branch from it, or choose another."
        return ""

    def go_on(self) -> None:
        """Continue the run that is shown."""
        if self.folder is None:
            return
        try:
            job = replace(job_of(self.folder), resume=True)
        except BlushError as error:
            self._dock.say(str(error))
            return
        entered = self._dock.entered_settings()
        if entered is not None:
            # How far, and on what, may have been changed; all else is the run's own.
            may = {"max_iterations", "device", "threads", "memory_limit", "precision"}
            update = {name: getattr(entered, name) for name in may}
            job = replace(job, settings=job.settings.model_copy(update=update))
        self.drop_branch()
        self._dock.fill(job)
        self._dock.press("start")

    def branch(self, iteration: int) -> None:
        """Enter a run that goes on from an iteration of the one that is shown."""
        if self.folder is None:
            return
        try:
            job = self._branch_job(iteration)
        except BlushError as error:
            self._dock.say(str(error))
            return
        self.enter_branch(job)

    def enter_branch(self, job: JobDescription) -> None:
        """Fill in the dock with a branch, to be changed and started."""
        self.branch_from, self._before = job.branch_from, job.settings_before
        self._dock.fill(job)
        if job.branch_from is not None:
            folder, iteration = job.branch_from
            self._dock.offer.show_origin(
                f"Goes on from iteration {iteration} of {folder.name}: change settings, then Start."
            )
            self._dock.offer.show()
        self.restrict()
        self._dock.refresh()

    def restrict(self) -> None:
        """Leave alone what a branch has from the run that it comes from."""
        if self.branch_from is not None:
            reason = "A branch has it from the run that it comes from."
            self._dock.form.enable(FIXED_IN_A_BRANCH, False, reason)

    def drop_branch(self) -> None:
        """Begin from the start map after all."""
        if self.branch_from is None:
            return
        self.branch_from = self._before = None
        self._dock.offer.show_origin("")
        self._dock.form.enable(FIXED_IN_A_BRANCH, True)
        self._dock.refresh()

    def twin(self, iteration: int) -> None:
        """Run the other regularizer from the same iteration, in a dock of its own."""
        if self.folder is None:
            return
        try:
            job = self._branch_job(iteration, "twin")
        except BlushError as error:
            self._dock.say(str(error))
            return
        other = other_regularizer(job.settings)
        settings = job.settings.model_copy(update={"regularizer": other})
        self._dock.open_twin(replace(job, settings=settings))
        self._viewer.canvas.grid.enabled = True

    def compare_to(self, session: RefinementSession) -> None:
        """Say from now on how far the run is beside the one of another session."""
        self._beside = session
        for one in (self._session, session):
            one.events.resolution_history.connect(self._compare)

    def _compare(self, *_: Any) -> None:
        """Say both resolutions of the last iteration that both runs have."""
        if self._beside is None or self.branch_from is None:
            return
        here, there = self._session.resolution_history, self._beside.resolution_history
        both = here.keys() & there.keys()
        folder, start = self.branch_from
        if both and max(both) > start:
            last = max(both)
            self._dock.offer.show_origin(
                f"Iteration {last}: {here[last]:.2f} Å here, {there[last]:.2f} Å in {folder.name}; "
                f"one run until iteration {start}."
            )

    def refresh(self, *_: Any) -> None:
        """Offer what can be done with the run that is shown."""
        offer, folder = self._dock.offer, self.folder
        whole = whole_iterations(folder)
        if folder is None or not whole:
            offer.setVisible(self.branch_from is not None)
            return
        phase = self._dock.controller.phase
        settings = self._dock.entered_settings()
        offer.show_run(
            f"{'Over; kept' if is_over(folder) else 'Kept'} in {folder.name} up to iteration "
            f"{whole[-1]}.",
            (whole[0], whole[-1]),
            "smoothness" if settings is None else other_regularizer(settings),
            can_continue=phase in _UNFINISHED,
            busy=is_busy(phase),
        )

    def _branch_job(self, iteration: int, kind: str = "branch") -> JobDescription:
        folder = self.folder or Path()
        settings = settings_at(folder, iteration)
        return replace(
            job_of(folder),
            output=next_branch_folder(folder, kind),
            settings=settings,
            resume=False,
            branch_from=(folder, iteration),
            settings_before=settings,
        )

    def _at_status(self, status: RunStatus) -> None:
        folder = self.folder
        if status is RunStatus.FINISHED and self._session.result is None and folder is not None:
            self._show_final(folder)
        self._dock.later(self.refresh)

    def _show_parent(self, branched_from: tuple[Path, int] | None) -> None:
        """Draw the run that this one branched from beside it, as its folder has it."""
        if branched_from is None or not (branched_from[0] / SETTINGS_NAME).is_file():
            return
        parent, branch = branched_from[0], self.folder

        def steps() -> Generator[None, None, RunReopened]:
            yield
            return reopened(parent)

        def show(kept: RunReopened) -> None:
            if self.folder == branch:
                session = RefinementSession()
                session.apply(kept)
                self._dock.compare_with(parent.name, session)

        run_in_background(steps, show, self._dock.say)

    def _show_final(self, folder: Path) -> None:
        """Show the final map of a run that did not end here."""

        def steps() -> Generator[MapFile, None, None]:
            yield read_map(folder / _FINAL)

        def show(file: MapFile) -> None:
            board = self._dock.board
            if folder == self.folder and board is not None:
                board.show("final", file.volume, file.voxel_size)

        run_in_background(steps, lambda _: None, self._dock.say, show)

    def _layer_came(self, event: Any) -> None:
        folder = event.value.metadata.get(TAG, {}).get("folder")
        if self._watches_layers and folder is not None and Path(folder) != self.folder:
            self._dock.later(lambda: self.open(Path(folder)))

    def _open_what_is_there(self) -> None:
        """Show the run whose maps are in the viewer already."""
        folders = [layer.metadata.get(TAG, {}).get("folder") for layer in self._viewer.layers]
        found = [Path(folder) for folder in folders if folder is not None]
        if found:
            self._dock.later(lambda: self.open(found[-1]))


def job_of(folder: Path) -> JobDescription:
    """Return the run in a folder, with the settings in force; missing files are empty paths.

    A run that has its final map is not to be gone on with.

    Raises
    ------
    RunFolderError
        When its settings cannot be read.
    """
    source = read_source(folder)
    return JobDescription(
        source.particles or Path(),
        source.reference or Path(),
        folder,
        settings_at(folder),
        resume=not is_over(folder),
    )


def is_over(folder: Path) -> bool:
    """Return whether the run in a folder has come to its end."""
    return (folder / _FINAL).is_file()


def next_branch_folder(folder: Path, kind: str) -> Path:
    """Return the first ``run-branch``, ``run-branch2`` … beside a run folder that is not there."""
    path, number = folder.with_name(f"{folder.name}-{kind}"), 1
    while path.exists():
        number += 1
        path = folder.with_name(f"{folder.name}-{kind}{number}")
    return path


def other_regularizer(settings: RefinementSettings) -> str:
    """Return the baseline for a denoised run, and the denoiser for any other."""
    return _OTHER.get(settings.regularizer, "blush")
