"""A run folder as one page of HTML: figures, curves, slices, views, settings, methods.

The page is one file without scripts, fonts or pictures from elsewhere: it can be mailed and
archived. It says what a run did; it judges nothing.
"""

from html import escape
from pathlib import Path
from typing import Any

import torch

from napari_blush.errors import RunFolderError
from napari_blush.io.atomic import reason_of, write_bytes
from napari_blush.io.mrc import read_map
from napari_blush.io.star_columns import StarColumns
from napari_blush.io.star_table import read_star
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import euler_to_matrix
from napari_blush.validation.angular_distribution import angular_distribution
from napari_blush.validation.report_page import sphere_plot
from napari_blush.validation.run_curves import course, fsc_curves
from napari_blush.validation.run_facts import RunFacts, read_run
from napari_blush.validation.run_methods import methods
from napari_blush.validation.run_page_parts import STYLE, note, section, table
from napari_blush.validation.slice_pictures import central_slices, gray_pictures, montage

PAGE_NAME = "report.html"
_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
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
        section("Maps", _maps(run)),
        section("Fourier shell correlation", fsc_curves(run)),
        section("Course of the run", course(run)),
        section("What was changed while it ran", _changes(run)),
        section("Views", _views(run)),
        section("Methods", _methods(run)),
        section("Settings and versions", _settings(run)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"/>'
        f"<title>{escape(name)}</title><style>{STYLE}</style></head><body>"
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
    return note(said)


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
    return f'<table class="m">{cells}</table>' + note(
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


def _changes(run: RunFacts) -> str:
    if not run.changes:
        return note("Nothing.")
    rows = [
        (f"{n}", f"{iteration}", escape(what), escape(time))
        for n, (iteration, what, time) in enumerate(run.changes, start=1)
    ]
    return table(rows, ("", "from iteration", "change", "asked for"))


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
    return f"<p>{drawing}</p>" + note(
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
        f"<p>Not at their defaults:</p>{table(chosen)}" if chosen else note("All at defaults.")
    ) + f"<details><summary>Every setting</summary>{table(rows)}</details><p>{versions}</p>"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
