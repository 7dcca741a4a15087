"""Follows a run event by event: prints, hands over what is to be kept, and stops cleanly.

Knows the events of a run, and neither where they come from nor how they are kept.
"""

from collections.abc import Callable, Generator

from napari_blush.cli.report import Report
from napari_blush.data_model.results import Outcome, RefinementResult
from napari_blush.errors import RefinementError
from napari_blush.refine.events import (
    ExpectationProgress,
    HalfMapsReconstructed,
    IterationFinished,
    IterationStarted,
    Message,
    ReferencesRegularized,
    RefinementEvent,
    RegularizationStep,
    RunFinished,
    RunStarted,
)

Keep = Callable[[RefinementEvent], None]
"""Writes down what an event carries that is worth it; returns when it is on the disk."""

LastKept = Callable[[], int | None]
"""Returns the last iteration that is whole on the disk, None without one."""


def follow(
    events: Generator[RefinementEvent, None, RefinementResult],
    keep: Keep,
    report: Report,
    last_kept: LastKept,
) -> RefinementResult:
    """Drive a run to its end.

    Parameters
    ----------
    events : generator of RefinementEvent
        Closed in every case, so that its memory is freed.
    keep : callable
        Called with each event before it is reported: what is printed is on the disk.
    report : Report
    last_kept : callable
        Asked after an interrupt, which may come while an iteration is being kept.

    Raises
    ------
    KeyboardInterrupt
        After saying from where the run can go on.
    RefinementError
        When the events end without ``RunFinished``.
    """
    try:
        for event in events:
            keep(event)
            tell(event, report)
            if isinstance(event, RunFinished):
                return event.result
    except KeyboardInterrupt:
        whole = last_kept()
        kept = f"Iteration {whole} is kept" if whole else "Nothing is kept yet"
        report.line(f"{kept}; the same command with --resume goes on from there.")
        raise
    finally:
        events.close()
        report.progress.close()
    raise RefinementError("The run ended without a result; run it again with --resume.")


def tell(event: RefinementEvent, report: Report) -> None:
    """Print what a person follows of an event."""
    match event:
        case RunStarted():
            report.line(start_line(event))
        case Message(text=text, warning=warning):
            report.line(f"warning: {text}" if warning else text)
        case IterationStarted(final=True):
            report.line("Last iteration, on all data to Nyquist.")
        case RegularizationStep(iteration=iteration, done=done):
            stage = f"iteration {iteration}: regularizing"
            report.progress.update(stage, round(1000 * done), 1000)
        case ExpectationProgress() | HalfMapsReconstructed() | ReferencesRegularized():
            show_progress(event, report)
        case IterationFinished(result=result):
            report.iteration(result)
        case RunFinished(result=result):
            for line in end_lines(result):
                report.line(line)


def show_progress(
    event: ExpectationProgress | HalfMapsReconstructed | ReferencesRegularized, report: Report
) -> None:
    """Move the progress line of the stage that an event belongs to."""
    update = report.progress.update
    reconstructing = f"iteration {event.iteration}: reconstructing"
    match event:
        case ExpectationProgress(done=done, total=total):
            update(f"iteration {event.iteration}: comparing", done, total)
            if done == total:
                update(reconstructing, 0, 2)
        case HalfMapsReconstructed():
            update(reconstructing, 1, 2)
        case ReferencesRegularized():
            update(reconstructing, 2, 2)


def start_line(event: RunStarted) -> str:
    """Return particles, box, and where it runs."""
    first, second = event.n_per_half
    going_on = f", from iteration {event.first_iteration}" if event.first_iteration > 1 else ""
    return (
        f"{event.n_particles} particles ({first} + {second}) of {event.box_size} px at "
        f"{event.pixel_size:.3f} A on {event.device} ({event.backend}){going_on}"
    )


def end_lines(result: RefinementResult) -> list[str]:
    """Return how the run ended, and the figures to quote."""
    words = {
        Outcome.CONVERGED: "Converged",
        Outcome.MAX_ITERATIONS: "Stopped",
        Outcome.FINISHED_EARLY: "Finished early",
        Outcome.CANCELLED: "Cancelled",
        Outcome.FAILED: "Failed",
    }
    lines = [
        f"{words[result.outcome]}: {result.reason}.",
        f"Resolution {result.resolution_angstrom:.2f} A (FSC 0.143 between half-maps, masked and "
        "corrected by phase randomization).",
    ]
    if result.b_factor is not None:
        lines.append(f"Sharpened with a B-factor of {result.b_factor:.0f} A^2.")
    return lines
