"""The first page of the Refine dock: files, settings, and the line for a shell; knows no run."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import SettingsError
from napari_blush.plugin.input_checks import (
    edge_of_map,
    problem_of_diameter,
    problem_of_helix,
)
from napari_blush.plugin.job_description import JobDescription
from napari_blush.plugin.preferences import current_preferences
from napari_blush.plugin.presets import FILAMENT, PRESETS
from napari_blush.plugin.sample_sets import CFTR, SampleSet
from napari_blush.plugin.widgets.command_line import CommandLine
from napari_blush.plugin.widgets.preset_choice import PresetChoice
from napari_blush.plugin.widgets.refinement_inputs import RefinementInputs, next_run_folder
from napari_blush.plugin.widgets.settings_form import SettingsForm

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
_SCREW = (
    ("helical_twist", "helical_rise", "twist in deg"),
    ("helical_rise", "helical_twist", "rise in Å"),
)
"""Fields of which neither goes without the other, and what each is in words."""

REGULARIZERS = ("smoothness", "blush")


class SetUp(QWidget):
    """What a run is begun with.

    Parameters
    ----------
    layers : callable
        Returns the layers of the viewer.
    parent : QWidget, optional

    Attributes
    ----------
    inputs, presets, form, command
        The parts, from the top.
    """

    changed = Signal()
    """A file or a setting was changed."""

    def __init__(self, layers: Callable[[], Iterable[Any]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._edge: float | None = None
        self.inputs = RefinementInputs(layers, self)
        self.presets = PresetChoice(self)
        self.form: SettingsForm[RefinementSettings] = SettingsForm(
            RefinementSettings,
            BASIC,
            left_out=("solvent_mask",),
            choices={"regularizer": REGULARIZERS},
            defaults=RefinementSettings(**current_preferences().settings),
            parent=self,
        )
        self.command = CommandLine(self)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self.inputs, self.presets, self.form, self.command):
            column.addWidget(part)
        self.form.add_check(
            "particle_diameter", lambda diameter: problem_of_diameter(diameter, self._edge)
        )
        for name, other, what in _SCREW:
            self.form.add_check(name, self._screw_check(other, what))
        self.form.restore.clicked.connect(lambda: self.presets.setCurrentIndex(0))
        self.form.value_changed.connect(lambda _: self.changed.emit())
        self.inputs.changed.connect(self._inputs_changed)
        self.inputs.sample_wanted.connect(self.use_sample)
        self.presets.chosen.connect(self.use_preset)

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

    def use_sample(self, sample: SampleSet = CFTR) -> None:
        """Enter a set of the sample data and settings that suit it."""
        fields = self.inputs.fields
        fields["output"].set_value(next_run_folder(Path.home() / "napari-blush"))
        fields["particles"].set_value(sample.particles)
        fields["reference"].set_value(sample.start_map)
        fields["mask"].set_value(sample.mask if sample.uses_mask else None)
        self.form.set_value(self.form.defaults.model_copy(update=sample.settings))

    def use_preset(self, name: str) -> None:
        """Enter the settings of a preset, and leave all others as they are, wrong ones too."""
        _, changes = PRESETS[name]
        self.form.enter(changes)
        if name == FILAMENT:
            self.form.expert.expand(animate=False)

    def let_change(self, allowed: bool, reason: str) -> None:
        """Let files and settings be changed, or say in the settings' help why they cannot be."""
        self.inputs.let_change(allowed)
        self.presets.setEnabled(allowed)
        self.form.enable(self.form.editors, allowed, reason)
        self.form.restore.setEnabled(allowed)

    def _screw_check(self, other: str, what: str) -> Callable[[float | None], str]:
        def problem(value: float | None) -> str:
            is_beside = self.form.editors[other].value() not in (None, "")
            is_filament = self.presets.currentText() == FILAMENT
            return problem_of_helix(value, what, is_wanted=is_beside or is_filament)

        return problem

    def _inputs_changed(self) -> None:
        self._edge = edge_of_map(self.inputs.fields["reference"].value())
        self.form.check_again()
