"""A generator in a thread of its own, its values and its end told on the main thread.

Three rules, each with a reason:

1. An error of any kind is *told*. The toolkit's own generator worker drops every ``RuntimeError``,
   and the tensor library raises little else.
2. The generator is closed when it is left, in the thread that ran it: what it holds is freed there
   and then, not when the last reference happens to go.
3. Values and ends arrive on the thread that made the worker, which is the one that draws.
"""

import logging
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]
from superqt.utils import WorkerBase

from napari_blush.errors import BlushError
from napari_blush.wording import in_words

log = logging.getLogger(__name__)


class StepSignals(QObject):
    """What a worker says; delivered on the thread that made it."""

    started = Signal()
    yielded = Signal(object)
    returned = Signal(object)
    failed = Signal(str)
    errored = Signal(object)
    warned = Signal(tuple)
    finished = Signal()
    _finished = Signal(object)


class StepWorker(WorkerBase):  # type: ignore[type-arg]
    """Runs the generator that ``make`` returns, in a thread of the pool.

    Signals: ``yielded(value)``, then either ``returned(value)`` or ``failed(sentence)``, none of
    the two when it was told to quit; ``finished()`` in every case.

    Parameters
    ----------
    make : callable returning a generator
        Called in the thread, so that it may import and read there.
    on_quit : callable, optional
        Called when the worker is told to quit, to wake a generator that waits.
    """

    def __init__(
        self,
        make: Callable[[], Generator[Any, None, Any]],
        on_quit: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(SignalsClass=StepSignals)  # type: ignore[arg-type]
        self._make = make
        self._on_quit = on_quit

    def quit(self) -> None:
        """End at the next value; napari asks for this when it closes."""
        super().quit()
        self._on_quit()

    def work(self) -> None:
        """Drive the generator; every error becomes a sentence."""
        try:
            self._drive()
        except (BlushError, OSError) as error:
            self.failed.emit(in_words(error))
        except Exception as error:
            log.exception("A background job failed")
            self.failed.emit(in_words(error))
        super().quit()  # all is said: the base class must not return None once more

    def _drive(self) -> None:
        with closing(self._make()) as steps:
            while not self.abort_requested:
                try:
                    step = next(steps)
                except StopIteration as finished:
                    self.returned.emit(finished.value)
                    return
                self.yielded.emit(step)
