"""The panel of plots: what it tells, and that it draws nothing that nobody sees."""

import csv
import math
import time
from typing import Any
from xml.etree import ElementTree

import pytest
from qtpy.QtGui import QImage

from napari_blush.plugin.plots.curves import FscOfIteration
from napari_blush.plugin.plots.fsc import CURVES
from napari_blush.plugin.plots.palette import PRINTED, palette
from napari_blush.plugin.plots.panel import PlotsPanel
from napari_blush.plugin.touched import TouchedByDenoiser
from napari_blush.session import IterationSummary


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


def summary(number: int, **changes: Any) -> IterationSummary:
    fields = {"resolution_angstrom": 20.0 / number, "accuracy_deg": 8.0 / number}
    fields |= {"step_deg": 7.5, "average_p_max": 0.1 * number, "seconds": 3.0, "current_size": 16}
    return IterationSummary(number, **(fields | changes))


TOUCHED = TouchedByDenoiser(
    2, 2.0, (math.nan, 1.0, 0.9, 0.5, 0.0), (0.0, 1.0, 5.0, 30.0, math.nan), 2
)


def test_progress_is_drawn_over_iterations_with_flags_where_it_was_changed(panel) -> None:
    plot = panel.progress
    found = {1: summary(1, accuracy_deg=None), 2: summary(2, changed=("mask",)), 3: summary(3)}
    plot.show_summaries(found, 2)
    x, y = plot.curves["resolution"].getData()
    assert list(x) == [1, 2, 3]
    assert y == pytest.approx([1 / 20, 2 / 20, 3 / 20])
    x, y = plot.curves["accuracy"].getData()
    assert list(x) == [2, 3]
    assert 2**y == pytest.approx([4.0, 8 / 3])
    assert plot.curves["p_max"].getData()[1] == pytest.approx([0.1, 0.2, 0.3])
    assert [list(flags.getData()[0]) for flags in plot.flags] == [[2, 2]] * 3
    assert all(mark.isVisible() and mark.value() == 2 for mark in plot._marks)
    assert "changed mask" in plot.readout(2.2)
    assert "accuracy –" in plot.readout(1.0)
    assert "changed" not in plot.readout(3.4)
    plot.show_summaries({})
    assert plot.readout(1.0) == ""


def test_progress_of_another_run_is_drawn_beside(panel) -> None:
    plot = panel.progress
    plot.show_beside({n: summary(n) for n in range(1, 9)})
    plot.show_summaries({1: summary(1), 2: summary(2)})
    x, y = plot.beside["p_max"].getData()
    assert list(x) == list(range(1, 9))
    assert y == pytest.approx([0.1 * n for n in range(1, 9)])
    assert plot.strips[-1].vb.viewRange()[0][1] > 8
    assert plot.strips[0].vb.viewRange()[1][1] > 8 / 20
    assert plot.table()[1][-1][0] == 2


def test_a_click_on_an_iteration_chooses_it(panel) -> None:
    chosen: list[int] = []
    panel.iteration_chosen.connect(chosen.append)
    panel.progress.choose_at(1.0, 0.5, 0)
    panel.progress.show_summaries({n: summary(n) for n in (1, 2, 3)})
    panel.progress.choose_at(1.8, 0.5, 2)
    assert chosen == [2]


def test_shells_beyond_the_cutoff_are_grey(panel) -> None:
    plot = panel.denoiser
    plot.show_touched(TOUCHED)
    step = 1 / (8 * 2.0)
    for zone in plot.unused:
        assert zone.isVisible()
        assert zone.getRegion()[0] == pytest.approx(2 * step)
    assert plot.readout(3 * step) == "5.3 Å: amplitude × 0.50, phase 30°; beyond the cut-off"
    assert plot.readout(2 * step) == "8.0 Å: amplitude × 0.90, phase 5°"
    plot.show_touched(None)
    assert not any(zone.isVisible() for zone in plot.unused)
    assert "nothing was denoised" in plot.caption.text


def test_tables_hold_what_is_drawn(panel, tmp_path) -> None:
    panel.show_fsc({1: of_iteration(0.4), 2: of_iteration(0.7)})
    panel.show_summaries({1: summary(1, accuracy_deg=None), 2: summary(2, changed=("mask", "x"))})
    panel.show_touched(TOUCHED)
    tables = []
    for tab in range(3):
        panel.tabs.setCurrentIndex(tab)
        panel.export(tmp_path / f"{tab}.csv")
        with (tmp_path / f"{tab}.csv").open() as file:
            tables.append(list(csv.DictReader(file)))
    curves, progress, touched = tables
    assert len(curves) == 16
    assert curves[11]["iteration"] == "2"
    assert float(curves[11]["resolution_angstrom"]) == pytest.approx(8.0)
    assert float(curves[11]["fsc_corrected"]) == pytest.approx(0.7)
    assert [row["accuracy_deg"] for row in progress] == ["", "4"]
    assert progress[1]["changed"] == "mask; x"
    assert [row["used"] for row in touched] == ["1", "1", "0", "0"]
    assert touched[3]["phase_change_deg"] == ""
    assert touched[2]["amplitude_ratio"] == "0.5"


@pytest.mark.parametrize("seen", [False, True])
def test_pictures_show_curves_on_white_and_leave_the_theme(panel, tmp_path, seen) -> None:
    panel.setVisible(seen)
    panel.set_colors("#f0f1f2", "#23242b")
    panel.show_fsc({1: of_iteration(0.4)})
    panel.export(tmp_path / "fsc.png")
    picture = QImage(str(tmp_path / "fsc.png"))
    assert picture.pixelColor(5, picture.height() - 5).name() == "#ffffff"
    column = [picture.pixelColor(picture.width() // 2, y).name() for y in range(picture.height())]
    # 0.4 of the way from -0.15 to 1.05 would be at 0.46 of the height of the axis.
    place = column.index(palette(*PRINTED).first) / picture.height()
    assert 0.4 < place < 0.6
    panel.export(tmp_path / "fsc.SVG")
    drawing = ElementTree.parse(tmp_path / "fsc.SVG").getroot()
    assert drawing.tag.endswith("svg")
    assert "resolution (Å)" in "".join(drawing.itertext())
    assert panel.fsc.colors.background == "#23242b"
    assert panel.isVisible() is seen


def test_what_cannot_be_saved_is_said_in_a_sentence(panel, tmp_path) -> None:
    said: list[str] = []
    panel.said.connect(said.append)
    for name in ("fsc.jpg", "no folder/fsc.csv", "fsc.csv", ""):
        panel.choose_path = lambda name=name: name and str(tmp_path / name)
        panel.save()
    assert "wanted a name that ends in .png, .svg, .csv" in said[0]
    assert "its folder does not exist" in said[1]
    assert said[2:] == [f"The plot is in {tmp_path / 'fsc.csv'}."]
    assert [path.name for path in tmp_path.iterdir()] == ["fsc.csv"]
