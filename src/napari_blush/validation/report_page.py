"""One page of HTML that gathers reports: tables with lights, and curves drawn as SVG.

The page is one file without scripts, fonts or images from elsewhere: it can be mailed and archived.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from math import ceil, cos, floor, isfinite, log10, pi, sin

from napari_blush.validation.lights import Check, Light, worst_light

_COLORS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8d6a9f", "#c98a1b", "#555555")
_LIGHTS = {Light.GREEN: "#3a9d5d", Light.YELLOW: "#e0a526", Light.RED: "#c8372d"}
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 560, 280, 52, 40, 14
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #ddd}
table{border-collapse:collapse;width:100%}td{padding:.3rem .6rem;vertical-align:top}
tr+tr td{border-top:1px solid #eee}td.v{white-space:nowrap;font-variant-numeric:tabular-nums}
.l{display:inline-block;width:.8rem;height:.8rem;border-radius:50%;margin-right:.4rem}
svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#444}
.n{color:#666;font-size:.9rem}
"""


@dataclass(frozen=True, slots=True)
class Curve:
    """A named line of a plot; ``dashed`` for what is a reference or a control.

    ``low`` and ``high``, where given, bound a shade about it, such as the spread over draws.
    ``like`` is the place of the curve whose color it has; by default it has its own.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    like: int | None = None


@dataclass(frozen=True, slots=True)
class Plot:
    """Curves over common axes.

    Parameters
    ----------
    curves : sequence of Curve
    x_label, y_label : str
    y_range : (low, high)
    levels : mapping of name to y
        Horizontal lines.
    marks : mapping of name to x
        Vertical lines, such as where phases were randomized.
    angstrom : bool
        Whether x is a spatial frequency in 1/A, to be labelled in angstrom.
    """

    curves: Sequence[Curve]
    x_label: str
    y_label: str
    y_range: tuple[float, float] = (-0.1, 1.0)
    levels: dict[str, float] = field(default_factory=dict)
    marks: dict[str, float] = field(default_factory=dict)
    angstrom: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: a title, checks, drawings (SVG text) and notes in plain words."""

    title: str
    checks: Sequence[Check]
    drawings: Sequence[str] = ()
    notes: Sequence[str] = ()


def page(title: str, sections: Sequence[Section]) -> str:
    """Return the page.

    Parameters
    ----------
    title : str
    sections : sequence of Section
    """
    body = "".join(_section(section) for section in sections)
    worst = worst_light(check for section in sections for check in section.checks)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{_lamp(worst)}{escape(title)}</h1>"
        '<p class="n">Green says that a check found nothing wrong, not that the map is right.</p>'
        f"{body}</body></html>\n"
    )


def _section(section: Section) -> str:
    rows = "".join(
        f"<tr><td>{_lamp(check.light)}{escape(check.name)}</td>"
        f'<td class="v">{escape(check.value)}</td><td>{escape(check.sentence)}</td></tr>'
        for check in section.checks
    )
    notes = "".join(f'<p class="n">{escape(note)}</p>' for note in section.notes)
    drawings = "".join(f"<p>{drawing}</p>" for drawing in section.drawings)
    return f"<h2>{escape(section.title)}</h2><table>{rows}</table>{notes}{drawings}"


def _lamp(light: Light) -> str:
    return f'<span class="l" style="background:{_LIGHTS[light]}" title="{light.word}"></span>'


def drawn(plot: Plot) -> str:
    """Return a plot as SVG; points that are not finite break their line."""
    xs = [x for curve in plot.curves for x in curve.x if isfinite(x)]
    low, high = (min(xs), max(xs)) if xs else (0.0, 1.0)
    span = high - low or 1.0
    bottom, top = plot.y_range

    def at(x: float, y: float) -> tuple[float, float]:
        clipped = min(max(y, bottom), top)
        right = _LEFT + (x - low) / span * (_WIDTH - _LEFT - 10)
        down = _HEIGHT - _BOTTOM - (clipped - bottom) / (top - bottom) * (_HEIGHT - _BOTTOM - _TOP)
        return right, down

    parts = [_axes(plot, at, low, high)]
    legend = []
    for i, curve in enumerate(plot.curves):
        color = _COLORS[(i if curve.like is None else curve.like) % len(_COLORS)]
        dash = ' stroke-dasharray="5 4"' if curve.dashed else ""
        if curve.low:
            there = zip(
                (*curve.x, *reversed(curve.x)), (*curve.low, *reversed(curve.high)), strict=True
            )
            rim = " ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y in there)
            parts.append(f'<polygon points="{rim}" fill="{color}" fill-opacity="0.2"/>')
        for run in _finite_runs(curve):
            points = " ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y in run)
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.8"'
                f"{dash}/>"
            )
        y = _TOP + 14 * i + 4
        legend.append(
            f'<line x1="{_WIDTH - 190}" x2="{_WIDTH - 170}" y1="{y}" y2="{y}" stroke="{color}" '
            f'stroke-width="2"{dash}/><text x="{_WIDTH - 164}" y="{y + 4}">'
            f"{escape(curve.name)}</text>"
        )
    paper = (
        f'<rect x="{_WIDTH - 194}" y="{_TOP - 6}" width="194" height="{14 * len(legend) + 4}" '
        'fill="#fff" fill-opacity="0.8"/>'
    )
    return _svg(_WIDTH, _HEIGHT, "".join([*parts, paper, *legend]))


