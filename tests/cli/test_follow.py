"""A run as the command line follows it: what is kept, what is said, and how it is stopped."""

import io
from collections.abc import Generator

import pytest
import torch

from napari_blush.cli.follow import follow
from napari_blush.cli.report import Progress, Report
from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.poses import Poses
from napari_blush.data_model.results import (
    Accuracy,
    FscCurves,
    IterationResult,
    Outcome,
    PoseStatistics,
    RefinementResult,
    SamplingState,
)
from napari_blush.errors import RefinementError
from napari_blush.likelihood.half_model import HalfModel
from napari_blush.refine import state as state_module
from napari_blush.refine.events import (
    ExpectationProgress,
    IterationFinished,
    IterationStarted,
    Message,
    RefinementEvent,
    RegularizationStep,
    RunFinished,
    RunStarted,
)

VOLUME, SPECTRUM, ONE = torch.zeros(8, 8, 8), torch.zeros(5), torch.ones(1)
MAPS = HalfMaps(VOLUME, VOLUME, 3.0)
CURVES = FscCurves(SPECTRUM, SPECTRUM, SPECTRUM, SPECTRUM, None)
SAMPLING = SamplingState(2, 1, 15.0, 6.0, None, 0.0)
ACCURACY = Accuracy(3.0, 1.0)
POSES = Poses(torch.eye(3)[None], torch.zeros(1, 2))


def iteration(number: int) -> IterationResult:
    return IterationResult(
        iteration=number,
        half_maps=MAPS,
        references=(VOLUME, VOLUME),
        wiener_maps=MAPS,
        fsc=CURVES,
        resolution_angstrom=12.0,
        cutoff_shell=None,
        tau2=(SPECTRUM, SPECTRUM),
        data_vs_prior=SPECTRUM,
        sigma2_noise=(SPECTRUM, SPECTRUM),
        sigma_offset_angstrom=(3.0, 3.0),
        poses=POSES,
        pose_statistics=PoseStatistics(ONE, ONE, ONE, ONE),
        pdf_direction=(ONE, ONE),
        group_scale=(ONE, ONE),
        sampling=SAMPLING,
        accuracy=ACCURACY,
        changes_rotation_deg=1.0,
        changes_offset_angstrom=1.0,
        average_p_max=0.5,
        current_size=40,
        coarse_size=30,
        seconds=1.0,
    )


def finished_iteration(number: int) -> IterationFinished:
    model = HalfModel(VOLUME, SPECTRUM[None], 10.0, ONE, 0, ONE, 1.0, SPECTRUM, SPECTRUM)
    state = state_module.RefinementState(
        iteration=number,
        models=(model, model),
        poses=POSES,
        norm=torch.ones(1, dtype=torch.float64),
        random_subset=torch.ones(1, dtype=torch.int64),
        sampling=SAMPLING,
        accuracy=None,
        progress=state_module.Progress(),
    )
    return IterationFinished(iteration(number), state)


def result(outcome: Outcome) -> RefinementResult:
    return RefinementResult(
        last_iteration=iteration(2),
        half_maps=MAPS,
        final_map=VOLUME,
        sharpened_map=VOLUME,
        b_factor=-120.4,
        fsc=CURVES,
        resolution_angstrom=7.654,
        outcome=outcome,
        reason="nothing improved any more",
    )


class Script:
    """A run that follows a script; notes whether it was closed."""

    def __init__(self, *events: RefinementEvent | BaseException) -> None:
        self.events = events
        self.is_closed = False

    def __call__(self) -> Generator[RefinementEvent, None, RefinementResult]:
        try:
            for event in self.events:
                if isinstance(event, BaseException):
                    raise event
                yield event
            return result(Outcome.CONVERGED)
        finally:
            self.is_closed = True


START = RunStarted(10, (5, 5), 8, 3.0, 1, "cpu", "numba")
WHOLE = (
    START,
    Message("the map was rescaled", warning=True),
    IterationStarted(1, SAMPLING, None, 40, False),
    ExpectationProgress(1, 1, 5, 10),
    ExpectationProgress(1, 2, 10, 10),
    finished_iteration(1),
    IterationStarted(2, SAMPLING, ACCURACY, 64, True),
    finished_iteration(2),
    RunFinished(result(Outcome.CONVERGED)),
)


