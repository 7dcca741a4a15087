"""What a run says on the terminal: a progress line per stage and a line per iteration.

Lines go to standard output, progress to standard error, so that a log file holds the lines alone.
Knows the results of the data model; what an event means is the business of the command.
"""

import sys
import time
from collections.abc import Callable
from typing import Never, Protocol, runtime_checkable

from tqdm import tqdm

from napari_blush.data_model.results import Accuracy, IterationResult, SamplingState
from napari_blush.wording import duration

_COLUMNS = (
    ("iter", 4),
    ("resolution", 10),
    ("cut-off", 8),
    ("accuracy", 16),
    ("sampling", 15),
    ("offsets", 14),
    ("p_max", 5),
    ("size", 4),
    ("seconds", 7),
)
_PLAIN_SECONDS = 30.0
"""Where standard error is no terminal a stage is reported at most this often."""

_UNKNOWN = 999.0
"""Stands for an accuracy that was not estimated yet."""


@runtime_checkable
class TextStream(Protocol):
    """What is asked of a stream to print to."""

    def write(self, text: str, /) -> int:
        """Write text."""
        ...

    def flush(self) -> None:
        """Write out what is kept back."""
        ...

    def isatty(self) -> bool:
        """Return whether a person is looking."""
        ...


class Progress:
    """The progress of one stage after another, with the time left.

    A redrawn bar on a terminal; elsewhere a plain line every half minute, so that the log of a
    batch system stays readable.

    Parameters
    ----------
    stream : text file, optional
        Default: standard error as it is now.
    clock : callable returning float
        Seconds of a steady clock.
    """

    def __init__(
        self, stream: TextStream | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._stage = ""
        self._bar: tqdm[Never] | None = None
        self._began = self._spoke = 0.0

    def update(self, stage: str, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` steps are done; a new name opens a new stage."""
        if stage != self._stage:
            self._open(stage, total)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        elif self._clock() - self._spoke >= _PLAIN_SECONDS:
            self._spoke = self._clock()
            left = time_left(self._spoke - self._began, done, total)
            print(f"{stage}: {100 * done // total} %, {left} left", file=self._stream, flush=True)

    def close(self) -> None:
        """Remove the bar; the next update opens a stage anew."""
        self._stage = ""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _open(self, stage: str, total: int) -> None:
        self.close()
        self._stage = stage
        self._began = self._spoke = self._clock()
        if self._stream.isatty():
            self._bar = tqdm(
                desc=stage,
                total=total,
                file=self._stream,
                leave=False,
                bar_format="{desc} {percentage:3.0f} % |{bar}| {elapsed}, {remaining} left",
            )


class Report:
    """Prints the story of a run; the lines of one run align.

    Parameters
    ----------
    stream : text file, optional
        Default: standard output as it is now.
    progress : Progress, optional
        Closed before each line, so that the two do not overwrite one another.
    """

    def __init__(self, stream: TextStream | None = None, progress: Progress | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self.progress = Progress() if progress is None else progress
        self._header_is_due = True

    def line(self, text: str) -> None:
        """Print one line."""
        self.progress.close()
        print(text, file=self._stream, flush=True)

    def iteration(self, result: IterationResult) -> None:
        """Print the line of a finished iteration; its messages were told when they came."""
        if self._header_is_due:
            self.line(_aligned([name for name, _ in _COLUMNS]))
            self._header_is_due = False
        self.line(iteration_line(result))


def iteration_line(result: IterationResult) -> str:
    """Return iteration, resolution, where the denoised references end, and how it was searched."""
    sampling = result.sampling
    return _aligned(
        [
            f"{result.iteration}",
            f"{result.resolution_angstrom:.2f} A",
            _cutoff(result),
            _accuracy(result.accuracy),
            f"{search(sampling)} {finest_step_deg(sampling):.3g} deg",
            f"{sampling.offset_range_angstrom:.1f} by "
            f"{sampling.offset_step_angstrom / 2**sampling.adaptive_oversampling:.2f} A",
            f"{result.average_p_max:.3f}",
            f"{result.current_size}",
            f"{result.seconds:.1f}",
        ]
    )


def _cutoff(result: IterationResult) -> str:
    if not result.cutoff_shell:
        return "-"
    length = result.half_maps.half1.shape[-1] * result.half_maps.voxel_size
    return f"{length / result.cutoff_shell:.2f} A"


def _accuracy(accuracy: Accuracy) -> str:
    if accuracy.rotation_deg >= _UNKNOWN:
        return "-"
    return f"{accuracy.rotation_deg:.2f} deg {accuracy.translation_angstrom:.2f} A"


def finest_step_deg(sampling: SamplingState) -> float:
    """Return the angular step of the fine pass in degrees (60 / 2^order, halved per doubling)."""
    return 60.0 / 2.0 ** (sampling.healpix_order + sampling.adaptive_oversampling)


def search(sampling: SamplingState) -> str:
    """Return whether all orientations were searched or those near the last ones."""
    return "global" if sampling.local_search_sigma_deg is None else "local"


def time_left(elapsed: float, done: int, total: int) -> str:
    """Return the time left as ``h:mm:ss``, ``m:ss``, or ``?`` before the first step."""
    if done <= 0:
        return "?"
    return duration(elapsed * (total - done) / done)


def _aligned(cells: list[str]) -> str:
    return "  ".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, _COLUMNS, strict=True))
