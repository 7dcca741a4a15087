"""``history.json``: a line of JSON per iteration, enough to draw every plot of a run again."""

import json
import math
from pathlib import Path
from typing import Any

from torch import Tensor

from napari_blush.data_model.results import AppliedChange, FscCurves, IterationResult
from napari_blush.errors import RunFolderError
from napari_blush.io.atomic import write_bytes
from napari_blush.io.mrc import write_map

HISTORY_NAME = "history.json"
MASK_NAME = "run_it{:03d}_mask.mrc"
"""A solvent mask that a person gave between two iterations."""


def append_history(folder: Path, result: IterationResult) -> None:
    """Add an iteration; lines of the same or later iterations, of a run cut short, go.

    A mask that took effect in the iteration is written beside the history.
    """
    for change in result.changes:
        if change.mask is not None:
            mask = folder / MASK_NAME.format(result.iteration)
            write_map(mask, change.mask.float(), result.half_maps.voxel_size)
    lines = [line for line in read_history(folder) if line["iteration"] < result.iteration]
    lines.append(_line(result))
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    write_bytes(folder / HISTORY_NAME, text.encode(), RunFolderError)


def read_history(folder: str | Path) -> list[dict[str, Any]]:
    """Return one mapping per iteration, in order; empty when there is no history.

    Raises
    ------
    RunFolderError
        When the file is there and cannot be understood.
    """
    path = Path(folder) / HISTORY_NAME
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise RunFolderError(
            f"Cannot read {path} ({problem.strerror}); check the disk."
        ) from problem
    try:
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        return [line for line in lines if isinstance(line["iteration"], int)]
    except (ValueError, TypeError, KeyError) as problem:
        raise RunFolderError(
            f"{path} cannot be understood; wanted a line of JSON per iteration; delete it to go on "
            "without what it holds."
        ) from problem


def _line(result: IterationResult) -> dict[str, Any]:
    sampling = result.sampling
    return {
        "iteration": result.iteration,
        "resolution_angstrom": _number(result.resolution_angstrom),
        "cutoff_shell": result.cutoff_shell,
        "regularizer": result.regularized_by,
        "current_size": result.current_size,
        "coarse_size": result.coarse_size,
        "healpix_order": sampling.healpix_order,
        "adaptive_oversampling": sampling.adaptive_oversampling,
        "local_search_sigma_deg": sampling.local_search_sigma_deg,
        "offset_range_angstrom": sampling.offset_range_angstrom,
        "offset_step_angstrom": sampling.offset_step_angstrom,
        "accuracy_rotation_deg": _number(result.accuracy.rotation_deg),
        "accuracy_translation_angstrom": _number(result.accuracy.translation_angstrom),
        "changes_rotation_deg": _number(result.changes_rotation_deg),
        "changes_offset_angstrom": _number(result.changes_offset_angstrom),
        "average_p_max": _number(result.average_p_max),
        "sigma_offset_angstrom": [_number(value) for value in result.sigma_offset_angstrom],
        "voxel_size": result.half_maps.voxel_size,
        "fsc": _curves(result.fsc),
        "seconds": result.seconds,
        "stage_seconds": result.stage_seconds,
        "messages": list(result.messages),
        "automatic_cutoff_shell": result.automatic_cutoff_shell,
        "denoiser_nyquist_shell": result.denoiser_nyquist_shell,
        "changes": [_change(change, result.iteration) for change in result.changes],
    }


def _change(change: AppliedChange, iteration: int) -> dict[str, Any]:
    values = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in change.values.items()
    }
    line: dict[str, Any] = {"what": change.what, "time": change.time, "values": values}
    if change.mask is not None:
        line["mask"] = MASK_NAME.format(iteration)
    return line


def _curves(fsc: FscCurves) -> dict[str, Any]:
    return {
        "unmasked": _values(fsc.unmasked),
        "masked": _values(fsc.masked),
        "phase_randomized": _values(fsc.phase_randomized),
        "corrected": _values(fsc.corrected),
        "randomized_from_shell": fsc.randomized_from_shell,
    }


def _values(curve: Tensor) -> list[float | None]:
    return [_number(round(value, 6)) for value in curve.double().tolist()]


def _number(value: float) -> float | None:
    # JSON knows no infinity, and other programs read this file.
    return value if math.isfinite(value) else None
