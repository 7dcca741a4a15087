"""Curves of a judgment: read off, drawn in either theme, and as a table."""

import math

import pytest

from napari_blush.plugin.plots.named_curves import NamedCurves

VOXEL = 2.0
CURVES = {"map": [1.0, 0.9, 0.5, 0.1, 0.0], "half 1": [1.0, 0.8, math.nan, 0.0, -0.1]}


@pytest.fixture
def plot(application) -> NamedCurves:
    plot = NamedCurves()
    plot.show_curves(CURVES, VOXEL, dashed=("half 1",), levels=(0.5,), marks={"random beyond": 2.0})
    return plot


def test_curves_are_read_at_their_resolution(plot) -> None:
    # Four shells of a box of 8 voxels of 2 A: shell 2 is 8 A.
    assert plot.readout(1 / 8) == "8.0 Å: map 0.50"
    assert plot.readout(1 / 16) == "16.0 Å: map 0.90, half 1 0.80"
    assert plot.readout(0.0) == ""
    assert plot.readout(1.0) == ""
    names, rows = plot.table()
    assert names == ("shell", "resolution_angstrom", "map", "half 1")
    assert rows[2][:3] == (2, pytest.approx(8.0), 0.5)
    assert len(rows) == 5


def test_levels_and_marks_stand_where_they_should(plot) -> None:
    assert [line.value() for line in plot._levels if line.isVisible()] == [0.5]
    (mark,) = [line for line in plot._marks if line.isVisible()]
    assert mark.value() == pytest.approx(1 / 8)
    plot.show_curves({"map": CURVES["map"]}, VOXEL)
    assert not any(line.isVisible() for line in (*plot._levels, *plot._marks))
    assert plot._lines[1].xData is None or not len(plot._lines[1].xData)


def test_a_theme_changes_the_colors(plot) -> None:
    before = plot._lines[0].opts["pen"].color().name()
    plot.set_colors("#111111", "#ffffff")
    assert plot._lines[0].opts["pen"].color().name() != before
