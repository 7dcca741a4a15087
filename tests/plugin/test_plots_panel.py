"""The panel of plots: what it tells, and that it draws nothing that nobody sees."""

import time

import pytest

from napari_blush.plugin.plots.curves import FscOfIteration
from napari_blush.plugin.plots.fsc import CURVES
from napari_blush.plugin.plots.panel import PlotsPanel


def of_iteration(level: float) -> FscOfIteration:
    return FscOfIteration({name: [1.0, *[level] * 8] for name in CURVES}, 2.0)


@pytest.fixture
def panel(application):
    panel = PlotsPanel()
    panel.resize(340, 230)
    yield panel
    panel.close()
    panel.deleteLater()


def test_nothing_is_drawn_while_hidden_and_the_last_when_shown(panel, wait_until) -> None:
    panel.show_fsc({1: of_iteration(0.4)})
    panel.show_fsc({1: of_iteration(0.4), 2: of_iteration(0.7)})
    assert panel.fsc.shown is None
    panel.show()
    wait_until(lambda: panel.fsc.shown == 2, 5)


def test_it_draws_at_most_ten_times_a_second(panel, wait_until, monkeypatch) -> None:
    panel.show()
    times: list[float] = []
    drawn = panel.fsc.show_history

    def count(*arguments) -> None:
        times.append(time.monotonic())
        drawn(*arguments)

    monkeypatch.setattr(panel.fsc, "show_history", count)
    history = {1: of_iteration(0.4)}
    for number in range(2, 40):
        history = {**history, number: of_iteration(number / 100)}
        panel.show_fsc(history)
    wait_until(lambda: panel.fsc.shown == 39, 5)
    assert len(times) == 2
    assert times[1] - times[0] > 0.09


def test_the_box_chooses_an_iteration_and_showing_one_does_not(panel) -> None:
    chosen: list[int] = []
    panel.iteration_chosen.connect(chosen.append)
    panel.show_fsc({number: of_iteration(0.5) for number in (1, 2, 3)})
    panel.mark_iteration(2)
    assert panel.iteration.value() == 2
    assert chosen == []
    panel.iteration.setValue(1)
    assert chosen == [1]
    panel.mark_iteration(None)
    assert panel.iteration.value() == 3


def test_it_fits_a_dock(panel) -> None:
    panel.show()
    assert panel.minimumSizeHint().width() <= 340
    assert panel.sizeHint().height() <= 225
