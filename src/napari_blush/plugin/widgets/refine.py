"""The dock that runs a refinement: files and settings in, maps out, steered meanwhile."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QMessageBox,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import BlushError, SettingsError
from napari_blush.plugin.input_checks import problem_of_weights
from napari_blush.plugin.job_description import JobDescription
from napari_blush.plugin.loading import load_in_background, run_in_background
from napari_blush.plugin.memory_in_use import memory_in_words
from napari_blush.plugin.run_phase import RunPhase, is_busy
from napari_blush.plugin.widgets.farewell import Farewell
from napari_blush.plugin.widgets.pages import Pages
from napari_blush.plugin.widgets.report_button import ReportButton
from napari_blush.plugin.widgets.run_controls import RunControls
from napari_blush.plugin.widgets.run_log import RunLog
from napari_blush.plugin.widgets.run_offer import RunOffer
from napari_blush.plugin.widgets.sentence import Sentence
from napari_blush.plugin.widgets.set_up import REGULARIZERS, SetUp
from napari_blush.plugin.widgets.steering_panel import SteeringPanel
from napari_blush.plugin.widgets.tabbed import Tabbed
from napari_blush.plugin.widgets.view_panel import ViewPanel

SET_UP, WATCH, STEER = "Set up", "Watch", "Steer"
"""Titles of the pages, in the order in which they are needed."""

_WEIGHTS = "Weights (*.safetensors *.ckpt *.ckpt.gz)"
_NO_RUN = "There is no run yet: fill in the first page and press Start."
_NOTHING_GOES_ON = (
    "No run is going on. One that is kept can be gone on with in another way, from any of its "
    "iterations:"
)
_AFTER_A_RUN = {
    RunPhase.FINISHED: "For another run choose another folder.",
    RunPhase.CANCELLED: "For another run choose another folder.",
    RunPhase.FAILED: "",
}
"""What is said of a folder that holds the run which has just been seen."""

_WIDTH = 352
_MARGIN = 5
_ENGINE = ["run_controller", "run_view", "run_life"]
_MEMORY_MILLISECONDS = 2000


class RefineWidget(QWidget):
    """The *Refine* dock.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        napari goes by this name.
    make_controller : callable, optional
        Instead of the controller of real runs.
    first_job : JobDescription, optional
        A run to start as soon as can be: the dock is that of a twin.
    """

    original: "RefineWidget | None" = None
    """The dock whose run this one's is a twin of."""

    def __init__(
        self,
        napari_viewer: Any,
        make_controller: Callable[[], Any] | None = None,
        first_job: JobDescription | None = None,
    ) -> None:
        super().__init__()
        self._viewer = viewer = napari_viewer
        self._make_controller = make_controller
        self._phase = RunPhase.LOADING
        self._is_open = True
        self.may_close: Callable[[], bool] = self.ask_to_close
        self._view: Any = None
        self._life: Any = None
        self._first_job = first_job
        self._to_take_up: Path | None = None
        self.twins: list[RefineWidget] = []
        self.controller: Any = None
        self.set_up = SetUp(lambda: list(viewer.layers), self)
        self.inputs, self.form = self.set_up.inputs, self.set_up.form
        self.controls = RunControls(self)
        self.offer = RunOffer(self)
        self.steering = SteeringPanel(REGULARIZERS, self)
        self.at_rest = Sentence(_NOTHING_GOES_ON)
        self.looks = ViewPanel(self)
        self.summary = Sentence()
        self.log = RunLog(self)
        self.report = ReportButton(self.say, self)
        self.plots = QVBoxLayout()
        self.pages = Pages(self)
        self._said = ""
        self._memory_timer = QTimer(self)
        self._memory_timer.setInterval(_MEMORY_MILLISECONDS)
        self._lay_out()
        self._connect()
        self._tabbed = Tabbed(self)
        self._farewell = Farewell(self, self._may_be_closed, self.shut_down, self._gone)
        self._loader = load_in_background(_ENGINE, self._loaded, self.say)
        self.refresh()

    def job(self) -> JobDescription:
        """Return what is entered.

        Raises
        ------
        SettingsError
            When something is missing or wrong.
        """
        job = self.set_up.job()
        return job if self._life is None else self._life.entered(job)

    def fill(self, job: JobDescription) -> None:
        """Enter the files and settings of a run."""
        self.set_up.fill(job)

    def begin(self, job: JobDescription) -> None:
        """Make room for a run."""
        self.log.clear()
        self._said = ""
        self._view.begin(job)
        self.pages.turn_to(WATCH)

    def entered_settings(self) -> RefinementSettings | None:
        """Return the settings that are entered, or asked of the run; None where one is wrong."""
        form = self.steering.form if is_busy(self._phase) else self.form
        return None if form.problems() else form.value()

    def steer(self, values: dict[str, Any]) -> None:
        """Enter settings, and ask the run that is going on for them."""
        self.steering.form.enter(values)
        self.steering.apply.click()

    def take_up(self, folder: Path) -> None:
        """Show the run of a folder, and follow it; as soon as all is loaded."""
        if self._life is None:
            self._to_take_up = folder
        elif is_busy(self._phase):
            self.log.appendPlainText(f"{folder} was not opened: a run is going on in this dock.")
        else:
            self._life.open(folder)

    def open_twin(self, job: JobDescription) -> None:
        """Start a run in a dock of its own, beside this one."""
        twin = RefineWidget(self._viewer, self._make_controller, job)
        twin.original = self
        self.twins.append(twin)
        name = f"Refine {job.output.name}"
        self._viewer.window.add_dock_widget(twin, name=name, area="right", tabify=True)

    @property
    def board(self) -> Any:
        """The layers of the run that is shown, None before there is one."""
        return None if self._view is None else self._view.board

    def press(self, button: str) -> None:
        """Do what a button of the run stands for."""
        if button != "start":
            getattr(self.controller, button)()
            return
        try:
            job = self.job()
            problem = self._problem_of_beginning(job)
            if problem:
                raise SettingsError(problem)
            written = self.inputs.write_layers()
        except (BlushError, OSError) as error:
            self.say(str(error))
            return
        self.begin(job)
        for sentence in written:
            self.log.appendPlainText(sentence)
        self.steering.begin(job.settings)
        self.controller.start(job)
        self._life.began(job)

    def shut_down(self) -> None:
        """End the run and touch the viewer no more; may be called twice."""
        if self._is_open:
            self._loader.quit()
            self._memory_timer.stop()
            self._gone()

    def _gone(self) -> None:
        """End the run, without a look at any widget: they may be gone."""
        was_open, self._is_open = self._is_open, False
        if was_open and self.controller is not None:
            self.controller.phase_changed.disconnect(self._at_phase, missing_ok=True)
            self._life.end()
            self._view.end()
            self.controller.leave()

    def _may_be_closed(self) -> bool:
        return not (self._is_open and is_busy(self._phase)) or self.may_close()

    def ask_to_close(self) -> bool:
        """Return whether the person agrees to end the run."""
        answer = QMessageBox.question(
            self,
            "A refinement is running",
            "Close napari and end the refinement? Whole iterations are kept in its run folder, and "
            "it can be continued from there.",
        )
        return answer == QMessageBox.StandardButton.Yes

    def _lay_out(self) -> None:
        self.pages.add(SET_UP, self.set_up)
        self.pages.add(WATCH, self.summary, self.plots, self.looks, self.report, self.log)
        self.pages.add(STEER, self.steering, self.at_rest, self.offer)
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        origin = QHBoxLayout()
        policy = QSizePolicy.Policy  # a long name of a folder is not to widen the dock
        self.offer.origin.setSizePolicy(policy.Ignored, policy.Preferred)
        origin.addWidget(self.offer.origin, 1)
        origin.addWidget(self.offer.drop)
        self.controls.stand_beside_start(self.offer.go_on)
        self.offer.go_on.hide()
        below = QVBoxLayout()
        below.setContentsMargins(_MARGIN, 0, _MARGIN, _MARGIN)
        below.addWidget(line)
        below.addLayout(origin)
        below.addWidget(self.steering.state)
        below.addWidget(self.controls)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, _MARGIN, 0, 0)  # the title of a dock covers its first pixels
        layout.setSpacing(2)
        layout.addWidget(self.pages, 1)
        layout.addLayout(below)
        self.setMinimumWidth(_WIDTH)

    def _connect(self) -> None:
        self.set_up.changed.connect(self._changed)
        self.controls.pressed.connect(self.press)
        self.offer.branch_wanted.connect(lambda _: self.pages.turn_to(SET_UP))
        self.steering.proposed.connect(self._propose)
        self._memory_timer.timeout.connect(self._show_memory)

    def _loaded(self, modules: list[Any]) -> None:
        if not self._is_open:
            return
        engine, view, life = modules
        self.controller = (self._make_controller or engine.RunController)()
        self._view = view.RunView(self, self._viewer, self.controller.session)
        is_twin = self._first_job is not None
        self._life = life.RunLife(self, self._viewer, watches_layers=not is_twin)
        self.controller.phase_changed.connect(self._at_phase)
        self.form.add_check("symmetry", view.RunView.problem_of_symmetry)
        self._weights = run_in_background(
            view.RunView.weights_steps, self._offer_weights, lambda _: None
        )
        self._memory_timer.start()
        self._at_phase(self.controller.phase)
        if self._first_job is not None:
            self._life.enter_branch(self._first_job)
            self.press("start")
            if self.original is not None:
                self._compare(self.original)
        elif self._to_take_up is not None:
            self.take_up(self._to_take_up)

    def _offer_weights(self, names: list[str]) -> None:
        if self._is_open:
            for form in (self.form, self.steering.form):
                form.editors["denoiser"].offer(names, _WEIGHTS)
                form.add_check("denoiser", partial(problem_of_weights, names=names))

    def _changed(self) -> None:
        self._said = ""
        self.refresh()

    def _compare(self, original: "RefineWidget") -> None:
        """Show the run that this one is a twin of in its plots, and the other way round."""
        self._view.compare_with("first run", original.controller.session)
        original.compare_with("twin", self.controller.session)
        self._life.compare_to(original.controller.session)

    def compare_with(self, name: str, other: Any) -> None:
        """Show the run of another session in the plots of this one, under a short name."""
        self._view.compare_with(name, other)

    def _at_phase(self, phase: RunPhase) -> None:
        self._phase = phase
        busy = is_busy(phase)
        self.set_up.let_change(not busy, "It is changed on the page Steer now.")
        self.offer.drop.setEnabled(not busy)
        self.at_rest.setHidden(busy)
        if self._view is not None:
            reason = "It can only be set at the start of a run."
            self.form.enable(self._view.fixed_settings, not busy, reason)
            self._life.restrict()
            self._life.refresh()
        if busy:
            self.offer.go_on.hide()
        else:
            self.steering.end()
        self.refresh()

    def refresh(self) -> None:
        """Show what can be pressed, why not, and the command line."""
        problem, busy = "", is_busy(self._phase)
        try:
            job = self.job()
            self.set_up.command.set_text(job.command)
            problem = self._problem_of_beginning(job)
        except BlushError as error:
            problem = str(error)
            self.set_up.command.set_text("")
        self.report.set_folder(self.inputs.fields["output"].value())
        has_run = busy or (self._life is not None and self._life.folder is not None)
        for title in (WATCH, STEER):
            self.pages.open(title, has_run, _NO_RUN)
        waiting = "" if busy else problem or self._said
        if problem and problem == self.inputs.problem_of_folder():
            waiting = _AFTER_A_RUN.get(self._phase, problem)
        if self._phase is RunPhase.FAILED:
            # What went wrong is not to be looked for.
            waiting = " ".join([*self.controller.session.last_words, waiting]).strip()
        self.controls.show_phase(self._phase, can_start=not problem, detail=waiting)
        if self._view is not None and not busy:
            self._view.show_device(self.form.editors["device"].value())

    def _problem_of_beginning(self, job: JobDescription) -> str:
        """Return why a run that is entered without a fault cannot begin here."""
        followed = "" if self._life is None else self._life.problem(job)
        return followed or self.inputs.problem_of_folder()

    def _show_memory(self) -> None:
        self.controls.show_memory(memory_in_words())

    def _propose(self, values: dict[str, Any]) -> None:
        self._view.propose(values)

    def say(self, text: str) -> None:
        """Add a line to what the run has said; between runs it is also said beside *Start*."""
        self.log.appendPlainText(text)
        self._said = text
        self.refresh()

    def later(self, action: Callable[[], None]) -> None:
        """Run an action in a later turn of the event loop: layers are added there."""
        QTimer.singleShot(0, partial(self._in_its_turn, action))

    def _in_its_turn(self, action: Callable[[], None]) -> None:
        if not self._is_open:
            return
        is_first = not len(self._viewer.layers)
        action()
        if is_first:
            self._viewer.dims.ndisplay = 3
            self._viewer.reset_view()
