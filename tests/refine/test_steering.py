"""What a person asks for takes effect at the next iteration, whole or not at all."""

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import torch

from napari_blush.data_model.results import Outcome
from napari_blush.numerics.masks import soft_sphere
from napari_blush.refine.changes import AT_THE_START_ONLY, steered
from napari_blush.refine.events import (
    ExpectationProgress,
    IterationFinished,
    IterationStarted,
    Message,
    RunStarted,
)
from napari_blush.refine.run import prepared_run, run
from napari_blush.refine.schedule import FINEST_ORDER
from napari_blush.refine.steering import (
    ChangeMask,
    ChangeOffsetSearch,
    ChangeSettings,
    FinishNow,
    SampleFiner,
    SearchLocally,
    Steering,
)
from napari_blush.refine.work_clock import WorkClock

MASK = soft_sphere(24, 7.0, 3.0)


@pytest.fixture(scope="module")
def prepared(tiny, settings_for):
    """The context and the state of a run that has not begun."""
    context, state, _ = prepared_run(settings_for(), tiny.particles, tiny.start, None, None, None)
    return context, state


def applied(prepared, *changes):
    """Context, state, whether to finish, and messages after some changes."""
    steering = Steering()
    for change in changes:
        steering.propose(change)
    return steered(*prepared, steering)


def steered_run(tiny, settings, ask):
    """Run to the end, asking after the first batch of the first iteration; return the events."""
    steering = Steering()
    events, asked = [], False
    run_of = run(settings, tiny.particles, tiny.start, steering=steering)
    for event in run_of:
        events.append(event)
        if isinstance(event, ExpectationProgress) and not asked:
            steering.propose(ask)
            asked = True
    return events


# the inbox ------------------------------------------------------------------------------------


def test_the_inbox_keeps_the_order_and_forgets_what_was_taken() -> None:
    steering = Steering()
    changes = [FinishNow(), SampleFiner(), ChangeMask(None)]
    for change in changes:
        steering.propose(change)
    assert steering.waiting == tuple(changes)
    assert steering.take() == changes
    assert steering.waiting == ()
    assert steering.take() == []


def test_the_inbox_takes_from_many_threads() -> None:
    steering = Steering()
    threads = [
        threading.Thread(target=lambda: [steering.propose(FinishNow()) for _ in range(200)])
        for _ in range(4)
    ]
    taken = 0
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken += len(steering.take())
    assert taken + len(steering.take()) == 800


# in a run -------------------------------------------------------------------------------------


def test_a_change_waits_for_the_next_iteration(tiny, settings_for, whole_run) -> None:
    settings = settings_for(max_iterations=3)
    events = steered_run(tiny, settings, ChangeSettings({"tau2_fudge": 4.0}))
    first, second = (
        [event for event in log if isinstance(event, IterationFinished)]
        for log in (events, whole_run)
    )
    # The iteration in which it was asked for is untouched to the last bit; the next is not.
    assert torch.equal(first[0].result.references[0], second[0].result.references[0])
    assert not torch.equal(first[1].result.tau2[0], second[1].result.tau2[0])
    texts = [event.text for event in events if isinstance(event, Message)]
    assert texts.count("Changed: tau2_fudge.") == 1
    assert [[change.what for change in event.result.changes] for event in events
            if isinstance(event, IterationFinished)] == [
        [], ["tau2_fudge 1 to 4"], [], []
    ]  # fmt: skip
    assert [event.changed for event in events if isinstance(event, IterationStarted)][1] == (
        "tau2_fudge 1 to 4",
    )
    said = events.index(Message("Changed: tau2_fudge."))
    assert isinstance(events[said - 1], IterationFinished)
    assert isinstance(events[said + 1], IterationStarted)


