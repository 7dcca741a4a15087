"""``napari-blush refine``: a refinement from files to a run folder, followed on the terminal."""

import contextlib
import signal
import threading
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from napari_blush.cli.follow import follow
from napari_blush.cli.options import given_settings
from napari_blush.cli.particles import particles_of
from napari_blush.cli.report import Report
from napari_blush.data_model.results import Outcome
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import SettingsError
from napari_blush.io.mrc import read_map
from napari_blush.io.run_folder import is_finished
from napari_blush.io.run_settings import RunSource, read_settings, read_source, settings_at
from napari_blush.io.run_state import last_whole_iteration
from napari_blush.refine.keeping import RunKeeper
from napari_blush.refine.run_in_folder import RunRequest, opened

_EXIT_CODES = {Outcome.FAILED: 1, Outcome.CANCELLED: 130}


def execute(settings: RefinementSettings, options: Namespace) -> int:
    """Refine what ``options`` names; return the exit code."""
    report = Report()
    if options.resume and nothing_is_left_to_do(options.output, settings):
        report.line(f"The run in {options.output} is finished; its maps are there.")
        return 0
    request = branch_request(options) if options.continue_from else fresh_request(settings, options)
    with opened(request) as (writer, events):
        for message in writer.messages:
            report.line(message)
        with termination_as_interrupt():
            keeper = RunKeeper(writer)
            result = follow(events, keeper, report, keeper.last_whole)
    for line in map_lines(options.output):
        report.line(line)
    return _EXIT_CODES.get(result.outcome, 0)


def fresh_request(settings: RefinementSettings, options: Namespace) -> RunRequest:
    """Return a run from a start map, or the one that goes on in its folder.

    Raises
    ------
    SettingsError
        When particles or start map are missing.
    """
    if options.particles is None or options.reference is None:
        raise SettingsError(
            "No particles or no --reference was given; wanted both; name them, or the run to go on "
            "from with --continue-from."
        )
    if options.iteration is not None:
        raise SettingsError(
            f"--iteration {options.iteration} was given without --continue-from; wanted the run "
            "folder that the iteration is of; name it."
        )
    return RunRequest(
        particles=particles_of(options),
        reference=read_map(options.reference),
        output=options.output,
        settings=settings,
        resume=options.resume,
        source=RunSource(
            options.particles, options.reference, options.image_root, options.passthrough
        ),
    )


def branch_request(options: Namespace) -> RunRequest:
    """Return a run that goes on from an iteration of another one, with what is given changed.

    Raises
    ------
    BlushError
        When there is no such iteration, or its particles are not known.
    """
    folder, given = options.continue_from, given_settings(RefinementSettings, options)
    last = last_whole_iteration(folder)
    iteration = last if options.iteration is None else options.iteration
    settings = RefinementSettings.model_validate(
        {**settings_at(folder, iteration).model_dump(), **given}
    )
    known = read_source(folder)
    if options.particles is None:
        options.particles = known.particles
        options.image_root = options.image_root or known.image_root
        options.passthrough = options.passthrough or known.passthrough
    if options.particles is None:
        raise SettingsError(
            f"Run folder {folder} does not say which particles it was started with; wanted their "
            "file; name it before --continue-from."
        )
    return RunRequest(
        particles=particles_of(options),
        reference=None,
        output=options.output,
        settings=settings,
        resume=options.resume,
        branch_from=(folder, iteration or 0),
        source=RunSource(
            options.particles, known.reference, options.image_root, options.passthrough
        ),
    )


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
