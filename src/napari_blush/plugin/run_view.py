"""Shows a session in the Refine dock and in the viewer; loaded once torch is."""

from collections.abc import Callable, Generator
from typing import Any

import torch
from napari.utils.theme import get_theme  # type: ignore[import-untyped]

from napari_blush.data_model.results import RefinementResult
from napari_blush.denoiser.weights import known_weights
from napari_blush.errors import BlushError, SettingsError
from napari_blush.io.mrc import MapFile, read_map
from napari_blush.numerics.devices import chosen_device
from napari_blush.numerics.point_group import canonical_symbol
from napari_blush.plugin.flip import bind_keys
from napari_blush.plugin.job_description import JobDescription
from napari_blush.plugin.layers import LayerBoard
from napari_blush.plugin.loading import beside_what_is_drawn, run_in_background
from napari_blush.plugin.mask_painting import begin_painting, take_painted
from napari_blush.plugin.plots.panel import PlotsPanel
from napari_blush.plugin.plots_feed import PlotsFeed
from napari_blush.plugin.preferences import current_preferences
from napari_blush.plugin.run_layers import RunLayers
from napari_blush.plugin.widgets.steering_panel import (
    FINER,
    LOCAL,
    MASK,
    NO_MASK,
    OFFSETS,
    PAINT,
)
from napari_blush.refine.changes import AT_THE_START_ONLY, asked_in_words
from napari_blush.refine.events import Message, RunStarted
from napari_blush.refine.steering import (
    ChangeMask,
    ChangeOffsetSearch,
    ChangeSettings,
    SampleFiner,
    SearchLocally,
)
from napari_blush.session import RefinementSession, StageProgress


