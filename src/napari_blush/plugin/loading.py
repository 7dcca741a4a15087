"""Brings in, in a thread, what imports the tensor library, so that opening a dock is instant."""

import contextlib
import ctypes
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from types import ModuleType
from typing import Any

from qtpy.QtCore import QTimer

from napari_blush.plugin.worker import StepWorker

Module = ModuleType

_DRAWN_WITHIN_MS = 200
"""An import holds the interpreter by fits and starts, and a dock that is being drawn waits for it:
what is loaded for a dock begins when that is over."""

_TENSOR_LIBRARIES = ("libtorch_cpu.so", "libtorch_cpu.dylib")


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
        map_tensor_library()
        return [importlib.import_module(f"napari_blush.plugin.{name}") for name in names]

    worker = _told(StepWorker(steps), then, failed)
    QTimer.singleShot(_DRAWN_WITHIN_MS, worker.start)
    return worker


def map_tensor_library() -> None:
    """Have the system load the tensor library, so that Python finds it loaded.

    Python loads an extension and all that it needs while every thread waits, a third of a second
    and more for this one; a foreign function is called while they go on. Where that cannot be,
    the import does it all.
    """
    found = None if "torch" in sys.modules else importlib.util.find_spec("torch")
    if found is None or found.origin is None or os.name == "nt":
        return
    paths = [Path(found.origin).parent / "lib" / name for name in _TENSOR_LIBRARIES]
    with contextlib.suppress(AttributeError, OSError):
        load = ctypes.CDLL(None).dlopen
        load.argtypes, load.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
        for path in filter(Path.is_file, paths):
            load(os.fsencode(path), os.RTLD_LAZY)


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
    worker = _told(StepWorker(make), then, failed)
    worker.yielded.connect(step)
    worker.finished.connect(lambda *_: over())
    worker.start()
    return worker


def beside_what_is_drawn(action: Callable[[], Any], then: Callable[[Any], None]) -> None:
    """Run an action in a thread and give what it returns to ``then``, on the main thread.

    For what tells by its result that it failed.
    """

    def steps() -> Generator[None, None, Any]:
        yield
        return action()

    run_in_background(steps, then, lambda _: None)


def _told(
    worker: StepWorker, then: Callable[[Any], None], failed: Callable[[str], None]
) -> StepWorker:
    worker.returned.connect(then)
    worker.failed.connect(failed)
    return worker
