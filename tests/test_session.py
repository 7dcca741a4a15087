"""A session is what its events have made of it, and it tells so once everything is in place."""

from dataclasses import fields, replace

import pytest
import torch

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.poses import Poses
from napari_blush.data_model.results import (
    Accuracy,
    AppliedChange,
    FscCurves,
    IterationResult,
    Outcome,
    PoseStatistics,
    RefinementResult,
    SamplingState,
)
from napari_blush.likelihood.half_model import HalfModel
from napari_blush.refine.events import (
    ExpectationProgress,
    HalfMapsReconstructed,
    IterationFinished,
    IterationStarted,
    Message,
    ReferencesRegularized,
    RegularizationStep,
    RunFinished,
    RunStarted,
)
from napari_blush.refine.state import Progress, RefinementState
from napari_blush.refine.steering import FinishNow
from napari_blush.session import (
    IterationSummary,
    RefinementSession,
    RunCancelled,
    RunFailed,
    RunPaused,
    RunResumed,
    RunStatus,
    StageProgress,
)

N, BOX = 4, 8
SAMPLING = SamplingState(2, 1, 10.0, 4.0, None, 0.1)
ACCURACY = Accuracy(5.0, 2.0)
STARTED = RunStarted(N, (2, 2), BOX, 2.0, 1, "cpu", "numba")


def volume(value: float) -> torch.Tensor:
    return torch.full((BOX, BOX, BOX), float(value))


def half_maps(value: float) -> HalfMaps:
    return HalfMaps(volume(value), volume(-value), 2.0)


