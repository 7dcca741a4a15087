"""Curves of a run: which are shown, where, and what is read off them."""

import pytest

from napari_blush.plugin.plots.curves import FscOfIteration, Limits
from napari_blush.plugin.plots.fsc import CURVES, FscPlot

N, VOXEL = 16, 2.0
"""Shells lie 1/32 of a reciprocal angstrom apart."""


def of_iteration(level: float) -> FscOfIteration:
    names = {name: level - 0.1 * number for number, name in enumerate(CURVES)}
    return FscOfIteration(
        {name: [1.0, *[value] * (N // 2)] for name, value in names.items()}, VOXEL
    )


@pytest.fixture
def plot(application):
    plot = FscPlot()
    yield plot
    plot.deleteLater()


def test_the_last_iteration_is_shown_in_full(plot) -> None:
    plot.show_history({1: of_iteration(0.3), 2: of_iteration(0.6)})
    for number, name in enumerate(CURVES):
        x, y = plot.curves[name].getData()
        assert x[1] == pytest.approx(1 / (N * VOXEL))
        assert y[1:] == pytest.approx([0.6 - 0.1 * number] * (N // 2))
    _, y = plot._faded[0].getData()
    assert y[1] == pytest.approx(0.3)


def test_earlier_iterations_fade_and_the_oldest_go(plot) -> None:
    plot.show_history({number: of_iteration(number / 100) for number in range(1, 21)})
    levels = [curve.getData()[1][1] for curve in plot._faded]
    assert levels == pytest.approx([number / 100 for number in range(19, 11, -1)])
    opacity = [curve.opts["pen"].color().alpha() for curve in plot._faded]
    assert opacity == sorted(opacity, reverse=True)
    plot.show_history({1: of_iteration(0.5)})
    assert all(curve.getData()[0] is None for curve in plot._faded)


def test_a_chosen_iteration_is_shown_with_those_around_it(plot) -> None:
    plot.show_history({number: of_iteration(number / 100) for number in range(1, 21)}, shown=10)
    assert plot.curves["corrected"].getData()[1][1] == pytest.approx(0.10)
    levels = sorted(curve.getData()[1][1] for curve in plot._faded)
    assert levels == pytest.approx([x / 100 for x in (6, 7, 8, 9, 11, 12, 13, 14)])
    assert "iteration 10" in plot.caption.text


def test_the_cutoff_stands_at_its_resolution(plot) -> None:
    plot.show_history({1: of_iteration(0.5)}, Limits(cutoff=4))
    assert plot.cutoff.isVisible()
    assert plot.cutoff.value() == pytest.approx(4 / (N * VOXEL))
    plot.show_history({1: of_iteration(0.5)})
    assert not plot.cutoff.isVisible()


def test_a_run_that_has_not_begun_has_no_curves(plot) -> None:
    plot.show_history({1: of_iteration(0.5)}, Limits(cutoff=3))
    plot.show_history({}, Limits(cutoff=3))
    assert plot.curves["corrected"].getData()[0] is None
    assert not plot.cutoff.isVisible()
    assert plot.readout(0.1) == ""


def test_the_readout_is_in_angstrom(plot) -> None:
    plot.show_history({1: of_iteration(0.5)}, Limits(nyquist=5.0))
    words = "8.0 Å: corrected 0.50, no mask 0.40, masked 0.30, randomized 0.20"
    assert plot.readout(4 / 32) == words
    assert plot.readout(6 / 32).endswith("; beyond the denoiser")
    assert plot.readout(-1.0) == plot.readout(9.0) == ""
