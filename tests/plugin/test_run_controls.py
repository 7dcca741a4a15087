"""What can be pressed is a function of where the run stands; the bar tells stage and time left."""

from types import SimpleNamespace

import pytest

from napari_blush.plugin.run_phase import RunPhase, controls_of, is_busy, words_of
from napari_blush.plugin.widgets.run_controls import RunControls, buttons_in_sight

CAN = {
    RunPhase.LOADING: set(),
    RunPhase.IDLE: {"start"},
    RunPhase.STARTING: {"cancel"},
    RunPhase.RUNNING: {"pause", "step", "finish", "cancel"},
    RunPhase.STEPPING: {"pause", "resume", "finish", "cancel"},
    RunPhase.PAUSING: {"resume", "step", "finish", "cancel"},
    RunPhase.PAUSED: {"resume", "step", "finish", "cancel"},
    RunPhase.FINISHING: {"cancel"},
    RunPhase.FOLLOWING: {"start"},
    RunPhase.CANCELLING: set(),
    RunPhase.FINISHED: {"start"},
    RunPhase.CANCELLED: {"start"},
    RunPhase.FAILED: {"start"},
}

SEEN = {
    RunPhase.RUNNING: ("pause", "step", "finish", "cancel"),
    RunPhase.STEPPING: ("pause", "resume", "finish", "cancel"),
    RunPhase.PAUSING: ("resume", "step", "finish", "cancel"),
    RunPhase.PAUSED: ("resume", "step", "finish", "cancel"),
    **dict.fromkeys(
        (RunPhase.STARTING, RunPhase.FINISHING, RunPhase.CANCELLING),
        ("pause", "step", "finish", "cancel"),
    ),
}
"""While a run exists; otherwise there is one button, to start one."""


@pytest.fixture
def clock() -> SimpleNamespace:
    return SimpleNamespace(now=0.0)


@pytest.fixture
def controls(application, clock):
    controls = RunControls(clock=lambda: clock.now)
    yield controls
    controls.deleteLater()


@pytest.mark.parametrize("phase", RunPhase)
def test_buttons_follow_the_phase(controls, phase) -> None:
    controls.show_phase(phase)
    pressable = {name for name, button in controls.buttons.items() if button.isEnabled()}
    assert pressable == CAN[phase]
    assert controls.state.text() == words_of(phase)
    assert controls.bar.isHidden() is not is_busy(phase)
    for name in CAN:
        assert not (is_busy(name) and controls_of(name).start)


@pytest.mark.parametrize("phase", RunPhase)
def test_what_can_be_pressed_is_in_sight_and_little_else(controls, phase) -> None:
    controls.show_phase(phase)
    seen = {name for name, button in controls.buttons.items() if not button.isHidden()}
    assert seen == set(buttons_in_sight(phase)) == set(SEEN.get(phase, ("start",)))
    assert seen >= CAN[phase]


def test_an_unfilled_form_cannot_start_and_says_why(controls) -> None:
    controls.show_phase(RunPhase.IDLE, can_start=False, detail="Particles: nothing is chosen yet.")
    assert not controls.buttons["start"].isEnabled()
    assert controls.state.text() == "Particles: nothing is chosen yet."
    controls.show_phase(RunPhase.FAILED, detail="Memory ran out.")
    assert controls.state.text() == "Failed. Memory ran out."
    controls.show_phase(RunPhase.LOADING, can_start=False, detail="Particles: none.")
    assert controls.state.text() == "Loading PyTorch… Particles: none."
    assert controls_of(RunPhase.RUNNING, can_start=False) == controls_of(RunPhase.RUNNING)


def test_buttons_tell_their_names(controls) -> None:
    told = []
    controls.pressed.connect(told.append)
    for phase in (RunPhase.IDLE, RunPhase.RUNNING, RunPhase.PAUSED):
        controls.show_phase(phase)
        for button in controls.buttons.values():
            button.click()
    assert told == ["start", "pause", "step", "finish", "cancel", "resume", "step", "finish",
                    "cancel"]  # fmt: skip


def test_the_time_left_is_that_of_the_stage(controls, clock) -> None:
    controls.show_progress("comparing", 0.0)
    clock.now = 30.0
    controls.show_progress("comparing", 0.25)
    assert controls.bar.format() == "comparing 25 %, 1:30 left"
    assert controls.bar.value() == 250
    controls.show_progress("regularizing", 0.5)
    assert controls.bar.format() == "regularizing 50 %"
    clock.now = 40.0
    controls.show_progress("regularizing", 1.0)
    assert controls.bar.format() == "regularizing 100 %"


def test_the_cpu_is_loud_and_says_why(controls) -> None:
    controls.show_device("cpu", "no CUDA device was found")
    assert "CPU" in controls.badge.text()
    assert "no CUDA device" in controls.badge.text()
    loud = controls.badge.styleSheet()
    controls.show_device("cuda:0")
    assert controls.badge.text() == "On cuda:0"
    assert controls.badge.styleSheet() != loud
