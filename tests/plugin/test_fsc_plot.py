"""Curves of a run: which are shown, where, and what is read off them."""

import pytest

from napari_blush.plugin.plots.fsc import CURVES, FscOfIteration, FscPlot, resolution_label

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
    _, y = plot._earlier[0].getData()
    assert y[1] == pytest.approx(0.3)


def test_earlier_iterations_fade_and_the_oldest_go(plot) -> None:
    plot.show_history({number: of_iteration(number / 100) for number in range(1, 21)})
    levels = [curve.getData()[1][1] for curve in plot._earlier]
    assert levels == pytest.approx([number / 100 for number in range(19, 11, -1)])
    opacity = [curve.opts["pen"].color().alpha() for curve in plot._earlier]
    assert opacity == sorted(opacity, reverse=True)
    plot.show_history({1: of_iteration(0.5)})
    assert all(curve.getData()[0] is None for curve in plot._earlier)


def test_the_cutoff_stands_at_its_resolution(plot) -> None:
    plot.show_history({1: of_iteration(0.5)}, cutoff_shell=4)
    assert plot.cutoff.isVisible()
    assert plot.cutoff.value() == pytest.approx(4 / (N * VOXEL))
    plot.show_history({1: of_iteration(0.5)}, cutoff_shell=None)
    assert not plot.cutoff.isVisible()


def test_a_run_that_has_not_begun_has_no_curves(plot) -> None:
    plot.show_history({1: of_iteration(0.5)}, 3)
    plot.show_history({}, 3)
    assert plot.curves["corrected"].getData()[0] is None
    assert not plot.cutoff.isVisible()
    assert plot.readout(0.1) == ""


def test_ticks_and_readout_are_in_angstrom(plot) -> None:
    assert [resolution_label(f) for f in (0.0, 0.05, 0.25)] == ["∞", "20", "4.0"]
    plot.show_history({1: of_iteration(0.5)})
    assert plot.readout(0.125) == "8.0 Å: corrected 0.50, no mask 0.40"
    assert plot.readout(-1.0) == plot.readout(9.0) == ""