def curves(value: float) -> FscCurves:
    curve = torch.full((BOX // 2 + 1,), value)
    return FscCurves(curve, curve, curve, curve, 2)


def model() -> HalfModel:
    shells = torch.ones(BOX // 2 + 1)
    pdf = torch.ones(12) / 12
    return HalfModel(volume(0), shells[None], 5.0, pdf, 0, shells, 1.0, shells, shells)


def state_of(iteration: int) -> RefinementState:
    return RefinementState(
        iteration=iteration,
        models=(model(), model()),
        poses=Poses.identity(N),
        norm=torch.ones(N, dtype=torch.float64),
        random_subset=torch.tensor([1, 2, 1, 2]),
        sampling=SAMPLING,
        accuracy=ACCURACY,
        progress=Progress(),
    )


def result_of(iteration: int) -> IterationResult:
    shells = torch.ones(BOX // 2 + 1)
    return IterationResult(
        iteration=iteration,
        half_maps=half_maps(iteration),
        references=(volume(iteration), volume(iteration)),
        wiener_maps=half_maps(iteration),
        fsc=curves(0.5),
        resolution_angstrom=10.0 - iteration,
        cutoff_shell=None,
        tau2=(shells, shells),
        data_vs_prior=shells,
        sigma2_noise=(shells[None], shells[None]),
        sigma_offset_angstrom=(5.0, 5.0),
        poses=Poses.identity(N),
        pose_statistics=PoseStatistics(
            torch.ones(N), torch.zeros(N), torch.ones(N, dtype=torch.int64), torch.ones(N)
        ),
        pdf_direction=(torch.ones(12) / 12, torch.ones(12) / 12),
        group_scale=(torch.ones(1), torch.ones(1)),
        sampling=SAMPLING,
        accuracy=ACCURACY,
        changes_rotation_deg=1.0,
        changes_offset_angstrom=1.0,
        average_p_max=0.5,
        current_size=8,
        coarse_size=8,
        seconds=1.0,
        changes=(AppliedChange("mask", "2026-01-01T00:00:00+00:00"),) if iteration == 2 else (),
    )


def events_of(iteration: int, *, final: bool = False):
    """What a run says in an iteration."""
    yield IterationStarted(iteration, SAMPLING, ACCURACY, 8, final)
    yield ExpectationProgress(iteration, 1, 2, N)
    yield ExpectationProgress(iteration, 2, N, N)
    yield HalfMapsReconstructed(
        iteration, half_maps(iteration), curves(iteration / 10), 10.0 - iteration
    )
    if not final:
        maps = (volume(10 * iteration), volume(10 * iteration))
        yield ReferencesRegularized(iteration, maps, 3)
    yield IterationFinished(result_of(iteration), state_of(iteration))


def finished(outcome: Outcome = Outcome.CONVERGED) -> RunFinished:
    last = result_of(3)
    return RunFinished(
        RefinementResult(
            last, last.half_maps, volume(3), volume(3), -20.0, curves(0.3), 7.0, outcome, "done"
        )
    )


@pytest.fixture
def session() -> RefinementSession:
    return RefinementSession()


@pytest.fixture
def told(session):
    """Names of fields, in the order in which they told of a change."""
    names: list[str] = []
    for name in session.events:
        session.events[name].connect(lambda *_, name=name: names.append(name))
    return names


def apply_all(session, *events) -> None:
    for event in events:
        session.apply(event)


# folding --------------------------------------------------------------------------------------


def test_a_new_session_is_idle_and_empty(session) -> None:
    assert session.status is RunStatus.IDLE
    assert session.iteration == 0
    assert session.half_maps is None
    assert dict(session.fsc_history) == {}
    assert session.messages == ()


def test_a_whole_run(session) -> None:
    apply_all(session, STARTED, *events_of(1), *events_of(2), *events_of(3, final=True))
    assert session.status is RunStatus.RUNNING
    assert session.run == STARTED
    assert session.is_last
    apply_all(session, finished())
    assert session.status is RunStatus.FINISHED
    assert session.iteration == 3
    assert list(session.fsc_history) == [1, 2, 3]
    assert float(session.fsc_history[2].unmasked[0]) == pytest.approx(0.2)
    assert session.resolution_history == {1: 9.0, 2: 8.0, 3: 7.0}
    # HEALPix order 2 is 15 degrees, halved by one oversampling.
    assert session.summaries[2] == IterationSummary(2, 8.0, 5.0, 7.5, 0.5, 1.0, 8, ("mask",))
    assert list(session.summaries) == [1, 2, 3]
    assert float(session.half_maps.half1[0, 0, 0]) == 3.0
    # The last iteration regularizes nothing: references stay those that images were aligned to.
    assert float(session.references[0][0, 0, 0]) == 20.0
    assert session.cutoff_shell == 3
    assert session.state.iteration == 3
    assert session.last_result.iteration == 3
    assert session.poses is session.last_result.poses
    assert session.result.outcome is Outcome.CONVERGED
    assert (session.sampling, session.accuracy) == (SAMPLING, ACCURACY)


def test_progress_of_the_stages(session) -> None:
    seen = []
    session.events.progress.connect(lambda new: seen.append((new.stage, new.fraction)))
    apply_all(session, STARTED, *events_of(1))
    assert seen == [
        ("comparing images", 0.0),
        ("comparing images", 0.5),
        ("comparing images", 1.0),
        ("regularizing", 0.0),
        ("iteration done", 1.0),
    ]
    assert StageProgress("nothing to do", 0, 0).fraction == 0.0


def test_messages_are_kept_in_order(session) -> None:
    first, second = Message("one"), Message("two", warning=True)
    apply_all(session, STARTED, first, *events_of(1), second)
    assert session.messages == (first, second)


def test_pause_and_go_on(session) -> None:
    apply_all(session, STARTED, RunPaused())
    assert session.status is RunStatus.PAUSED
    apply_all(session, RunResumed())
    assert session.status is RunStatus.RUNNING


def test_a_cancelled_run_keeps_what_it_has(session) -> None:
    apply_all(session, STARTED, *events_of(1), RunCancelled())
    assert session.status is RunStatus.CANCELLED
    assert session.progress == StageProgress()
    assert session.half_maps is not None
    assert session.state.iteration == 1
    assert session.result is None


def test_a_failed_run_says_why(session) -> None:
    apply_all(session, STARTED, RunFailed("The images are wet; wanted dry ones."))
    assert session.status is RunStatus.FAILED
    assert session.messages[-1] == Message("The images are wet; wanted dry ones.", warning=True)
    apply_all(session, STARTED, finished(Outcome.FAILED))
    assert session.status is RunStatus.FAILED


def test_a_new_run_begins_from_nothing(session) -> None:
    apply_all(session, STARTED, Message("old"), *events_of(1), *events_of(2), finished())
    other = replace(STARTED, n_particles=10)
    session.apply(other)
    fresh = RefinementSession()
    fresh.apply(other)
    for name in (each.name for each in fields(RefinementSession) if each.name != "steering"):
        assert getattr(session, name) == getattr(fresh, name), name


def test_a_resumed_run_keeps_the_history_before_it(session) -> None:
    apply_all(session, STARTED, *events_of(1), *events_of(2), *events_of(3), RunCancelled())
    session.apply(replace(STARTED, first_iteration=3))
    assert session.iteration == 2
    assert list(session.fsc_history) == [1, 2]
    assert session.resolution_history == {1: 9.0, 2: 8.0}
    assert list(session.summaries) == [1, 2]
    assert session.half_maps is not None
    assert session.result is None


# telling --------------------------------------------------------------------------------------


def test_an_event_tells_of_its_fields_and_no_others(session, told) -> None:
    session.apply(STARTED)
    assert set(told) == {"status", "run"}
    told.clear()
    maps = (volume(1), volume(2))
    session.apply(ReferencesRegularized(1, maps, 3))
    assert sorted(told) == ["cutoff_shell", "references"]
    told.clear()
    session.apply(ReferencesRegularized(1, maps, 3))
    assert told == []  # nothing has changed
    session.apply(ReferencesRegularized(2, (volume(1), volume(2)), 3))
    assert told == ["references"]  # other maps, though equal


@pytest.mark.parametrize("watched", ["iteration", "progress", "half_maps", "fsc_history"])
def test_all_fields_are_in_place_before_anybody_is_told(session, watched: str) -> None:
    seen = []

    def look(_):
        histories = set(session.fsc_history), set(session.resolution_history)
        seen.append(histories[0] == histories[1])
        if session.half_maps is not None:
            newest = max(session.fsc_history)
            seen.append(float(session.half_maps.half1[0, 0, 0]) == newest)

    getattr(session.events, watched).connect(look)
    apply_all(session, STARTED, *events_of(1), *events_of(2))
    assert len(seen) >= 2
    assert all(seen)


def test_histories_are_new_objects_so_that_old_ones_can_be_kept(session) -> None:
    apply_all(session, STARTED, *events_of(1))
    kept = session.fsc_history
    apply_all(session, *events_of(2))
    assert list(kept) == [1]


# the way back ---------------------------------------------------------------------------------


def test_proposals_wait_for_the_run_and_die_with_it(session) -> None:
    apply_all(session, STARTED, *events_of(1))
    session.steering.propose(FinishNow())
    apply_all(session, *events_of(2))
    assert session.steering.take() == [FinishNow()]
    for end in (RunCancelled(), RunFailed("gone"), finished()):
        session.steering.propose(FinishNow())
        session.apply(end)
        assert session.steering.take() == []


def test_sessions_share_nothing() -> None:
    first, second = RefinementSession(), RefinementSession()
    first.apply(STARTED)
    assert second.status is RunStatus.IDLE
    assert first.steering is not second.steering
    assert first != second


def test_the_progress_of_a_regularizer_is_a_stage_of_its_own() -> None:
    session = RefinementSession()
    session.apply(RegularizationStep(3, "denoising half 2", 0.75))
    assert session.progress.stage == "denoising half 2"
    assert session.progress.fraction == 0.75
