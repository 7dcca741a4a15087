"""The curves of a run for its report: FSC, resolution, steps and errors over the iterations."""

from typing import Any

from napari_blush.conventions import FSC_GOLD_STANDARD
from napari_blush.validation.report_page import Curve, Plot, drawn
from napari_blush.validation.run_facts import RunFacts
from napari_blush.validation.run_page_parts import note, table

_UNKNOWN_ANGLE = 999.0
_TICKS = 5


def fsc_curves(run: RunFacts) -> str:
    """Return the FSC of the last iteration, and how the corrected one came about, as HTML."""
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
        + note(
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


def course(run: RunFacts) -> str:
    """Return resolution and angles over the iterations, and a table of them, as HTML."""
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
    return f"<details><summary>Every iteration</summary>{table(rows, head)}</details>"


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _accuracy(line: dict[str, Any]) -> float:
    value = _number(line["accuracy_rotation_deg"])
    return value if value < _UNKNOWN_ANGLE else float("nan")


def _step(line: dict[str, Any]) -> float:
    return float(60.0 / 2 ** (line["healpix_order"] + line["adaptive_oversampling"]))


def _text(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value == value else "–"
