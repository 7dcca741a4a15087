"""The files of a refinement: particles, start map, mask and run folder; maps may be layers."""

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QCheckBox, QGridLayout, QLabel, QMenu, QPushButton, QWidget

from napari_blush.plugin.input_checks import (
    problem_of_map,
    problem_of_particles,
    problem_of_run_folder,
)
from napari_blush.plugin.sample_sets import SAMPLES
from napari_blush.plugin.widgets.complaint import Complaint
from napari_blush.plugin.widgets.path_field import PathField, Wanted

MAPS = "Maps (*.mrc *.map *.ccp4)"
_FIELDS = {
    "particles": (
        "Particles",
        "RELION particle STAR file, or CryoSPARC .cs file",
        Wanted.FILE,
        "Particles (*.star *.cs)",
    ),
    "reference": ("Start map", "What the first iteration aligns to", Wanted.FILE, MAPS),
    "mask": (
        "Mask",
        "Soft mask in [0, 1] for references and FSC [Reference mask]; without one it is drawn "
        "automatically",
        Wanted.FILE,
        MAPS,
    ),
    "output": ("Run folder", "Where maps, tables and the run's state go", Wanted.FOLDER, ""),
}
_LAYERS = {"reference": "start_map_of_a_layer.mrc", "mask": "mask_of_a_layer.mrc"}
"""Fields that take layers, and what their files are called in the run folder."""

_CHECKS = {"particles": problem_of_particles, "reference": problem_of_map, "mask": problem_of_map}
_NEEDED = ("particles", "reference", "output")


class RefinementInputs(QWidget):
    """Four paths, whether to go on with the run that is in the folder, and the sample data.

    Parameters
    ----------
    layers : callable
        Returns the layers of the viewer.
    parent : QWidget, optional
    """

    changed = Signal()
    sample_wanted = Signal(object)
    """A ``SampleSet`` was chosen."""

    def __init__(self, layers: Callable[[], Iterable[Any]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._may_change = True
        self.fields: dict[str, PathField] = {}
        self.complaints: dict[str, Complaint] = {}
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        for row, (name, (text, help_text, wanted, pattern)) in enumerate(_FIELDS.items()):
            field = self.fields[name] = PathField(
                wanted,
                pattern,
                layers,
                self,
                check=_CHECKS.get(name, lambda _: ""),
                takes_layers=name in _LAYERS,
            )
            field.setToolTip(help_text)
            field.changed.connect(lambda name=name: self._changed(name))
            label = QLabel(text)
            label.setToolTip(help_text)
            complaint = self.complaints[name] = Complaint()
            grid.addWidget(label, 2 * row, 0)
            grid.addWidget(field, 2 * row, 1)
            grid.addWidget(complaint, 2 * row + 1, 1)
        self.fields["particles"].changed.connect(self._propose_output)
        self.resume = QCheckBox("Go on with the run in the folder")
        self.resume.toggled.connect(lambda _: self._changed("output"))
        self.sample = QPushButton("Use sample data")
        self.sample.setToolTip("Enter simulated particles, their start map and what suits them")
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        for sample in SAMPLES:
            action = menu.addAction(sample.title)
            if action is not None:
                action.setToolTip(sample.help)
                action.triggered.connect(lambda _, one=sample: self.sample_wanted.emit(one))
        self.sample.setMenu(menu)
        grid.addWidget(self.resume, 2 * len(_FIELDS), 0, 1, 2)
        grid.addWidget(self.sample, 2 * len(_FIELDS) + 1, 0, 1, 2)

    def paths(self) -> dict[str, Path | None]:
        """Return what is entered, by name; for a layer the file that it will be written to."""
        paths = {name: field.value() for name, field in self.fields.items()}
        folder = paths["output"]
        if folder is not None:
            paths.update({name: folder / _LAYERS[name] for name in self.layers()})
        return paths

    def layers(self) -> dict[str, Any]:
        """Return the layers that are chosen as they are now, by name of the field."""
        chosen = {name: self.fields[name].layer() for name in _LAYERS}
        return {name: layer for name, layer in chosen.items() if layer is not None}

    def write_layers(self) -> list[str]:
        """Write the chosen layers into the run folder, and say so; nothing where a run is already.

        Raises
        ------
        MrcFileError
            When a layer is no map, or the disk refuses.
        """
        folder = self.fields["output"].value()
        if folder is None or self.problem_of_folder():
            return []
        # Only when a run begins, when the tensor library is there.
        writer = importlib.import_module("napari_blush.plugin.writer")
        said = []
        for name, layer in self.layers().items():
            folder.mkdir(parents=True, exist_ok=True)
            target = folder / _LAYERS[name]
            data = layer.data > 0 if type(layer).__name__ == "Labels" else layer.data
            facts = {part: getattr(layer, part) for part in ("name", "scale", "translate", "units")}
            writer.write_layer(str(target), data, facts)
            said.append(f"{_FIELDS[name][0]}: layer {layer.name} was written to {target}.")
        return said

    def problem(self) -> str:
        """Return the first thing that is missing or wrong, as a sentence; empty when nothing is."""
        for name in _NEEDED:
            if self.fields[name].value() is None and self.fields[name].layer() is None:
                return f"{_FIELDS[name][0]}: nothing is chosen yet."
        problems = (
            f"{_FIELDS[name][0]}: {field.problem()}"
            for name, field in self.fields.items()
            if field.problem()
        )
        return next(problems, "")

    def problem_of_folder(self) -> str:
        """Return why no run can begin in the folder; the one that is going on is at home there."""
        if not self._may_change:
            return ""
        folder = self.fields["output"].value()
        return problem_of_run_folder(folder, goes_on=self.resume.isChecked())

    def let_change(self, allowed: bool) -> None:
        """Let the files be changed, or not: those of a run that is going on are not judged."""
        self._may_change = allowed
        self.setEnabled(allowed)
        self.complaints["output"].say(self._problem_of("output"))

    def _problem_of(self, name: str) -> str:
        return self.fields[name].problem() or (self.problem_of_folder() if name == "output" else "")

    def _changed(self, name: str) -> None:
        self.complaints[name].say(self._problem_of(name))
        self.changed.emit()

    def _propose_output(self) -> None:
        particles = self.fields["particles"].value()
        if particles is not None and particles.is_file() and not self.fields["output"].value():
            self.fields["output"].set_value(next_run_folder(particles.parent))


def next_run_folder(beside: Path) -> Path:
    """Return the first ``blush_run001``, ``blush_run002`` … that is not there."""
    number = 1
    while (beside / f"blush_run{number:03d}").exists():
        number += 1
    return beside / f"blush_run{number:03d}"
