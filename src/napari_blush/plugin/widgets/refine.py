"""The dock that runs a refinement: files and settings in, maps out, steered meanwhile."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QCloseEvent, QShowEvent
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import BlushError, SettingsError
from napari_blush.plugin.job_description import JobDescription
from napari_blush.plugin.loading import load_in_background
from napari_blush.plugin.preferences import current_preferences
from napari_blush.plugin.presets import PRESETS
from napari_blush.plugin.run_phase import RunPhase, is_busy
from napari_blush.plugin.sample_sets import CFTR, SampleSet
from napari_blush.plugin.widgets.refinement_inputs import RefinementInputs, next_run_folder
from napari_blush.plugin.widgets.run_controls import RunControls
from napari_blush.plugin.widgets.settings_form import SettingsForm
from napari_blush.plugin.widgets.steering_panel import SteeringPanel
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
_WIDTH = 340
_LINES_KEPT = 300
_ENGINE = ["run_controller", "run_view"]


class RefineWidget(QWidget):
    """The *Refine* dock.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        napari goes by this name.
    make_controller : callable, optional
        Instead of the controller of real runs.
    """

    def __init__(
        self, napari_viewer: Any, make_controller: Callable[[], Any] | None = None
    ) -> None:
        super().__init__()
        self._viewer = viewer = napari_viewer
        self._make_controller = make_controller
        self._phase = RunPhase.LOADING
        self._is_open = True
        self.may_close: Callable[[], bool] = self.ask_to_close
        self._view: Any = None
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
        self.steering = SteeringPanel(self)
        self.looks = ViewPanel(self)
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.log = QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setMaximumBlockCount(_LINES_KEPT)
        self.log.setFixedHeight(64)
        self.log.setToolTip("What the run has said")
        self.plots = QVBoxLayout()
        self.command = QLineEdit()
        self.command.setReadOnly(True)
        self.command.setToolTip("The same run from a shell")
        self._lay_out()
        self._connect()
        self._loader = load_in_background(_ENGINE, self._loaded, self._say)
        self._refresh()

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
        return JobDescription(
            particles, reference, output, settings, self.inputs.resume.isChecked()
        )

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
            self._say(str(error))

    def press(self, button: str) -> None:
        """Do what a button of the run stands for."""
        if button != "start":
            getattr(self.controller, button)()
            return
        try:
            job = self.job()
        except BlushError as error:
            self._say(str(error))
            return
        self.log.clear()
        self._view.begin(job)
        self.steering.begin(job.settings)
        self.controller.start(job)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Watch the window that the dock is in, to be asked before it closes."""
        window = self.window()
        if window is not None and window is not self:
            window.installEventFilter(self)
        super().showEvent(event)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Ask before a window with a run in it closes; end the run when it does."""
        is_closing = event is not None and event.type() == QEvent.Type.Close
        if is_closing and event is not None and watched is self.window() and self._is_open:
            if is_busy(self._phase) and not self.may_close():
                event.ignore()
                return True
            self.shut_down()
        return super().eventFilter(watched, event)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """End the run with the dock; whole iterations stay in its folder."""
        self.shut_down()
        super().closeEvent(event)

    def shut_down(self) -> None:
        """End the run and touch the viewer no more; may be called twice."""
        if not self._is_open:
            return
        self._is_open = False
        self._loader.quit()
        if self.controller is not None:
            self._view.end()
            self.controller.leave()

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
        copy = QPushButton("Copy")
        copy.setToolTip("Copy the command line")
        copy.clicked.connect(lambda: self._copy_command())
        line = QHBoxLayout()
        line.addWidget(self.command)
        line.addWidget(copy)
        column.addWidget(self.inputs)
        column.addWidget(self.controls)
        column.addWidget(self.summary)
        column.addLayout(self.plots)
        column.addWidget(self.looks)
        column.addWidget(self.log)
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
        self.inputs.changed.connect(self._refresh)
        self.inputs.sample_wanted.connect(self.use_sample)
        self.form.value_changed.connect(lambda _: self._refresh())
        self.controls.pressed.connect(self.press)
        self.presets.textActivated.connect(lambda name: self.use_preset(name))
        self.steering.proposed.connect(self._propose)

    def _loaded(self, modules: list[Any]) -> None:
        if not self._is_open:
            return
        engine, view = modules
        self.controller = (self._make_controller or engine.RunController)()
        self._view = view.RunView(self, self._viewer, self.controller.session)
        self.controller.phase_changed.connect(self._at_phase)
        self._at_phase(self.controller.phase)

    def _at_phase(self, phase: RunPhase) -> None:
        self._phase = phase
        busy = is_busy(phase)
        self.inputs.setEnabled(not busy)
        reason = "It can only be set at the start of a run."
        if self._view is not None:
            self.form.enable(self._view.fixed_settings, not busy, reason)
        self.form.restore.setEnabled(not busy)
        self.presets.setEnabled(not busy)
        if not busy:
            self.steering.end()
        self._refresh()

    def _refresh(self) -> None:
        """Show what can be pressed, why not, and the command line."""
        problem = ""
        try:
            job = self.job()
            self.command.setText(job.command)
            self.command.setCursorPosition(0)
        except BlushError as error:
            problem = str(error)
            self.command.clear()
        waiting = problem if not is_busy(self._phase) else ""
        self.controls.show_phase(self._phase, can_start=not problem, detail=waiting)
        if is_busy(self._phase) and not self.form.problems():
            self.steering.show_wanted(self.form.value())

    def _propose(self, values: dict[str, Any]) -> None:
        self._view.propose(values)

    def _copy_command(self) -> None:
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self.command.text())

    def _say(self, text: str) -> None:
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
