"""The dock that runs a refinement: files and settings in, maps out, steered meanwhile."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import BlushError, SettingsError
from napari_blush.plugin.job_description import JobDescription
from napari_blush.plugin.loading import load_in_background
from napari_blush.plugin.memory_in_use import memory_in_words
from napari_blush.plugin.preferences import current_preferences
from napari_blush.plugin.presets import PRESETS
from napari_blush.plugin.run_phase import RunPhase, is_busy
from napari_blush.plugin.sample_sets import CFTR, SampleSet
from napari_blush.plugin.widgets.farewell import Farewell
from napari_blush.plugin.widgets.refinement_inputs import RefinementInputs, next_run_folder
from napari_blush.plugin.widgets.report_button import ReportButton
from napari_blush.plugin.widgets.run_controls import RunControls
from napari_blush.plugin.widgets.run_log import RunLog
from napari_blush.plugin.widgets.run_offer import RunOffer
from napari_blush.plugin.widgets.settings_form import SettingsForm
from napari_blush.plugin.widgets.steering_panel import SteeringPanel
from napari_blush.plugin.widgets.tabbed import Tabbed
from napari_blush.plugin.widgets.view_panel import ViewPanel

BASIC = (
    "particle_diameter",
    "symmetry",
    "initial_low_pass",
    "regularizer",
    "denoiser",
    "spectral_trailing",
    "max_iterations",
    "device",
)
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
        self.twins: list[RefineWidget] = []
        self.controller: Any = None
        self.inputs = RefinementInputs(lambda: list(viewer.layers), self)
        self.form: SettingsForm[RefinementSettings] = SettingsForm(
            RefinementSettings,
            BASIC,
            left_out=("solvent_mask",),
            choices={"regularizer": ("smoothness", "blush")},
            defaults=RefinementSettings(**current_preferences().settings),
            parent=self,
        )
        self.presets = QComboBox()
        self.presets.addItem("Preset…")
        for name, (help_text, _) in PRESETS.items():
            self.presets.addItem(name)
            self.presets.setItemData(
                self.presets.count() - 1, help_text, Qt.ItemDataRole.ToolTipRole
            )
        self.controls = RunControls(self)
        self.offer = RunOffer(self)
        self.steering = SteeringPanel(self)
        self.looks = ViewPanel(self)
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.log = RunLog(self)
        self.report = ReportButton(self.say, self)
        self.plots = QVBoxLayout()
        self.command = QLineEdit()
        self.command.setReadOnly(True)
        self.command.setToolTip("The same run from a shell")
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
        problem = self.inputs.problem()
        if problem:
            raise SettingsError(problem)
        paths = self.inputs.paths()
        settings = self.form.value().model_copy(update={"solvent_mask": paths["mask"]})
        particles, reference, output = paths["particles"], paths["reference"], paths["output"]
        if particles is None or reference is None or output is None:
            raise SettingsError("A file is missing; choose particles, start map and run folder.")
        job = JobDescription(particles, reference, output, settings, self.inputs.resume.isChecked())
        return job if self._life is None else self._life.entered(job)

    def fill(self, job: JobDescription) -> None:
        """Enter the files and settings of a run."""
        fields = self.inputs.fields
        paths = {"particles": job.particles, "reference": job.reference, "output": job.output}
        # The folder first: another one is proposed where there is none.
        for name in ("output", "particles", "reference"):
            fields[name].set_value(paths[name] if paths[name] != Path() else None)
        fields["mask"].set_value(job.settings.solvent_mask)
        self.inputs.resume.setChecked(job.resume)
        self.form.set_value(job.settings)

    def begin(self, job: JobDescription) -> None:
        """Make room for a run."""
        self.log.clear()
        self._view.begin(job)

    def entered_settings(self) -> RefinementSettings | None:
        """Return the settings that are entered, None where something is wrong."""
        return None if self.form.problems() else self.form.value()

    def steer(self, values: dict[str, Any]) -> None:
        """Enter settings, and ask the run that is going on for them."""
        try:
            self.form.set_value(self.form.value().model_copy(update=values))
        except SettingsError as error:
            self.say(str(error))
            return
        self.steering.apply.click()

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

    def use_sample(self, sample: SampleSet = CFTR) -> None:
        """Enter a set of the sample data and settings that suit it."""
        fields = self.inputs.fields
        fields["output"].set_value(next_run_folder(Path.home() / "napari-blush"))
        fields["particles"].set_value(sample.particles)
        fields["reference"].set_value(sample.start_map)
        fields["mask"].set_value(sample.mask if sample.uses_mask else None)
        self.form.set_value(self.form.defaults.model_copy(update=sample.settings))

    def use_preset(self, name: str) -> None:
        """Enter the settings of a preset, and leave all others as they are."""
        _, changes = PRESETS.get(name, ("", {}))
        try:
            self.form.set_value(self.form.value().model_copy(update=changes))
        except SettingsError as error:
            self.say(str(error))

    def press(self, button: str) -> None:
        """Do what a button of the run stands for."""
        if button != "start":
            getattr(self.controller, button)()
            return
        try:
            job = self.job()
            written = self.inputs.write_layers()
        except (BlushError, OSError) as error:
            self.say(str(error))
            return
        self.begin(job)
        for sentence in written:
            self.say(sentence)
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
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(_MARGIN, _MARGIN, _MARGIN, _MARGIN)
        copy = QPushButton("Copy")
        copy.setToolTip("Copy the command line")
        copy.clicked.connect(lambda: self._copy_command())
        line = QHBoxLayout()
        line.addWidget(self.command)
        line.addWidget(copy)
        column.addWidget(self.inputs)
        column.addWidget(self.controls)
        column.addWidget(self.offer)
        column.addWidget(self.summary)
        column.addLayout(self.plots)
        column.addWidget(self.looks)
        column.addWidget(self.log)
        column.addWidget(self.report)
        column.addWidget(self.steering)
        column.addWidget(self.presets)
        column.addWidget(self.form)
        column.addLayout(line)
        column.addStretch()
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setWidget(page)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scroll)
        self.setMinimumWidth(_WIDTH)

    def _connect(self) -> None:
        self.inputs.changed.connect(self.refresh)
        self.inputs.sample_wanted.connect(self.use_sample)
        self.form.value_changed.connect(lambda _: self.refresh())
        self.controls.pressed.connect(self.press)
        self.presets.textActivated.connect(lambda name: self.use_preset(name))
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
        if self.original is not None:
            self._compare(self.original)
        self.controller.phase_changed.connect(self._at_phase)
        self._at_phase(self.controller.phase)
        if self._first_job is not None:
            self._life.enter_branch(self._first_job)
            self.press("start")

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
        self.inputs.setEnabled(not busy)
        reason = "It can only be set at the start of a run."
        if self._view is not None:
            self.form.enable(self._view.fixed_settings, not busy, reason)
            self._life.restrict()
            self._life.refresh()
        self.form.restore.setEnabled(not busy)
        self.presets.setEnabled(not busy)
        if busy:
            self._memory_timer.start()
        else:
            self._memory_timer.stop()
            self.steering.end()
        self.refresh()

    def refresh(self) -> None:
        """Show what can be pressed, why not, and the command line."""
        problem = ""
        try:
            job = self.job()
            self.command.setText(job.command)
            self.command.setCursorPosition(0)
            problem = "" if self._life is None else self._life.problem(job)
        except BlushError as error:
            problem = str(error)
            self.command.clear()
        self.report.set_folder(self.inputs.fields["output"].value())
        waiting = problem if not is_busy(self._phase) else ""
        if self._phase is RunPhase.FAILED:
            # What went wrong is not to be looked for.
            waiting = " ".join([*self.controller.session.last_words, problem])
        self.controls.show_phase(self._phase, can_start=not problem, detail=waiting)
        if is_busy(self._phase) and not self.form.problems():
            self.steering.show_wanted(self.form.value())

    def _show_memory(self) -> None:
        self.controls.show_memory(memory_in_words())

    def _propose(self, values: dict[str, Any]) -> None:
        self._view.propose(values)

    def _copy_command(self) -> None:
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self.command.text())

    def say(self, text: str) -> None:
        """Add a line to what the run has said."""
        self.log.appendPlainText(text)

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
