"""Curves of a run: which are shown, where, and what is read off them."""

from dataclasses import asdict

import pytest
from qtpy.QtCore import Qt

from napari_blush.plugin.plots.curves import FscOfIteration, Limits
from napari_blush.plugin.plots.fsc import CURVES, FscPlot
from napari_blush.plugin.plots.palette import palette
from napari_blush.regularization.spectral_trailing import LEAST_CUTOFF

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
    assert plot.cutoff.label.toPlainText() == "cut-off"
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


def drag(plot, shell: float) -> None:
    """Move the line as the mouse would, and let go."""
    line = plot.cutoff
    line.moving = True
    line.setValue(shell / (N * VOXEL))
    line.sigDragged.emit(line)
    line.moving = False
    line.sigPositionChangeFinished.emit(line)


def test_the_cutoff_is_dragged_from_shell_to_shell(plot) -> None:
    dropped: list[int] = []
    plot.cutoff_dragged.connect(dropped.append)
    plot.show_history({1: of_iteration(0.5)}, Limits(cutoff=6, automatic=6))
    drag(plot, 5.2)
    assert dropped == [5]
    assert plot.cutoff.value() == pytest.approx(5 / (N * VOXEL))
    assert "6.4 Å from the next iteration on; automatic: 5.3 Å" in plot.caption.text
    drag(plot, 0.4)
    assert dropped == [5, LEAST_CUTOFF]
    drag(plot, 99)
    assert dropped == [5, LEAST_CUTOFF, N // 2]


def test_finer_than_automatic_is_unsafe_and_looks_so(plot) -> None:
    history = {1: of_iteration(0.5)}
    plot.show_history(history, Limits(cutoff=6, automatic=6, asked=7))
    assert plot.cutoff.is_unsafe
    assert plot.cutoff.words == "4.6 Å unsafe"
    assert plot.cutoff.pen.color().name() == plot.colors.warning
    assert "unsafe" in plot.words_of_cutoff(7)
    plot.show_history(history, Limits(cutoff=6, automatic=6, asked=5))
    assert not plot.cutoff.is_unsafe
    assert plot.cutoff.pen.color().name() == plot.colors.limit
    assert "unsafe" not in plot.cutoff.words + plot.words_of_cutoff(5)


def test_what_is_asked_for_is_dashed_until_the_references_end_there(plot) -> None:
    history = {1: of_iteration(0.5)}
    plot.show_history(history, Limits(cutoff=6, automatic=6, asked=5))
    assert plot.cutoff.pen.style() == Qt.PenStyle.DashLine
    assert plot.automatic.isVisible()
    assert plot.automatic.value() == pytest.approx(6 / (N * VOXEL))
    plot.show_history(history, Limits(cutoff=5, automatic=6))
    assert plot.cutoff.pen.style() == Qt.PenStyle.SolidLine
    assert plot.cutoff.words == "cut-off"
    assert plot.automatic.isVisible()
    plot.show_history(history, Limits(cutoff=6, automatic=6))
    assert not plot.automatic.isVisible()


def test_a_new_iteration_does_not_take_the_line_from_the_mouse(plot) -> None:
    plot.show_history({1: of_iteration(0.5)}, Limits(cutoff=6, automatic=6))
    plot.cutoff.moving = True
    plot.cutoff.setValue(5 / (N * VOXEL))
    plot.show_history({1: of_iteration(0.5), 2: of_iteration(0.6)}, Limits(cutoff=7, automatic=7))
    assert plot.cutoff.value() == pytest.approx(5 / (N * VOXEL))


def test_beyond_the_denoiser_is_hatched(plot) -> None:
    plot.show_history({1: of_iteration(0.5)}, Limits(nyquist=5.5))
    assert plot._beyond.isVisible()
    assert plot._beyond.getRegion()[0] == pytest.approx(5.5 / (N * VOXEL))
    assert plot._beyond.brush.style() == Qt.BrushStyle.BDiagPattern
    plot.show_history({1: of_iteration(0.5)}, Limits(nyquist=9.0))
    assert not plot._beyond.isVisible()


def test_a_click_on_a_faded_curve_chooses_its_iteration(plot, application) -> None:
    chosen: list[int] = []
    plot.iteration_chosen.connect(chosen.append)
    plot.show_history({1: of_iteration(0.4), 2: of_iteration(0.6), 3: of_iteration(0.9)})
    plot.resize(300, 190)
    plot.show()
    application.processEvents()
    plot.choose_at(4 / (N * VOXEL), 0.61, 0)
    plot.choose_at(4 / (N * VOXEL), 0.41, 0)
    assert chosen == [2, 1]
    plot.choose_at(4 / (N * VOXEL), 0.75, 0)
    plot.choose_at(4 / (N * VOXEL), 0.9, 0)
    assert chosen == [2, 1]


@pytest.mark.parametrize("theme", [("#f0f1f2", "#23242b"), ("#1e1e21", "#ebe7e6")])
def test_every_colour_stands_out_from_its_background(theme) -> None:
    colors = asdict(palette(*theme))
    background = luminance(colors.pop("background"))
    for color in colors.values():
        low, high = sorted([luminance(color), background])
        assert (high + 0.05) / (low + 0.05) > 3.0  # WCAG 2.1, graphics


def luminance(color: str) -> float:
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
