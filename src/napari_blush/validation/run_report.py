"""A run folder as one page of HTML: figures, curves, slices, views, settings, methods.

The page is one file without scripts, fonts or pictures from elsewhere: it can be mailed and
archived. It says what a run did; it judges nothing.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import torch

from napari_blush.conventions import FSC_GOLD_STANDARD
from napari_blush.errors import RunFolderError
from napari_blush.io.atomic import reason_of, write_bytes
from napari_blush.io.mrc import read_map
from napari_blush.io.star_columns import StarColumns
from napari_blush.io.star_table import read_star
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import euler_to_matrix
from napari_blush.validation.angular_distribution import angular_distribution
from napari_blush.validation.report_page import Curve, Plot, drawn, sphere_plot
from napari_blush.validation.run_facts import RunFacts, read_run
from napari_blush.validation.run_methods import methods
from napari_blush.validation.slice_pictures import central_slices, gray_pictures, montage

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222;
background:#fff}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem;
border-bottom:1px solid #ddd}table{border-collapse:collapse}
td,th{padding:.25rem .7rem;vertical-align:top;text-align:left;font-weight:normal}
tr+tr td,tr+tr th{border-top:1px solid #eee}th{color:#666}td.n{text-align:right;
font-variant-numeric:tabular-nums}td.c{font-weight:bold}.s{color:#666;font-size:.9rem}
svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#444}
.m img{width:12rem;height:12rem;display:block}.m td{border:0;padding:.2rem .4rem .2rem 0}
summary{cursor:pointer;color:#1b6ca8}
"""
PAGE_NAME = "report.html"
_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_UNKNOWN_ANGLE = 999.0
_TICKS = 5
_PICTURE_EDGE = 256
"""Pixels along the edge of a slice in a picture, about."""