def test_tau2_fudge_is_what_the_ratio_is_multiplied_by(tiny, settings_for) -> None:
    events = steered_run(tiny, settings_for(), ChangeSettings({"tau2_fudge": 1e-6}))
    results = [event.result for event in events if isinstance(event, IterationFinished)]
    assert float(results[0].data_vs_prior[3]) > 1
    assert float(results[1].data_vs_prior.max()) < 1e-2


def test_finish_now_makes_the_next_iteration_the_last(tiny, settings_for) -> None:
    events = steered_run(tiny, settings_for(max_iterations=20), FinishNow())
    started = [event for event in events if isinstance(event, IterationStarted)]
    assert [event.final for event in started] == [False, True]
    result = events[-1].result
    assert result.outcome is Outcome.FINISHED_EARLY
    assert "asked to finish" in result.reason
    assert [change.what for change in result.last_iteration.changes] == ["finish"]


def test_finish_now_before_the_first_iteration(tiny, settings_for) -> None:
    steering = Steering()
    steering.propose(FinishNow())
    events = list(
        run(settings_for(first_iteration_cc=False), tiny.particles, tiny.start, steering=steering)
    )
    assert isinstance(events[0], RunStarted)
    assert [e.final for e in events if isinstance(e, IterationStarted)] == [True]
    assert events[-1].result.outcome is Outcome.FINISHED_EARLY


def test_more_iterations_can_be_asked_for(tiny, settings_for) -> None:
    events = steered_run(
        tiny, settings_for(max_iterations=1), ChangeSettings({"max_iterations": 2})
    )
    started = [event for event in events if isinstance(event, IterationStarted)]
    assert [event.final for event in started] == [False, False, True]


def test_a_new_mask_is_used_from_the_next_iteration(tiny, settings_for) -> None:
    events = steered_run(tiny, settings_for(first_iteration_cc=False), ChangeMask(MASK))
    results = [event.result for event in events if isinstance(event, IterationFinished)]
    assert bool((results[0].references[0][MASK == 0] != 0).any())
    assert not bool((results[1].references[0][MASK == 0] != 0).any())


def test_sample_finer_halves_the_step_of_the_next_iteration(tiny, settings_for) -> None:
    events = steered_run(tiny, settings_for(), SampleFiner())
    orders = [
        event.sampling.healpix_order for event in events if isinstance(event, IterationStarted)
    ]
    assert orders[0] == 1
    assert orders[1] in (2, 3)
    texts = [event.text for event in events if isinstance(event, Message)]
    assert "The angular step is now 7.50 degrees." in texts


# applying changes -----------------------------------------------------------------------------


def test_nothing_asked_changes_nothing(prepared) -> None:
    context, state, finish, messages = applied(prepared)
    assert context is prepared[0]
    assert state is prepared[1]
    assert (finish, messages) == (False, [])


def test_several_changes_are_applied_in_order(prepared) -> None:
    context, state, finish, messages = applied(
        prepared,
        ChangeSettings({"tau2_fudge": 2.0}),
        SampleFiner(),
        FinishNow(),
        ChangeSettings({"tau2_fudge": 3.0}),
        SampleFiner(local=True),
    )
    assert context.settings.tau2_fudge == 3.0
    assert [change.what for change in context.changes] == [
        "tau2_fudge 1 to 2", "step 7.50 deg", "finish", "tau2_fudge 2 to 3", "step 3.75 deg, local"
    ]  # fmt: skip
    assert context.changes[0].values == {"tau2_fudge": 2.0}
    assert datetime.now(UTC) - datetime.fromisoformat(context.changes[0].time) < timedelta(hours=1)
    assert state.sampling.healpix_order == prepared[1].sampling.healpix_order + 2
    assert finish
    assert [message.warning for message in messages] == [False] * 4


