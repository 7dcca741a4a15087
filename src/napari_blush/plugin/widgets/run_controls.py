"""Buttons of a run, its progress, and where it computes.

What can be pressed and what is seen are pure functions of where the run stands.
"""

import time
from collections.abc import Callable

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_blush.plugin.run_phase import RunPhase, controls_of, is_busy, words_of
from napari_blush.plugin.widgets.calm_progress_bar import CalmProgressBar
from napari_blush.plugin.widgets.sentence import Sentence
from napari_blush.wording import duration

_BUTTONS = {
    "start": ("Start", "Refine the particles"),
    "pause": ("Pause", "Hold the run after its batch of particles; nothing is lost"),
    "resume": ("Resume", "Go on"),
    "step": ("Step", "Go on to the end of this iteration, and pause there"),
    "finish": ("Finish", "Make the next iteration the last, on all data, and write the maps"),
    "cancel": ("Cancel", "End the run now; whole iterations stay in the run folder"),
}
_HOLDING = ("pause", "resume", "step")
_ENDING = ("finish", "cancel")
_BAR_STEPS = 1000
_CALM, _LOUD = "#3f7a4d", "#b3601a"
_FIRST = f"QPushButton:enabled {{ background: {_CALM}; color: white; font-weight: bold; }}"
"""Of the button that all begins with."""


def buttons_in_sight(phase: RunPhase) -> tuple[str, ...]:
    """Return the buttons that mean something now: one to start, or four for what is going on."""
    if not is_busy(phase):
        return ("start",)
    controls = controls_of(phase)
    holding = tuple(name for name in _HOLDING if getattr(controls, name))
    return (*(holding or ("pause", "step")), *_ENDING)


class RunControls(QWidget):
    """The stage in words, a bar with the time left, a row of buttons, and a badge for the device.

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
        self._row = QHBoxLayout()
        for name, (text, help_text) in _BUTTONS.items():
            button = self.buttons[name] = QPushButton(text)
            button.setToolTip(help_text)
            button.clicked.connect(lambda _, name=name: self.pressed.emit(name))
            self._row.addWidget(button, 1)
        self.buttons["start"].setStyleSheet(_FIRST)
        self.state = Sentence()
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
        for widget in (self.state, self.bar):
            layout.addWidget(widget)
        layout.addLayout(self._row)
        place = QHBoxLayout()
        place.addWidget(self.badge, 2)
        place.addWidget(self.memory, 1)
        layout.addLayout(place)
        self.show_phase(RunPhase.IDLE)
        self.show_progress("", 0.0)

    def stand_beside_start(self, button: QWidget) -> None:
        """Take in a button for another way to begin, which stands out as well."""
        button.setStyleSheet(_FIRST)
        self._row.insertWidget(1, button, 1)

    def show_phase(self, phase: RunPhase, *, can_start: bool = True, detail: str = "") -> None:
        """Let those buttons be pressed that do something now, and say where the run stands."""
        controls, in_sight = controls_of(phase, can_start=can_start), buttons_in_sight(phase)
        for name, button in self.buttons.items():
            button.setEnabled(getattr(controls, name))
            button.setVisible(name in in_sight)
        is_ready = can_start or phase is not RunPhase.IDLE
        words = words_of(phase) if is_ready else ""
        between = ". " if words and detail and not words.endswith("…") else " "
        self.state.setText(f"{words}{between}{detail}".strip())
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