def run_page(folder: Path) -> str:
    """Return the report of a run folder as HTML.

    Raises
    ------
    RunFolderError
        When it is no run folder or holds no whole iteration.
    """
    run = read_run(folder)
    name = run.folder.resolve().name
    parts = [
        f"<h1>{escape(name)}</h1>",
        _state(run),
        _key_figures(run),
        _section("Maps", _maps(run)),
        _section("Fourier shell correlation", _fsc(run)),
        _section("Course of the run", _course(run)),
        _section("What was changed while it ran", _changes(run)),
        _section("Views", _views(run)),
        _section("Methods", _methods(run)),
        _section("Settings and versions", _settings(run)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"/>'
        f"<title>{escape(name)}</title><style>{_STYLE}</style></head><body>"
        f"{''.join(parts)}</body></html>\n"
    )


def run_picture(folder: Path) -> bytes:
    """Return the slices of the report alone, as a PNG file: a row for each map.

    Raises
    ------
    RunFolderError
        See ``run_page``.
    """
    maps = _shown(read_run(folder)).values()
    slices = [central_slices(read_map(path, allow_odd=True).volume) for path in maps]
    edge = max((len(row[0]) for row in slices), default=1)
    return montage(slices, max(1, _PICTURE_EDGE // edge))


def write_run_page(folder: Path, target: Path) -> None:
    """Write the report of a run folder, or its picture alone where the target is a ``.png``.

    Whole or not at all.

    Raises
    ------
    RunFolderError
        See ``run_page``; also when the disk refuses.
    """
    is_picture = target.suffix.lower() == ".png"
    content = run_picture(folder) if is_picture else run_page(folder).encode()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise RunFolderError(f"Cannot make {target.parent}: {reason_of(problem)}") from problem
    write_bytes(target, content, RunFolderError)


def _section(title: str, body: str) -> str:
    return f"<h2>{title}</h2>{body}" if body else ""


def _table(rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Return rows of cells that are HTML already; those under a number's column stand right."""
    top = "<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>" if head else ""
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f"<table>{top}{body}</table>"


def _cell(text: str) -> str:
    is_number = text[:1].isdigit() and not any(letter.isalpha() for letter in text)
    return f'<td class="n">{text}</td>' if is_number else f"<td>{text}</td>"


def _note(text: str) -> str:
    return f'<p class="s">{escape(text)}</p>'


def _state(run: RunFacts) -> str:
    when = f"{run.written:%Y-%m-%d %H:%M}"
    if run.is_finished:
        said = f"Finished after {run.last['iteration']} iterations, {when}."
    elif run.failure:
        said = f"Ended after iteration {run.last['iteration']}: {run.failure}"
    else:
        said = f"Not finished: {run.last['iteration']} iterations by {when}."
    if run.branched_from is not None:
        parent, iteration = run.branched_from
        said += f" Branched from iteration {iteration} of {parent}."
    return _note(said)


def _key_figures(run: RunFacts) -> str:
    resolution = "–" if run.resolution is None else f"{run.resolution:.2f} Å"
    nyquist = 2 * run.voxel_size
    rows = [
        ("Resolution", f"{resolution} (FSC 0.143, of {nyquist:.2f} Å that the voxels can hold)"),
        ("Particles", f"{run.n_particles}"),
        ("Box", f"{run.box_size} px of {run.voxel_size:g} Å"),
        ("Symmetry", escape(run.settings.symmetry)),
        ("References", escape(run.regularizer or run.settings.regularizer)),
        ("Time", f"{run.seconds / 60:.1f} min in iterations"),
        ("Folder", escape(str(run.folder.resolve()))),
    ]
    return "<table>" + "".join(f"<tr><th>{a}</th><td>{b}</td></tr>" for a, b in rows) + "</table>"


def _maps(run: RunFacts) -> str:
    rows = [
        ["", *("across z", "across y", "across x")],
        *([name, *_pictures(path)] for name, path in _shown(run).items()),
    ]
    cells = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    edge = run.box_size * run.voxel_size
    return f'<table class="m">{cells}</table>' + _note(
        f"Slices through the middle, {edge:.0f} Å across. None of these maps was denoised."
    )


def _shown(run: RunFacts) -> dict[str, Path]:
    """Return the maps of the report by what they are called, of those that are there."""
    first, second = run.half_maps
    shown = {"half map 1, unfiltered": first, "half map 2, unfiltered": second}
    if run.final_map is not None:
        shown = {"final map": run.final_map, **shown}
    return {name: path for name, path in shown.items() if path.is_file()}


def _pictures(path: Path) -> list[str]:
    pictures = gray_pictures(central_slices(read_map(path, allow_odd=True).volume))
    return [f'<img alt="slice" src="{address}"/>' for address in pictures]


def _fsc(run: RunFacts) -> str:
    last = run.last
    names = {"corrected": "corrected", "masked": "masked", "unmasked": "unmasked"}
    curves = [_fsc_curve(run, last, key, name) for key, name in names.items()]
    curves.append(_fsc_curve(run, last, "phase_randomized", "phases random", dashed=True))
    middle = run.history[len(run.history) // 2]
    course = [
        _fsc_curve(run, line, "corrected", f"iteration {line['iteration']}")
        for line in {line["iteration"]: line for line in (run.history[0], middle, last)}.values()
    ]
    return (
        _drawing(run, curves)
        + _drawing(run, course)
        + _note(
            "Above: the last iteration. Below: the corrected curve of the first, a middle and the "
            "last iteration; each looked only so far as its images were compared. "
            f"{_cutoff(run)}"
        )
    )


def _drawing(run: RunFacts, curves: list[Curve]) -> str:
    plot = Plot(
        curves,
        "resolution in Å",
        "FSC",
        levels={"0.143": FSC_GOLD_STANDARD, "0.5": 0.5},
        angstrom=True,
    )
    return f"<p>{drawn(plot)}</p>"


def _fsc_curve(
    run: RunFacts, line: dict[str, Any], key: str, name: str, *, dashed: bool = False
) -> Curve:
    values = [float("nan") if value is None else float(value) for value in line["fsc"][key]]
    edge = run.box_size * run.voxel_size
    return Curve(name, [shell / edge for shell in range(len(values))], values, dashed)


def _cutoff(run: RunFacts) -> str:
    """Say where references were last cut off; the final iteration makes none."""
    shells = [line["cutoff_shell"] for line in run.history if line.get("cutoff_shell")]
    if not shells:
        return ""
    return f"References were last cut off at {run.box_size * run.voxel_size / shells[-1]:.2f} Å."


def _course(run: RunFacts) -> str:
    resolution = [_number(line["resolution_angstrom"]) for line in run.history]
    angles = {
        "estimated error": [_accuracy(line) for line in run.history],
        "step": [_step(line) for line in run.history],
    }
    drawings = [
        _over_iterations(run, {"resolution": resolution}, "resolution in Å"),
        _over_iterations(run, angles, "degrees"),
    ]
    return "".join(drawings) + _iteration_table(run)


def _over_iterations(run: RunFacts, courses: dict[str, list[float]], label: str) -> str:
    iterations = [float(line["iteration"]) for line in run.history]
    # A point that is not drawn brings the axis to whole numbers.
    end = iterations[0] + _TICKS * max(1.0, -(-(iterations[-1] - iterations[0]) // _TICKS))
    curves = [
        Curve(name, [*iterations, end], [*values, float("nan")]) for name, values in courses.items()
    ]
    finite = [value for values in courses.values() for value in values if value == value]
    top = 1.05 * max(finite, default=1.0)
    changes = {f"{i + 1}": float(at) for i, (at, *_) in enumerate(run.changes)}
    return f"<p>{drawn(Plot(curves, 'iteration', label, y_range=(0.0, top), marks=changes))}</p>"


def _iteration_table(run: RunFacts) -> str:
    head = ("iteration", "resolution (Å)", "step (°)", "error (°)", "p_max", "size (px)", "seconds")
    rows = [
        (
            f"{line['iteration']}",
            _text(_number(line["resolution_angstrom"]), 2),
            _text(_step(line), 2),
            _text(_accuracy(line), 2),
            _text(_number(line["average_p_max"]), 3),
            f"{line['current_size']}",
            _text(_number(line.get("seconds")), 1),
        )
        for line in run.history
    ]
    return f"<details><summary>Every iteration</summary>{_table(rows, head)}</details>"


def _changes(run: RunFacts) -> str:
    if not run.changes:
        return _note("Nothing.")
    rows = [
        (f"{n}", f"{iteration}", escape(what), escape(time))
        for n, (iteration, what, time) in enumerate(run.changes, start=1)
    ]
    return _table(rows, ("", "from iteration", "change", "asked for"))


def _views(run: RunFacts) -> str:
    if not run.poses.is_file():
        return ""
    for name, block in read_star(run.poses).items():
        if all(label in block.columns for label in _ANGLES):
            table = StarColumns(run.poses, name, block.columns)
            break
    else:
        return ""
    angles = torch.stack([torch.from_numpy(table.numbers(label)) for label in _ANGLES], dim=1)
    operators = symmetry_operators(run.settings.symmetry)
    found = angular_distribution(euler_to_matrix(angles), operators)
    drawing = sphere_plot(
        found.directions.tolist(), found.counts.double().tolist(), "particles by view; dark is more"
    )
    return f"<p>{drawing}</p>" + _note(
        f"Efficiency {found.efficiency:.2f}: the part of the particles that would have done, seen "
        f"evenly from everywhere. {100 * found.unseen:.1f} % of directions are filled by no view."
    )


def _methods(run: RunFacts) -> str:
    paragraph, cited = methods(run)
    works = "".join(
        f"<li>{escape(work.text)}"
        + (f' <a href="{work.address}">{work.address}</a>' if work.address else "")
        + "</li>"
        for work in cited
    )
    return f"<p>{escape(paragraph)}</p><ol>{works}</ol>"


def _settings(run: RunFacts) -> str:
    fields = type(run.settings).model_fields
    rows, chosen = [], []
    for name, field in fields.items():
        begun, now = getattr(run.begun_with, name), getattr(run.settings, name)
        value = _value(begun) if begun == now else f"{_value(begun)}, later {_value(now)}"
        row = (escape(name.replace("_", " ")), escape(value), escape(field.description or ""))
        rows.append(row)
        if begun != field.default or begun != now:
            chosen.append(row)
    versions = " · ".join(f"{escape(name)} {escape(at)}" for name, at in run.versions.items())
    return (
        f"<p>Not at their defaults:</p>{_table(chosen)}" if chosen else _note("All at defaults.")
    ) + f"<details><summary>Every setting</summary>{_table(rows)}</details><p>{versions}</p>"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _accuracy(line: dict[str, Any]) -> float:
    value = _number(line["accuracy_rotation_deg"])
    return value if value < _UNKNOWN_ANGLE else float("nan")


def _step(line: dict[str, Any]) -> float:
    return float(60.0 / 2 ** (line["healpix_order"] + line["adaptive_oversampling"]))


def _text(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value == value else "–"