def _ticks(low: float, high: float) -> list[float]:
    """Return the round numbers between two, six at most."""
    rough = (high - low) / 5
    decade = 10.0 ** floor(log10(rough))
    step = next(factor * decade for factor in (1, 2, 5, 10) if factor * decade >= 0.999 * rough)
    return [i * step for i in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _axes(
    plot: Plot, at: Callable[[float, float], tuple[float, float]], low: float, high: float
) -> str:
    bottom, top = plot.y_range
    parts = []
    for i in range(6):
        x = low + (high - low) * i / 5
        right, down = at(x, bottom)
        label = (f"{1 / x:.1f}" if x > 1e-9 else "∞") if plot.angstrom else f"{x:.3g}"
        parts.append(
            f'<text x="{right:.1f}" y="{down + 16:.1f}" text-anchor="middle">{label}</text>'
        )
    for y in _ticks(bottom, top):
        left, height = at(low, y)
        parts.append(
            f'<text x="{left - 6:.1f}" y="{height + 4:.1f}" text-anchor="end">{y:.4g}</text>'
        )
    for name, y in {"": max(bottom, 0.0), **plot.levels}.items():
        (x1, height), (x2, _) = at(low, y), at(high, y)
        parts.append(
            f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{height:.1f}" y2="{height:.1f}" '
            f'stroke="#bbb"/><text x="{x1 + 4:.1f}" y="{height - 3:.1f}">{escape(name)}</text>'
        )
    for name, x in plot.marks.items():
        (right, down), (_, up) = at(x, bottom), at(x, top)
        # Words stand on that side of their line where there is room for them.
        aside, anchor = (3, "start") if right < 0.75 * _WIDTH else (-3, "end")
        parts.append(
            f'<line x1="{right:.1f}" x2="{right:.1f}" y1="{down:.1f}" y2="{up:.1f}" stroke="#bbb" '
            f'stroke-dasharray="2 3"/><text x="{right + aside:.1f}" y="{down - 4:.1f}" '
            f'text-anchor="{anchor}">{escape(name)}</text>'
        )
    parts.append(
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(plot.x_label)}'
        f'</text><text x="13" y="{_HEIGHT / 2}" text-anchor="middle" '
        f'transform="rotate(-90 13 {_HEIGHT / 2})">{escape(plot.y_label)}</text>'
    )
    return "".join(parts)


def _finite_runs(curve: Curve) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(curve.x, curve.y, strict=True):
        if isfinite(x) and isfinite(y):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def sphere_plot(
    directions: Sequence[Sequence[float]], values: Sequence[float], caption: str
) -> str:
    """Return both hemispheres as discs of equal area, coloured by a value of each direction.

    Parameters
    ----------
    directions : (p, 3)
        Unit vectors (x, y, z), evenly spread.
    values : (p,)
        Not negative; the greatest is the darkest.
    caption : str
    """
    radius = 120.0
    dot = 1.0 * radius * (2 / max(len(values), 1)) ** 0.5
    greatest = max(values, default=0.0) or 1.0
    parts = []
    for (x, y, z), value in zip(directions, values, strict=True):
        # Lambert's azimuthal projection of each hemisphere about its pole.
        stretch = radius / max(1e-9, (1 + abs(z)) ** 0.5)
        center = 140 + (280 if z < 0 else 0)
        shade = 1 - value / greatest
        color = f"rgb({int(27 + 218 * shade)},{int(108 + 139 * shade)},{int(168 + 84 * shade)})"
        parts.append(
            f'<circle cx="{center + x * stretch:.1f}" cy="{140 - y * stretch:.1f}" '
            f'r="{dot:.1f}" fill="{color}"/>'
        )
    rim = "".join(
        '<polyline points="{}" fill="none" stroke="#999"/>'.format(
            " ".join(
                f"{c + radius * cos(2 * pi * i / 72):.1f},{140 + radius * sin(2 * pi * i / 72):.1f}"
                for i in range(73)
            )
        )
        for c in (140, 420)
    )
    text = (
        '<text x="140" y="276" text-anchor="middle">z up</text>'
        '<text x="420" y="276" text-anchor="middle">z down</text>'
        f'<text x="280" y="292" text-anchor="middle">{escape(caption)}</text>'
    )
    return _svg(560, 300, "".join(parts) + rim + text)


def histogram(values: Sequence[float], x_label: str, *, n_bins: int = 30) -> str:
    """Return a histogram as SVG, as an outline over its bins."""
    finite = [value for value in values if isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    width = (high - low) / n_bins or 1.0
    counts = [0] * n_bins
    for value in finite:
        counts[min(n_bins - 1, int((value - low) / width))] += 1
    x = [low + width * (i + step) for i in range(n_bins) for step in (0, 1)]
    y = [count / len(finite) for count in counts for _ in (0, 1)]
    plot = Plot([Curve("fraction", x, y)], x_label, "fraction", y_range=(0.0, max(y) * 1.05))
    return drawn(plot)


def _svg(width: int, height: int, inside: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg">{inside}</svg>'
    )
