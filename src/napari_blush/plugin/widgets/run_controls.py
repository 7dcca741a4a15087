"""Buttons of a run, its progress, and where it computes; what can be pressed is a pure function."""

import time
from collections.abc import Callable

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_blush.plugin.run_phase import RunPhase, controls_of, is_busy, words_of
from napari_blush.plugin.widgets.calm_progress_bar import CalmProgressBar
from napari_blush.wording import duration

_BUTTONS = {
    "start": ("Start", "Refine the particles"),
    "pause": ("Pause", "Hold the run after its batch of particles; nothing is lost"),
    "resume": ("Resume", "Go on"),
    "step": ("Step", "Go on to the end of this iteration, and pause there"),
    "finish": ("Finish", "Make the next iteration the last, on all data, and write the maps"),
    "cancel": ("Cancel", "End the run now; whole iterations stay in the run folder"),
}
_PER_ROW = 3
_BAR_STEPS = 1000
_CALM, _LOUD = "#4c8a5b", "#c2762a"


class RunControls(QWidget):
    """Six buttons, the stage in words, a bar with the time left, and a badge for the device.

    Parameters
    ----------
    parent : QWidget, optional
    clock : callable returning float
        Seconds of a steady clock.
    """

    pressed = Signal(str)
    """A button was pressed: ``start``, ``pause``, ``resume``, ``step``, ``finish``, ``cancel``."""

    def __init__(
        self, parent: QWidget | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(parent)
        self._clock = clock
        self._stage, self._began = "", 0.0
        self.buttons: dict[str, QPushButton] = {}
        grid = QGridLayout()
        for index, (name, (text, help_text)) in enumerate(_BUTTONS.items()):
            button = self.buttons[name] = QPushButton(text)
            button.setToolTip(help_text)
            button.clicked.connect(lambda _, name=name: self.pressed.emit(name))
            grid.addWidget(button, *divmod(index, _PER_ROW))
        self.state = QLabel()
        self.state.setWordWrap(True)
        self.bar = CalmProgressBar()
        self.bar.setRange(0, _BAR_STEPS)
        self.badge = QLabel()
        self.badge.setWordWrap(True)
        self.badge.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.badge.hide()
        self.memory = QLabel()
        self.memory.setWordWrap(True)
        self.memory.setToolTip("Memory of napari with all that runs in it")
        self.memory.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(grid)
        for widget in (self.state, self.bar):
            layout.addWidget(widget)
        place = QHBoxLayout()
        place.addWidget(self.badge, 2)
        place.addWidget(self.memory, 1)
        layout.addLayout(place)
        self.show_phase(RunPhase.IDLE)
        self.show_progress("", 0.0)

    def show_phase(self, phase: RunPhase, *, can_start: bool = True, detail: str = "") -> None:
        """Let those buttons be pressed that do something now, and say where the run stands."""
        controls = controls_of(phase, can_start=can_start)
        for name, button in self.buttons.items():
            button.setEnabled(getattr(controls, name))
        self.state.setText(f"{words_of(phase)}. {detail}" if detail else words_of(phase))
        self.bar.setVisible(is_busy(phase))

    def show_progress(self, stage: str, fraction: float) -> None:
        """Show a stage and which part of it is done; the time left is that of the stage."""
        if stage != self._stage or fraction <= 0:
            self._stage, self._began = stage, self._clock()
        self.bar.setValue(round(_BAR_STEPS * fraction))
        left = ""
        if 0 < fraction < 1 and self._clock() > self._began:
            seconds = (self._clock() - self._began) * (1 - fraction) / fraction
            left = f", {duration(seconds)} left"
        self.bar.setFormat(f"{stage} {100 * fraction:.0f} %{left}" if stage else "")

    def show_device(self, device: str, why: str = "") -> None:
        """Show where the run computes; loudly, with the reason, when that is the CPU."""
        is_cpu = device == "cpu"
        text = "On the CPU, which is slow" if is_cpu else f"On {device}"
        self.badge.setText(f"{text}: {why}" if why else text)
        color = _LOUD if is_cpu else _CALM
        self.badge.setStyleSheet(
            f"background: {color}; color: white; border-radius: 4px; padding: 3px;"
        )
        self.badge.setVisible(bool(device))

    def show_memory(self, words: str) -> None:
        """Show how much memory is in use; nothing hides it."""
        self.memory.setText(words)
        self.memory.setVisible(bool(words))
