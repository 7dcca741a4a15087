"""Brings in, in a thread, what imports the tensor library, so that opening a dock is instant."""

import importlib
from collections.abc import Callable, Generator
from types import ModuleType
from typing import Any

from napari_blush.plugin.worker import StepWorker

Module = ModuleType


def load_in_background(
    names: list[str], then: Callable[[list[Module]], None], failed: Callable[[str], None]
) -> StepWorker:
    """Import modules in a thread; tell on the main thread when they are there.

    Parameters
    ----------
    names : list of str
        Modules of ``napari_blush.plugin``, without that prefix.
    then : callable
        Given the modules, in order.
    failed : callable
        Given a sentence.

    Returns
    -------
    StepWorker
        Started; keep it as long as you want to hear of it.
    """

    def steps() -> Generator[None, None, list[Module]]:
        yield
        return [importlib.import_module(f"napari_blush.plugin.{name}") for name in names]

    return run_in_background(steps, then, failed)


def run_in_background(
    make: Callable[[], Generator[Any, None, Any]],
    then: Callable[[Any], None],
    failed: Callable[[str], None],
    step: Callable[[Any], None] = lambda _: None,
    over: Callable[[], None] = lambda: None,
) -> StepWorker:
    """Start a generator in a thread, with all that is told of it connected before.

    ``over`` is called at the end in every case, after ``then`` or ``failed``.
    """
    worker = StepWorker(make)
    worker.yielded.connect(step)
    worker.returned.connect(then)
    worker.failed.connect(failed)
    worker.finished.connect(lambda *_: over())
    worker.start()
    return worker