@pytest.mark.parametrize(
    "values",
    [
        {"tau2_fudge": -1.0},
        {"tau2_fudge": "much"},
        {"no_such_setting": 1},
        {"particle_diameter": 200.0},  # larger than the box of 144 A
        {"regularizer": "hope"},
        {"tau2_fudge": 2.0, "adaptive_fraction": 1.5},  # one good, one bad
    ],
)
def test_a_bad_value_is_a_warning_and_changes_nothing(prepared, values) -> None:
    context, state, _, messages = applied(prepared, ChangeSettings(values))
    assert context is prepared[0]
    assert state is prepared[1]
    (message,) = messages
    assert message.warning
    assert "Not changed" in message.text
    for name in values:
        assert name in message.text


@pytest.mark.parametrize("name", sorted(AT_THE_START_ONLY))
def test_what_is_read_once_is_refused_with_a_reason(prepared, name: str) -> None:
    value = getattr(prepared[0].settings, name)
    context, _, _, messages = applied(prepared, ChangeSettings({name: value}))
    assert context is prepared[0]
    assert messages[0].warning
    assert f"{name} can only be set at the start" in messages[0].text


def test_every_setting_can_be_changed_or_is_refused(prepared) -> None:
    settings = prepared[0].settings
    for name in set(type(settings).model_fields) - AT_THE_START_ONLY:
        context, _, _, messages = applied(prepared, ChangeSettings({name: getattr(settings, name)}))
        assert not messages[0].warning, name
        assert context.settings == settings


def test_a_new_diameter_reaches_masks_and_geometry(prepared) -> None:
    context, _, _, _ = applied(prepared, ChangeSettings({"particle_diameter": 60.0}))
    assert context.geometry.particle_diameter == 60.0
    # Radius 5 px and 5 px of edge around voxel 12: 2 at the center row, 22 at the rim.
    assert float(context.solvent[12, 12, 12]) == 1.0
    assert float(context.solvent[12, 12, 1]) == 0.0
    assert float(prepared[0].solvent[12, 12, 3]) == 1.0
    masked, _, _, _ = applied(
        prepared, ChangeMask(MASK), ChangeSettings({"particle_diameter": 60.0})
    )
    assert torch.equal(masked.solvent, MASK)


def test_another_regularizer_is_made(prepared) -> None:
    context, _, _, _ = applied(prepared, ChangeSettings({"regularizer": "smoothness"}))
    assert context.regularizer is not prepared[0].regularizer
    same, _, _, _ = applied(prepared, ChangeSettings({"tau2_fudge": 2.0}))
    assert same.regularizer is prepared[0].regularizer


def test_a_mask_goes_in_and_out_again(prepared) -> None:
    masked, _, _, messages = applied(prepared, ChangeMask(MASK))
    assert torch.equal(masked.mask, MASK)
    assert torch.equal(masked.solvent, MASK)
    assert not messages[0].warning
    back, _, _, _ = applied((masked, prepared[1]), ChangeMask(None))
    assert back.mask is None
    assert torch.equal(back.solvent, prepared[0].solvent)


@pytest.mark.parametrize(
    "bad",
    [
        torch.full((24, 24, 24), 2.0),
        torch.zeros(24, 24, 24),
        torch.full((24, 24, 24), float("nan")),
        torch.ones(24, 24, 20),
        torch.ones(32, 32, 32),
        torch.ones(24, 24),
    ],
    ids=["above 1", "empty", "holes", "no cube", "other box", "an image"],
)
def test_a_bad_mask_is_a_warning_and_changes_nothing(prepared, bad: torch.Tensor) -> None:
    context, _, _, messages = applied(prepared, ChangeMask(bad))
    assert context is prepared[0]
    assert messages[0].warning
    assert "mask was not changed" in messages[0].text


def test_finer_sampling_leaves_counters_to_start_again(prepared) -> None:
    context, state = prepared
    counted = replace(
        state,
        progress=replace(
            state.progress, iterations_without_gain=2, smallest_change_rotation_deg=1.0
        ),
    )
    _, finer, _, _ = applied((context, counted), SampleFiner())
    assert finer.progress.iterations_without_gain == 0
    assert finer.progress.smallest_change_rotation_deg == 999.0
    assert finer.sampling.local_search_sigma_deg is None


