"""The files of a refinement: particles, start map, mask and run folder."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QCheckBox, QGridLayout, QLabel, QMenu, QPushButton, QWidget

from napari_blush.plugin.sample_sets import SAMPLES
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
        self.fields: dict[str, PathField] = {}
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        for row, (name, (text, help_text, wanted, pattern)) in enumerate(_FIELDS.items()):
            field = self.fields[name] = PathField(wanted, pattern, layers, self)
            field.setToolTip(help_text)
            field.changed.connect(self.changed.emit)
            label = QLabel(text)
            label.setToolTip(help_text)
            grid.addWidget(label, row, 0)
            grid.addWidget(field, row, 1)
        self.fields["particles"].changed.connect(self._propose_output)
        self.resume = QCheckBox("Go on with the run in the folder")
        self.resume.toggled.connect(lambda _: self.changed.emit())
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
        grid.addWidget(self.resume, len(_FIELDS), 0, 1, 2)
        grid.addWidget(self.sample, len(_FIELDS) + 1, 0, 1, 2)

    def paths(self) -> dict[str, Path | None]:
        """Return what is entered, by name."""
        return {name: field.value() for name, field in self.fields.items()}

    def problem(self) -> str:
        """Return the first thing that is missing or wrong, as a sentence; empty when nothing is."""
        for name in _NEEDED:
            if self.fields[name].value() is None:
                return f"{_FIELDS[name][0]}: nothing is chosen yet."
        problems = (
            f"{_FIELDS[name][0]}: {field.problem()}"
            for name, field in self.fields.items()
            if field.problem()
        )
        return next(problems, "")

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
