"""Reads back from a run folder what a run has said, and how it stands; writes nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.results import Accuracy, FscCurves, SamplingState
from napari_blush.io.mrc import read_map
from napari_blush.io.run_failure import read_failure
from napari_blush.io.run_folder import is_finished
from napari_blush.io.run_history import read_history
from napari_blush.io.run_lock import holder_of
from napari_blush.io.run_settings import read_run_facts
from napari_blush.io.run_state import last_whole_iteration, state_path
from napari_blush.refine.events import RunStarted
from napari_blush.refine.going_on import state_at
from napari_blush.refine.iteration_result import NO_ACCURACY
from napari_blush.refine.kept_run import (
    IterationRead,
    IterationSummary,
    KeptIteration,
    PastRead,
    RunReopened,
    Standing,
)
from napari_blush.refine.schedule import fine_step_deg

_FINAL_HALF = "run_half{half}_class001_unfil.mrc"
_HALF = "run_it{number:03d}_half{half}_class001_unfil.mrc"
_REFERENCE = "run_it{number:03d}_half{half}_class001.mrc"
_DENOISED = "run_it{number:03d}_half{half}_class001_denoised.mrc"


def reopened(folder: Path) -> RunReopened:
    """Return what a folder holds of its run.

    Raises
    ------
    RunFolderError
        When it holds no run, or what it holds cannot be understood.
    """
    standing, text = standing_of(folder)
    lines = whole_lines(folder)
    count, regularizer = read_run_facts(folder)
    last = last_whole_iteration(folder)
    if last is None or not lines:
        return RunReopened(None, (), None, standing, text)
    state = state_at(folder, last)
    halves = [int((state.random_subset == half).sum()) for half in (1, 2)]
    run = RunStarted(
        n_particles=count,
        n_per_half=(halves[0], halves[1]),
        box_size=int(state.models[0].reference.shape[-1]),
        pixel_size=float(lines[-1]["voxel_size"]),
        first_iteration=last + 1,
        device="",
        backend="",
        regularizer=regularizer,
    )
    return RunReopened(run, kept_iterations(lines), state, standing, text)


def standing_of(folder: Path) -> tuple[Standing, str]:
    """Return what becomes of the run in a folder, and a sentence about it."""
    holder = holder_of(folder)
    if holder is not None and holder.is_alive:
        return Standing.GOING_ON, f"{holder.name} computes this run: it is followed, read-only."
    if is_finished(folder):
        return Standing.FINISHED, "The run is finished; branch from an iteration to change it."
    reason = read_failure(folder)
    if reason:
        return Standing.FAILED, f"The run failed: {reason}"
    if holder is not None:
        return (
            Standing.FAILED,
            f"{holder.name} ended without a word: it was killed, ran out of memory, or its machine "
            "went down. Continue goes on from the last whole iteration.",
        )
    return Standing.STOPPED, "The run was stopped; Continue goes on from its last whole iteration."


def whole_lines(folder: Path) -> list[dict[str, Any]]:
    """Return the history of the iterations whose files are all there."""
    finished = is_finished(folder)
    return [
        line
        for line in read_history(folder)
        if finished or state_path(folder, line["iteration"]).is_file()
    ]


def kept_iterations(lines: Sequence[Mapping[str, Any]]) -> tuple[KeptIteration, ...]:
    """Return iterations from lines of a history."""
    return tuple(_kept(line) for line in lines)


def past_of(folder: Path, iteration: int | None = None) -> PastRead:
    """Return the iterations of a run up to one of them, the last whole one by default."""
    last = last_whole_iteration(folder) or 0
    iteration = last if iteration is None else iteration
    lines = read_history(folder)
    return PastRead(kept_iterations([line for line in lines if line["iteration"] <= iteration]))


def read_iteration(folder: Path, line: Mapping[str, Any]) -> IterationRead:
    """Return an iteration with its maps.

    Raises
    ------
    MrcFileError
        When they cannot be read.
    """
    kept, number = _kept(line), int(line["iteration"])
    if not state_path(folder, number).is_file():
        return IterationRead(kept, _pair(folder, _FINAL_HALF, number))
    denoised = None
    if (folder / _DENOISED.format(number=number, half=2)).is_file():
        denoised = _pair(folder, _DENOISED, number)
    references = _pair(folder, _REFERENCE, number)
    return IterationRead(kept, _pair(folder, _HALF, number), references, denoised)


def _pair(folder: Path, name: str, number: int) -> HalfMaps:
    first, second = (read_map(folder / name.format(number=number, half=half)) for half in (1, 2))
    return HalfMaps(first.volume, second.volume, first.voxel_size)


def _kept(line: Mapping[str, Any]) -> KeptIteration:
    sampling = SamplingState(
        healpix_order=line["healpix_order"],
        adaptive_oversampling=line["adaptive_oversampling"],
        offset_range_angstrom=line["offset_range_angstrom"],
        offset_step_angstrom=line["offset_step_angstrom"],
        local_search_sigma_deg=line["local_search_sigma_deg"],
        perturbation=0.0,
    )
    rotation = line["accuracy_rotation_deg"]
    has_accuracy = rotation is not None and rotation < NO_ACCURACY.rotation_deg
    summary = IterationSummary(
        iteration=line["iteration"],
        resolution_angstrom=_number(line["resolution_angstrom"]),
        accuracy_deg=float(rotation) if has_accuracy else None,
        step_deg=fine_step_deg(sampling),
        average_p_max=_number(line["average_p_max"]),
        seconds=float(line["seconds"]),
        current_size=line["current_size"],
        changed=tuple(change["what"] for change in line.get("changes", ())),
    )
    accuracy = None
    if has_accuracy:
        accuracy = Accuracy(float(rotation), _number(line["accuracy_translation_angstrom"]))
    fsc = line["fsc"]
    curves = FscCurves(
        unmasked=_curve(fsc["unmasked"]),
        masked=_curve(fsc["masked"]),
        phase_randomized=_curve(fsc["phase_randomized"]),
        corrected=_curve(fsc["corrected"]),
        randomized_from_shell=fsc["randomized_from_shell"],
    )
    return KeptIteration(
        summary,
        curves,
        sampling,
        accuracy,
        line["cutoff_shell"],
        line.get("automatic_cutoff_shell"),
        line.get("denoiser_nyquist_shell"),
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _curve(values: Sequence[float | None]) -> Tensor:
    return torch.tensor([_number(value) for value in values], dtype=torch.float32)