class RunView:
    """Joins the fields of a session to the parts of the dock.

    Parameters
    ----------
    dock : RefineWidget
    viewer : napari.viewer.Viewer
    session : RefinementSession
    """

    fixed_settings = AT_THE_START_ONLY
    """Settings that a run reads once."""

    def __init__(self, dock: Any, viewer: Any, session: RefinementSession) -> None:
        self._dock, self._viewer, self._session = dock, viewer, session
        self._job: JobDescription | None = None
        self._n_told = 0
        self.layers: RunLayers | None = None
        self._slots: dict[str, Callable[..., None]] = {
            "run": self._started,
            "iteration": self._at_iteration,
            "progress": self._progress,
            "messages": self._messages,
            "fsc_history": self._show_looks,
            "resolution_history": self._summarize,
            "result": self._finished,
        }
        for name, slot in self._slots.items():
            session.events[name].connect(slot)
        self.plots = PlotsPanel(dock)
        self.plots.hide()
        dock.plots.addWidget(self.plots)
        self.plots.said.connect(dock.log.appendPlainText)
        self._feed = PlotsFeed(
            session, self.plots, self.show_iteration, self._limit_trailing, self._map_of
        )
        self._use_theme()
        viewer.events.theme.connect(self._use_theme)
        self._connect_looks()
        bind_keys(viewer)

    @property
    def board(self) -> LayerBoard | None:
        """The maps of the run as layers, None before there was a run."""
        return None if self.layers is None else self.layers.board

    def show_iteration(self, iteration: int | None) -> None:
        """Take layers and curves to an iteration; None, or the latest: go on with the run.

        What the run makes meanwhile is kept, and does not take a person away from there.
        """
        if self.layers is not None:
            self.layers.show_iteration(iteration)

    def compare_with(self, name: str, other: RefinementSession) -> None:
        """Show another run in the plots, beside this one, under a short name."""
        self._feed.compare_with(name, other)

    def begin(self, job: JobDescription) -> None:
        """Make room for the layers of a new run, and show what it begins with."""
        if self.layers is not None:
            self.layers.close()
            if not job.resume:
                self.layers.hide()
        self._feed.stand_alone()
        self._job, self._n_told = job, 0
        looks = self._dock.looks
        looks.compare.setChecked(False)
        looks.show_iteration(None, 0)
        layers = self.layers = RunLayers(
            self._viewer,
            self._session,
            job.output.name,
            job.output,
            symmetry=job.settings.symmetry,
            later=self._dock.later,
            preferences=current_preferences(),
            beside=beside_what_is_drawn,
        )
        layers.hold_contrast(looks.keep.isChecked())
        layers.want_curves(looks.curves.isChecked())
        layers.want_orientations(looks.orientations.isChecked())
        layers.chosen.connect(self._at_choice)
        self._dock.summary.setText("Curves come with the first iteration.")
        self._read_inputs(job, layers.board)

    def show_device(self, asked: str) -> None:
        """Show where a run would compute that asks for this device; nothing where it cannot."""
        try:
            self._show_device(asked, chosen_device(asked, SettingsError).type)
        except SettingsError:
            self._dock.controls.show_device("")

    @staticmethod
    def problem_of_symmetry(text: str) -> str:
        """Return why a text is no point group, as a sentence; empty when it is one."""
        try:
            canonical_symbol(text)
        except SettingsError as error:
            return str(error)
        return ""

    @staticmethod
    def weights_steps() -> Generator[None, None, list[str]]:
        """Return the names of the weights that are here, in a thread: their files are read."""
        yield
        return ["default", *(found.name for found in known_weights() if found.record is not None)]

    def _show_device(self, asked: str, device: str) -> None:
        why = "as chosen under Device" if asked == "cpu" else "no CUDA device was found"
        self._dock.controls.show_device(device, why if device == "cpu" else "")

    def end(self) -> None:
        """Hear no more of the session."""
        if self.layers is not None:
            self.layers.close()
        self._feed.end()
        for name, slot in self._slots.items():
            self._session.events[name].disconnect(slot)
        self._viewer.events.theme.disconnect(self._use_theme)

    def propose(self, values: dict[str, Any]) -> None:
        """Ask the run for changes at its next iteration."""
        steering = self._session.steering
        if FINER in values:
            steering.propose(SampleFiner())
        elif LOCAL in values:
            steering.propose(SearchLocally())
        elif OFFSETS in values:
            steering.propose(ChangeOffsetSearch(values[OFFSETS]))
        elif NO_MASK in values:
            steering.propose(ChangeMask(None))
        elif MASK in values:
            self._propose_mask()
        elif PAINT in values:
            self._paint_mask()
        else:
            steering.propose(ChangeSettings(values))
        self._show_waiting()

    def _show_waiting(self) -> None:
        waiting = [asked_in_words(change) for change in self._session.steering.waiting]
        self._dock.steering.show_waiting(waiting)

    def _limit_trailing(self, resolution: float | None) -> None:
        """Ask for a trailing limit in angstrom at once."""
        self._dock.steering.set_now({"trailing_limit": resolution})

    def _map_of(self, role: str, iteration: int) -> Any:
        return None if self.layers is None else self.layers.store.find(role, iteration)

    def _paint_mask(self) -> None:
        if self.board is None:
            return
        try:
            begin_painting(self._viewer, self.board)
        except BlushError as error:
            self._dock.steering.tell(str(error))
            return
        self._dock.steering.tell("Paint with the brush, erase with the eraser; then Use mask.")

    def _propose_mask(self) -> None:
        values = None if self.board is None else take_painted(self._viewer, self.board)
        if values is None:
            self._dock.steering.tell(
                "The run has no mask; wanted one to use; press Paint mask to make it."
            )
            return
        self._dock.steering.tell("")
        self._session.steering.propose(ChangeMask(torch.from_numpy(values)))

    def _read_inputs(self, job: JobDescription, board: LayerBoard) -> None:
        """Show start map and mask until the run has something newer."""
        paths = {"reference": job.reference, "mask": job.settings.solvent_mask}

        def steps() -> Generator[tuple[str, MapFile], None, None]:
            for role, path in paths.items():
                if path is not None and path.is_file():
                    yield role, read_map(path)

        def show(found: tuple[str, MapFile]) -> None:
            role, file = found
            if board is self.board and not board.has(role):
                board.show(role, file.volume, file.voxel_size)

        # The run itself tells what is wrong with its files.
        run_in_background(steps, lambda _: None, lambda _: None, show)

    def _started(self, run: RunStarted | None) -> None:
        if run is None or self._job is None:
            return
        self._show_device(self._job.settings.device, run.device)

    def _at_iteration(self, _: int) -> None:
        self._show_waiting()
        sampling = self._session.sampling
        if sampling is not None:
            self._dock.steering.show_offset_range(sampling.offset_range_angstrom)

    def _progress(self, progress: StageProgress) -> None:
        session = self._session
        name = "last iteration" if session.is_last else f"iteration {session.iteration}"
        stage = f"{name}: {progress.stage}" if progress.stage and session.iteration else ""
        self._dock.controls.show_progress(stage, progress.fraction)

    def _messages(self, messages: tuple[Message, ...]) -> None:
        for message in messages[self._n_told :]:
            mark = "! " if message.warning else ""
            if message.warning and self._session.iteration:
                self._dock.steering.tell(message.text)  # of a wish that could not be granted
            self._dock.log.appendPlainText(f"{mark}{message.text}")
        self._n_told = len(messages)

    def _summarize(self, history: dict[int, float]) -> None:
        if history:
            last = max(history)
            best = min(history.values())
            self._dock.summary.setText(
                f"Iteration {last}: {history[last]:.1f} Å (best {best:.1f} Å)"
            )

    def _show_looks(self, history: dict[int, Any]) -> None:
        self._dock.looks.setVisible(bool(history))

    def _at_choice(self, pinned: int | None, latest: int) -> None:
        self._dock.looks.show_iteration(pinned, latest)
        self.plots.mark_iteration(pinned)

    def _connect_looks(self) -> None:
        """Hand on what is pressed in the view panel, to the layers of the run that there is."""

        def to_layers(act: Callable[..., None]) -> Callable[..., None]:
            return lambda *values: None if self.layers is None else act(self.layers, *values)

        looks = self._dock.looks
        looks.side_by_side.connect(to_layers(lambda to, on: to.comparison.side_by_side(on)))
        looks.flipped.connect(to_layers(RunLayers.flip_to))
        looks.curves_wanted.connect(to_layers(RunLayers.want_curves))
        looks.orientations_wanted.connect(to_layers(RunLayers.want_orientations))
        looks.contrast_held.connect(to_layers(RunLayers.hold_contrast))
        looks.latest_wanted.connect(to_layers(lambda to: to.show_iteration(None)))

    def _use_theme(self, *_: Any) -> None:
        theme = get_theme(self._viewer.theme)
        self.plots.set_colors(theme.text.as_hex(), theme.background.as_hex())

    def _finished(self, result: RefinementResult | None) -> None:
        if result is None or self._job is None:
            return
        self._dock.summary.setText(
            f"Resolution {result.resolution_angstrom:.2f} Å; {result.reason}. "
            f"Maps are in {self._job.output}."
        )