def test_a_search_can_be_made_local(prepared) -> None:
    _, state, _, messages = applied(prepared, SampleFiner(local=True))
    # From order 1 to 2 with one oversampling: 7.5 degrees, and sigma twice that.
    assert state.sampling.local_search_sigma_deg == pytest.approx(15.0)
    assert "around the last poses" in messages[0].text


def test_a_search_that_reaches_its_local_order_becomes_local(prepared) -> None:
    context, state = prepared
    third = replace(state, sampling=replace(state.sampling, healpix_order=3))
    _, finer, _, _ = applied((context, third), SampleFiner())
    assert finer.sampling.local_search_sigma_deg == pytest.approx(2 * 1.875)


def test_there_is_a_finest_step(prepared) -> None:
    context, state = prepared
    finest = replace(state, sampling=replace(state.sampling, healpix_order=FINEST_ORDER - 1))
    _, after, _, messages = applied((context, finest), SampleFiner())
    assert after is finest
    assert messages[0].warning


def test_a_search_is_made_local_at_the_step_that_there_is(prepared) -> None:
    _, early, _, messages = applied(prepared, SearchLocally())
    assert early is prepared[1]
    assert messages[0].warning
    assert "no pose is known yet" in messages[0].text
    later = replace(prepared[1], iteration=3)
    context, state, _, messages = applied((prepared[0], later), SearchLocally())
    # Order 1 with one oversampling: 15 degrees, and sigma twice that.
    assert state.sampling.local_search_sigma_deg == pytest.approx(30.0)
    assert context.changes[0].what == "step 15.00 deg, local"
    _, again, _, messages = applied((context, state), SearchLocally())
    assert again is state
    assert messages[0].warning


def test_the_offset_search_gets_another_range(prepared) -> None:
    # 24 px of 6 A; the steps begin with 2 px.
    _, wide, _, _ = applied(prepared, ChangeOffsetSearch(50.0))
    assert wide.sampling.offset_range_angstrom == 50.0
    assert wide.sampling.offset_step_angstrom == 12.0
    _, narrow, _, _ = applied(prepared, ChangeOffsetSearch(6.0))
    assert narrow.sampling.offset_range_angstrom == 6.0
    assert narrow.sampling.offset_step_angstrom == pytest.approx(4.0)


@pytest.mark.parametrize("reach", [0.0, -3.0, 73.0, float("nan")])
def test_an_offset_range_that_cannot_be_is_refused(prepared, reach: float) -> None:
    context, state, _, messages = applied(prepared, ChangeOffsetSearch(reach))
    assert (context, state) == prepared
    assert messages[0].warning
    assert "wanted more than 0" in messages[0].text


def test_a_run_goes_on_with_a_local_search(tiny, settings_for) -> None:
    events = steered_run(tiny, settings_for(), SearchLocally())
    sigmas = [e.sampling.local_search_sigma_deg for e in events if isinstance(e, IterationStarted)]
    assert sigmas[0] is None
    assert None not in sigmas[1:]


def test_a_pause_is_no_work() -> None:
    now = [0.0]
    clock = WorkClock(lambda: now[0])
    now[0] = 5.0
    with clock.stopped():
        now[0] = 100.0
    now[0] = 101.0
    assert clock.now() == 6.0


def test_the_seconds_of_an_iteration_leave_pauses_out(tiny, settings_for) -> None:
    began = time.perf_counter()
    events = run(settings_for(max_iterations=1), tiny.particles, tiny.start)
    for event in events:
        if isinstance(event, ExpectationProgress) and event.done == event.total:
            time.sleep(1.0)
        if isinstance(event, IterationFinished):
            break
    events.close()
    assert event.result.seconds <= time.perf_counter() - began - 1.0
