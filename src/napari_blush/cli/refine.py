"""``napari-blush refine``: a refinement from files to a run folder, followed on the terminal."""

import contextlib
import signal
import threading
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from napari_blush.cli.follow import follow
from napari_blush.cli.particles import particles_of
from napari_blush.cli.report import Report
from napari_blush.data_model.results import Outcome
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.io.mrc import read_map
from napari_blush.io.run_folder import RunWriter, is_finished
from napari_blush.io.run_settings import read_settings
from napari_blush.io.run_state import last_whole_iteration
from napari_blush.refine.keeping import RunKeeper, last_state
from napari_blush.refine.run import run

_EXIT_CODES = {Outcome.FAILED: 1, Outcome.CANCELLED: 130}


def execute(settings: RefinementSettings, options: Namespace) -> int:
    """Refine what ``options`` names; return the exit code."""
    report = Report()
    if options.resume and nothing_is_left_to_do(options.output, settings):
        report.line(f"The run in {options.output} is finished; its maps are there.")
        return 0
    particles = particles_of(options)
    reference = read_map(options.reference)
    mask = None if settings.solvent_mask is None else read_map(settings.solvent_mask)
    with RunWriter(options.output, settings, particles, resume=options.resume) as writer:
        for message in writer.messages:
            report.line(message)
        events = run(
            settings,
            particles,
            (reference.volume, reference.voxel_size),
            mask=None if mask is None else (mask.volume, mask.voxel_size),
            resume_from=last_state(options.output) if options.resume else None,
        )
        with termination_as_interrupt():
            result = follow(events, RunKeeper(writer), report)
    for line in map_lines(options.output):
        report.line(line)
    return _EXIT_CODES.get(result.outcome, 0)


@contextlib.contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Let a batch system's SIGTERM end a run as Ctrl-C does, so that its folder is given back."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def nothing_is_left_to_do(folder: Path, settings: RefinementSettings) -> bool:
    """Return whether a run is finished, and not only for want of iterations that it now gets."""
    last = last_whole_iteration(folder)
    if last is None or not is_finished(folder):
        return False
    may_go_on = read_settings(folder).max_iterations <= last < settings.max_iterations
    return not may_go_on


def map_lines(folder: Path) -> list[str]:
    """Return where the maps are."""
    return [
        f"Final map {folder / 'run_class001.mrc'}, sharpened "
        f"{folder / 'run_class001_sharpened.mrc'}.",
        f"Half-maps {folder / 'run_half1_class001_unfil.mrc'} and "
        f"{folder / 'run_half2_class001_unfil.mrc'}.",
    ]