def nothing() -> None:
    """Nothing is on the disk."""


def followed(
    script: Script, printed: io.StringIO, interrupted_at: int | None = None
) -> list[tuple[RefinementEvent, str]]:
    """Follow a script; return what was kept, with the text that had been printed by then.

    ``interrupted_at`` is an iteration in whose keeping the interrupt comes, with all on the disk.
    """
    kept: list[tuple[RefinementEvent, str]] = []

    def keep(event: RefinementEvent) -> None:
        kept.append((event, printed.getvalue()))
        if isinstance(event, IterationFinished) and event.result.iteration == interrupted_at:
            raise KeyboardInterrupt

    def last_kept() -> int | None:
        events = (event for event, _ in kept)
        made = [event for event in events if isinstance(event, IterationFinished)]
        return made[-1].result.iteration if made else None

    follow(script(), keep, Report(printed, Progress(io.StringIO())), last_kept)
    return kept


def test_a_whole_run_is_told_from_start_to_end() -> None:
    printed = io.StringIO()
    followed(Script(*WHOLE), printed)
    lines = printed.getvalue().splitlines()
    assert lines[0] == "10 particles (5 + 5) of 8 px at 3.000 A on cpu (numba)"
    assert lines[1] == "warning: the map was rescaled"
    assert lines[3].split()[:3] == ["1", "12.00", "A"]
    assert lines[4] == "Last iteration, on all data to Nyquist."
    assert lines[-3] == "Converged: nothing improved any more."
    assert "7.65 A" in lines[-2]
    assert "-120 A^2" in lines[-1]


def test_regularizing_has_a_progress_line_of_its_own() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    steps = (RegularizationStep(1, "denoising half 1", 0.25), RegularizationStep(1, "half 2", 0.75))
    script = Script(START, *steps, RunFinished(result(Outcome.CONVERGED)))
    follow(script(), lambda event: None, Report(io.StringIO(), Progress(terminal)), nothing)
    assert "iteration 1: regularizing" in terminal.getvalue()


def test_what_is_printed_is_kept_already() -> None:
    kept = followed(Script(*WHOLE), io.StringIO())
    assert tuple(event for event, _ in kept) == WHOLE
    before = next(text for event, text in kept if isinstance(event, IterationFinished))
    assert "12.00 A" not in before


def test_a_run_that_goes_on_says_from_where() -> None:
    printed = io.StringIO()
    later = RunStarted(10, (5, 5), 8, 3.0, 4, "cpu", "numba")
    followed(Script(later, RunFinished(result(Outcome.MAX_ITERATIONS))), printed)
    assert printed.getvalue().splitlines()[0].endswith("(numba), from iteration 4")


@pytest.mark.parametrize(
    ("events", "in_keeping", "said"),
    [
        ((START, KeyboardInterrupt()), None, "Nothing is kept yet"),
        ((START, finished_iteration(1), KeyboardInterrupt()), None, "Iteration 1 is kept"),
        ((START, finished_iteration(1)), 1, "Iteration 1 is kept"),
    ],
)
def test_an_interrupted_run_says_what_is_kept_and_is_closed(
    events: tuple[RefinementEvent | BaseException, ...], in_keeping: int | None, said: str
) -> None:
    script, printed = Script(*events), io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        followed(script, printed, in_keeping)
    assert said in printed.getvalue()
    assert "--resume" in printed.getvalue()
    assert script.is_closed


def test_a_failure_to_keep_stops_the_run() -> None:
    script = Script(*WHOLE)

    def keep(event: RefinementEvent) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        follow(script(), keep, Report(io.StringIO(), Progress(io.StringIO())), nothing)
    assert script.is_closed


def test_a_run_without_end_is_a_failure() -> None:
    with pytest.raises(RefinementError, match="without a result"):
        followed(Script(START), io.StringIO())
