"""Shows a session in the Refine dock and in the viewer; loaded once torch is."""

from collections.abc import Callable, Generator
from typing import Any

import torch
from napari.utils.theme import get_theme  # type: ignore[import-untyped]

from napari_blush.data_model.results import RefinementResult
from napari_blush.io.mrc import MapFile, read_map
from napari_blush.plugin.comparison import Comparison
from napari_blush.plugin.fsc_layer import FscLayer
from napari_blush.plugin.job_description import JobDescription
from napari_blush.plugin.layers import LayerBoard, as_array
from napari_blush.plugin.loading import run_in_background
from napari_blush.plugin.plots.panel import PlotsPanel
from napari_blush.plugin.plots_feed import PlotsFeed
from napari_blush.plugin.widgets.steering_panel import FINER, MASK
from napari_blush.refine.changes import AT_THE_START_ONLY
from napari_blush.refine.events import Message, RunStarted
from napari_blush.refine.steering import ChangeMask, ChangeSettings, SampleFiner
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
        self.board: LayerBoard | None = None
        self._forget_board: Callable[[], None] = lambda: None
        self._comparison: Comparison | None = None
        self._curves: FscLayer | None = None
        self._slots: dict[str, Callable[..., None]] = {
            "run": self._started,
            "iteration": self._at_iteration,
            "progress": self._progress,
            "messages": self._messages,
            "fsc_history": self._draw_fsc,
            "resolution_history": self._summarize,
            "result": self._finished,
        }
        for name, slot in self._slots.items():
            session.events[name].connect(slot)
        self.plots = PlotsPanel(dock)
        self.plots.hide()
        dock.plots.addWidget(self.plots)
        self._feed = PlotsFeed(session, self.plots, self.plots.mark_iteration)
        self._use_theme()
        viewer.events.theme.connect(self._use_theme)
        dock.looks.side_by_side.connect(lambda on: self._compare("side_by_side", on))
        dock.looks.raw.connect(lambda on: self._compare("show_raw", on))
        dock.looks.curves_wanted.connect(lambda _: self._draw_fsc())
        dock.looks.contrast_held.connect(lambda on: self._hold_contrast(on))

    def begin(self, job: JobDescription) -> None:
        """Make room for the layers of a new run, and show what it begins with."""
        if self.board is not None and not job.resume:
            self.board.hide()
        self._forget_board()
        self._job, self._n_told = job, 0
        self.board = LayerBoard(self._viewer, job.output.name, self._dock.later)
        self.board.keeps_contrast = self._dock.looks.keep.isChecked()
        self._dock.looks.compare.setChecked(False)
        self._comparison = Comparison(self._viewer, self.board)
        self._curves = FscLayer(self._viewer, job.output.name, self._dock.later)
        self._forget_board = self.board.follow(self._session)
        self._dock.summary.clear()
        self._read_inputs(job, self.board)

    def end(self) -> None:
        """Hear no more of the session."""
        self._forget_board()
        self._feed.end()
        for name, slot in self._slots.items():
            self._session.events[name].disconnect(slot)
        self._viewer.events.theme.disconnect(self._use_theme)

    def propose(self, values: dict[str, Any]) -> None:
        """Ask the run for changes at its next iteration."""
        steering = self._session.steering
        if FINER in values:
            steering.propose(SampleFiner())
        elif MASK in values:
            self._propose_mask()
        else:
            steering.propose(ChangeSettings(values))

    def _propose_mask(self) -> None:
        layer = None if self.board is None else self.board.layer("mask")
        if layer is None:
            self._dock.log.appendPlainText(
                "The run has no mask layer; wanted one; start it with a mask to edit it here."
            )
            return
        self._session.steering.propose(ChangeMask(mask_tensor(layer.data)))

    def _read_inputs(self, job: JobDescription, board: LayerBoard) -> None:
        """Show start map and mask until the run has something newer."""
        paths = {"reference": job.reference, "mask": job.settings.solvent_mask}

        def steps() -> Generator[tuple[str, MapFile], None, None]:
            for role, path in paths.items():
                if path is not None:
                    yield role, read_map(path)

        def show(found: tuple[str, MapFile]) -> None:
            role, file = found
            if board is self.board and board.layer(role) is None:
                board.show(role, file.volume, file.voxel_size)

        # The run itself tells what is wrong with its files.
        run_in_background(steps, lambda _: None, lambda _: None, show)

    def _started(self, run: RunStarted | None) -> None:
        if run is None or self._job is None:
            return
        asked = self._job.settings.device
        why = "as chosen under Device" if asked == "cpu" else "no CUDA device was found"
        self._dock.controls.show_device(run.device, why if run.device == "cpu" else "")

    def _at_iteration(self, iteration: int) -> None:
        if iteration:
            self._dock.steering.iteration_began()

    def _progress(self, progress: StageProgress) -> None:
        session = self._session
        name = "last iteration" if session.is_last else f"iteration {session.iteration}"
        stage = f"{name}: {progress.stage}" if progress.stage and session.iteration else ""
        self._dock.controls.show_progress(stage, progress.fraction)

    def _messages(self, messages: tuple[Message, ...]) -> None:
        for message in messages[self._n_told :]:
            mark = "! " if message.warning else ""
            self._dock.log.appendPlainText(f"{mark}{message.text}")
        self._n_told = len(messages)

    def _summarize(self, history: dict[int, float]) -> None:
        if history:
            last = max(history)
            best = min(history.values())
            self._dock.summary.setText(
                f"Iteration {last}: {history[last]:.1f} Å (best {best:.1f} Å)"
            )

    def _draw_fsc(self, *_: Any) -> None:
        session = self._session
        if session.run is None:
            return
        history = session.fsc_history
        self._dock.looks.setVisible(bool(history))
        # Made only when it is asked for: a first layer of shapes takes its time.
        if history and self._curves is not None and self._dock.looks.curves.isChecked():
            self._curves.show(history, session.run.box_size * session.run.pixel_size)

    def _compare(self, how: str, wanted: bool) -> None:
        if self._comparison is not None:
            getattr(self._comparison, how)(wanted)

    def _hold_contrast(self, held: bool) -> None:
        if self.board is not None:
            self.board.keeps_contrast = held

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


def mask_tensor(values: Any) -> torch.Tensor:
    """Return an edited mask for the run, a copy that later strokes do not reach."""
    return torch.from_numpy(as_array(values))
