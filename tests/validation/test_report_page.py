"""The page is whole, safe and says what it was given; XML as the EMDB reads it."""

import math
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from napari_blush.errors import SettingsError
from napari_blush.validation.emdb_xml import write_fsc_xml
from napari_blush.validation.lights import Check, Light
from napari_blush.validation.report_page import (
    Curve,
    Plot,
    Section,
    drawn,
    histogram,
    page,
    sphere_plot,
)


class Balance(HTMLParser):
    """Checks that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta",):
            self.open.append(tag)
        assert not any(name in ("src", "href") for name, _ in attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_balanced_and_escaped() -> None:
    check = Check("name <b>", "1 & 2", Light.RED, "A sentence.")
    plot = drawn(Plot([Curve("a<b", [0.0, 0.1, 0.2], [1.0, math.nan, 0.5])], "x", "y"))
    text = page("Title & co", [Section("One", [check], [plot], ["a note"])])
    reader = Balance()
    reader.feed(text)
    assert reader.open == []
    for piece in ("Title & co", "name <b>", "1 & 2", "A sentence.", "a note", "a<b"):
        assert piece in reader.text
    assert "<script" not in text
    assert 'title="red"' in text


def test_a_curve_goes_where_its_numbers_say() -> None:
    plot = Plot([Curve("c", [0.0, 0.5, 1.0], [0.0, 1.0, 0.5])], "x", "y", y_range=(0.0, 1.0))
    root = ElementTree.fromstring(drawn(plot))
    (line,) = [e for e in root.iter() if e.tag.endswith("polyline")]
    points = [tuple(map(float, p.split(","))) for p in line.get("points", "").split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 > y2 > y1
    assert y2 - y1 == pytest.approx(y0 - y2, abs=0.2)


@pytest.mark.parametrize(
    ("y_range", "wanted"),
    [
        ((-0.1, 1.0), ["0", "0.5", "1"]),
        ((0.0, 1.2), ["0", "0.5", "1"]),
        ((3.0, 47.0), ["10", "40"]),
    ],
)
def test_axes_carry_round_numbers(y_range: tuple[float, float], wanted: list[str]) -> None:
    root = ElementTree.fromstring(drawn(Plot([Curve("c", [0, 1], [0, 1])], "x", "y", y_range)))
    found = [e.text for e in root.iter() if e.get("text-anchor") == "end"]
    assert set(wanted) <= set(found), found
    assert 3 <= len(found) <= 7


def test_a_shade_lies_about_its_curve() -> None:
    curve = Curve("c", [0.0, 1.0], [0.5, 0.5], low=[0.25, 0.0], high=[0.75, 1.0])
    root = ElementTree.fromstring(drawn(Plot([curve], "x", "y", y_range=(0.0, 1.0))))
    (shade,) = [e for e in root.iter() if e.tag.endswith("polygon")]
    (_, a), (_, b), (_, c), (_, d) = (
        tuple(map(float, point.split(","))) for point in shade.get("points", "").split()
    )
    assert b - c == pytest.approx(2 * (a - d), abs=0.3)


def test_gaps_break_a_line() -> None:
    plot = Plot([Curve("c", [0, 1, 2, 3, 4], [0.1, 0.2, math.nan, 0.3, 0.4])], "x", "y")
    assert drawn(plot).count("<polyline") == 2
    assert histogram([], "x") == ""
    assert "polyline" in histogram([1.0, 2.0, 2.0, math.inf], "x")


def test_each_direction_has_its_dot() -> None:
    directions = [(0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0)]
    root = ElementTree.fromstring(sphere_plot(directions, [1.0, 0.5, 0.0], "views"))
    dots = [e for e in root.iter() if e.tag.endswith("circle")]
    assert [float(dot.get("cx", "")) for dot in dots] == [140.0, 260.0, 420.0]
    assert dots[2].get("fill") == "rgb(245,247,252)"


def test_xml_holds_the_curve(tmp_path: Path) -> None:
    fsc = torch.tensor([1.0, 0.9, 0.5, -0.1, 0.0])
    write_fsc_xml(tmp_path / "fsc.xml", fsc, 2.0, 'a "title" <1>')
    root = ElementTree.parse(tmp_path / "fsc.xml").getroot()
    assert root.tag == "fsc"
    assert root.get("title") == 'a "title" <1>'
    assert root.get("xaxis") == "Resolution (A-1)"
    x = [float(e.findtext("x", "")) for e in root.iter("coordinate")]
    y = [float(e.findtext("y", "")) for e in root.iter("coordinate")]
    assert x == pytest.approx([shell / (8 * 2.0) for shell in range(5)])
    assert y == pytest.approx(fsc.tolist())
    with pytest.raises(SettingsError, match="at least two"):
        write_fsc_xml(tmp_path / "no.xml", fsc[:1], 2.0, "x")
