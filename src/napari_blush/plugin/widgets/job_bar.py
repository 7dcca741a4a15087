"""One job at a time in the background: a bar, *Cancel*, and what there is to say of it."""

from collections.abc import Callable, Generator
from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_blush.plugin.loading import run_in_background
from napari_blush.plugin.widgets.calm_progress_bar import CalmProgressBar
from napari_blush.plugin.worker import StepWorker

_STEPS = 1000


class JobBar(QWidget):
    """Starts a generator, shows how far it is, and lets a person stop it.

    Parameters
    ----------
    in_words : callable
        From what the generator yields to the fraction done and a few words.
    parent : QWidget, optional
    """

    changed = Signal()
    """A job began or is over."""

    def __init__(
        self, in_words: Callable[[Any], tuple[float, str]], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._in_words = in_words
        self._worker: StepWorker | None = None
        self._is_left = self._is_gone = False
        self.bar = CalmProgressBar()
        self.bar.setRange(0, _STEPS)
        self.cancel = QPushButton("Cancel")
        self.state = QLabel()
        self.state.setWordWrap(True)
        line = QHBoxLayout()
        line.addWidget(self.bar, 1)
        line.addWidget(self.cancel)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(line)
        column.addWidget(self.state)
        self.cancel.clicked.connect(lambda: self.press_cancel())
        # A thread may end after the window that started it.
        self.destroyed.connect(lambda *_: setattr(self, "_is_gone", True))
        self._show()

    @property
    def is_busy(self) -> bool:
        """Whether a job is under way, or was cancelled and has not ended yet."""
        return self._worker is not None

    def start(
        self, make: Callable[[], Generator[Any, None, Any]], then: Callable[[Any], None], text: str
    ) -> None:
        """Run a generator in a thread; ``then`` is given its result, unless it was cancelled."""
        self._is_left = False

        def done(result: Any) -> None:
            if not self._is_left and not self._is_gone:
                then(result)

        self.say(text)
        self.bar.setValue(0)
        self.bar.setFormat("")
        self._worker = run_in_background(make, done, self.say, self._step, self._over)
        self._show()

    def press_cancel(self) -> None:
        """Stop at the next step; there will be no result."""
        if self._worker is not None:
            self._is_left = True
            self._worker.quit()
            self.say("Cancelled.")

    def say(self, text: str) -> None:
        """Show a sentence."""
        if self._is_gone:
            return
        self.state.setText(text)
        self.state.setVisible(bool(text))

    def _step(self, progress: Any) -> None:
        if self._is_gone:
            return
        fraction, words = self._in_words(progress)
        self.bar.setValue(round(_STEPS * fraction))
        self.bar.setFormat(words)

    def _over(self) -> None:
        self._worker = None
        if not self._is_gone:
            self._show()

    def _show(self) -> None:
        self.bar.setVisible(self.is_busy)
        self.cancel.setVisible(self.is_busy)
        self.changed.emit()
