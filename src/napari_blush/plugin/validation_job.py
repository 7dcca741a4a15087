"""What the half-maps of layers are worth: the judgments of ``napari-blush validate``, one by one.

Each is a generator that says how far it is and ends with a ``Finding``; what was found is kept, so
that the next judgment and the report need not find it again. Thresholds and sentences are those of
``validation``. Loaded where it computes.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_blush.conventions import FSC_AGAINST_TRUTH, FSC_GOLD_STANDARD
from napari_blush.data_model.validation_settings import ValidationSettings
from napari_blush.denoiser.denoise_options import DenoiseProgress
from napari_blush.denoiser.weights import KnownWeights, known_weights, load_denoiser
from napari_blush.errors import RunFolderError, SettingsError
from napari_blush.io.atomic import write_bytes
from napari_blush.io.atoms import read_atoms
from napari_blush.io.mrc import MapFile
from napari_blush.io.run_settings import read_settings
from napari_blush.numerics.devices import chosen_device
from napari_blush.plugin.layers import as_array
from napari_blush.regularization.spectral_trailing import cutoff_shell
from napari_blush.stepwise import within
from napari_blush.validation.denoiser_checks import stability_section
from napari_blush.validation.denoiser_twins import denoiser_twins_steps
from napari_blush.validation.directional import directional_report_steps
from napari_blush.validation.half_map_checks import HalfMapReport, half_map_report_steps
from napari_blush.validation.judged_poses import judged_poses
from napari_blush.validation.lights import Check
from napari_blush.validation.local_resolution import (
    LocalOptions,
    local_resolution_steps,
    locally_filtered_steps,
)
from napari_blush.validation.model_report import model_report_steps
from napari_blush.validation.report_page import Section, page
from napari_blush.validation.report_sections import (
    directional_section,
    half_map_section,
    local_section,
    model_section,
    verdict_section,
)
from napari_blush.validation.resolution import resolution_report_steps
from napari_blush.validation.steadiness import steadiness_steps

Volume = npt.NDArray[np.float32]
T = TypeVar("T")
_LIGHTEST_AND_DARKEST = (0.05, 0.95)
"""Quantiles of the local resolution that the colours span."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far a judgment is, and at what."""

    fraction: float
    words: str


@dataclass(frozen=True, slots=True)
class PlottedCurves:
    """Curves by name, one value a shell; those named in ``dashed`` are controls."""

    curves: Mapping[str, Sequence[float]]
    voxel_size: float
    dashed: tuple[str, ...] = ()
    levels: tuple[float, ...] = (FSC_GOLD_STANDARD, FSC_AGAINST_TRUTH)
    marks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a judgment ends with.

    Parameters
    ----------
    section : Section
        Of the report: title, checks, notes, drawings.
    curves : PlottedCurves or None
    maps : dict of str to (n, n, n) array
        By what they are.
    limits : (low, high) or None
        Angstrom that the colours of a local resolution span.
    """

    section: Section
    curves: PlottedCurves | None = None
    maps: Mapping[str, Volume] = field(default_factory=dict)
    limits: tuple[float, float] | None = None

    @property
    def checks(self) -> Sequence[Check]:
        """Lights with their figures and sentences."""
        return self.section.checks


@dataclass(frozen=True, slots=True)
class HalfMapLayers:
    """Two half-maps of layers, and a mask or None to have one drawn.

    Parameters
    ----------
    half1, half2, mask : (n, n, n) arrays
    voxel_size : float
        Angstrom.
    origin : (x, y, z)
        Angstrom.
    """

    half1: npt.NDArray[np.generic]
    half2: npt.NDArray[np.generic]
    mask: npt.NDArray[np.generic] | None
    voxel_size: float
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)


class ValidationJob:
    """The judgments of one pair of half-maps.

    Parameters
    ----------
    given : HalfMapLayers
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    """

    def __init__(self, given: HalfMapLayers, device: str = "auto") -> None:
        self.given = given
        self.found: dict[str, Finding] = {}
        self._device = device
        self._half_maps: HalfMapReport | None = None

    def resolution(self) -> Generator[Step, None, Finding]:
        """Four FSC curves, the mask, the solvent; the sharpened map."""
        found = yield from _told(self._judged(), "FSC")
        report = found.resolution
        shell = cutoff_shell(report.fsc.corrected.cpu())
        section = half_map_section(found, {"trailing": shell})
        curves = {
            "corrected": report.fsc.corrected,
            "no mask": report.fsc.unmasked,
            "masked": report.fsc.masked,
            "randomized": report.fsc.phase_randomized,
        }
        maps = {"sharpened": as_array(report.sharpened)}
        if report.mask_is_automatic:
            maps["automatic mask"] = as_array(report.mask)
        marks = {"trailing": float(shell)}
        plotted = self._plotted(curves, dashed=("randomized",), marks=marks)
        return self._kept("resolution", Finding(section, plotted, maps))

    def randomization(self, weights: str) -> Generator[Step, None, Finding]:
        """Random phases: what the mask makes of them, and what the denoiser does."""
        found = yield from _told(self._judged(), "FSC", 0.0, 0.2)
        device = chosen_device(self._device, SettingsError)
        denoiser = load_denoiser(weights).to(device)
        mask = found.resolution.mask
        steps = denoiser_twins_steps(self._volumes, self.given.voxel_size, mask, denoiser)
        twins = yield from _blocks(steps, 0.2, 1.0)
        verdict, of_mask = twins.verdict, found.randomized
        notes = [
            f"Twins: the half-maps with phases random beyond {twins.randomize_at:.1f} Å; "
            f"weights {denoiser.record.name}."
        ]
        section = verdict_section(
            "Phase randomization",
            verdict,
            self.given.voxel_size,
            more={"twins before": twins.fsc_before, "twins denoised": twins.fsc_after},
            notes=notes,
        )
        checks = [*([] if of_mask is None else [of_mask.check]), *section.checks]
        section = Section(section.title, checks, section.drawings, section.notes)
        curves = {
            "denoised halves": verdict.fsc_t,
            "denoised twins": twins.fsc_after,
            "twins": twins.fsc_before,
        }
        marks = {"random beyond": float(verdict.from_shell)}
        plotted = self._plotted(curves, dashed=("twins",), marks=marks)
        return self._kept("randomization", Finding(section, plotted))

    def steadiness(self, weights: str) -> Generator[Step, None, Finding]:
        """Denoise again and again, and after movements of the block grid."""
        report = (yield from _told(self._judged(), "FSC", 0.0, 0.1)).resolution
        device = chosen_device(self._device, SettingsError)
        denoiser = load_denoiser(weights).to(device)
        steps = steadiness_steps(self._volumes, self.given.voxel_size, report.mask, denoiser)
        found = yield from _blocks(steps, 0.1, 1.0)
        shell = cutoff_shell(report.fsc.corrected.cpu())
        section = stability_section(
            found.recycled, found.moves, (), self.given.voxel_size, {"trailing": shell}
        )
        section = replace(section, notes=[f"Weights {denoiser.record.name}.", *section.notes])
        curves: dict[str, Tensor | None] = {
            f"given with pass {number}": found.recycled.fsc[number - 1]
            for number in (1, len(found.recycled.power))
        }
        curves["as it is with moved, lowest"] = torch.stack([m.fsc for m in found.moves]).amin(0)
        plotted = self._plotted(curves, marks={"trailing": float(shell)})
        return self._kept("steadiness", Finding(section, plotted))

    def local(self) -> Generator[Step, None, Finding]:
        """Resolution by place, and the map filtered by it."""
        report = (yield from _told(self._judged(), "FSC", 0.0, 0.3)).resolution
        size = self.given.voxel_size
        place = chosen_device(self._device, SettingsError)
        half1, half2 = (half.to(place) for half in self._volumes)
        asked = LocalOptions(step=ValidationSettings().step)
        steps = local_resolution_steps(half1, half2, size, report.resolution, report.mask, asked)
        found = yield from _told(steps, "windows", 0.3, 0.9)
        filters = locally_filtered_steps(report.sharpened, found.resolution, size)
        filtered = yield from _told(filters, "filters", 0.9, 1.0)
        low, high = found.quantiles(_LIGHTEST_AND_DARKEST)
        maps = {
            "local resolution (Å)": as_array(found.resolution),
            "locally filtered": as_array(filtered),
        }
        finding = Finding(local_section(found), maps=maps, limits=(low, max(high, low + 0.1)))
        return self._kept("local", finding)

    def directional(self) -> Generator[Step, None, Finding]:
        """FSC in cones about directions."""
        mask = (yield from _told(self._judged(), "FSC", 0.0, 0.5)).resolution.mask
        cones = directional_report_steps(*self._volumes, self.given.voxel_size, mask=mask)
        report = yield from _told(cones, "cones", 0.5, 1.0)
        low, high = (report.curves.nan_to_num(nan=1.0).quantile(q, dim=0) for q in (0.0, 1.0))
        curves = {
            "mean": report.curves.nanmean(dim=0),
            "weakest direction": report.curves[int(report.cutoff_shell.argmin())],
            "lowest": low,
            "highest": high,
        }
        plotted = self._plotted(curves, dashed=("lowest", "highest"))
        return self._kept("directional", Finding(directional_section(report), plotted))

    def against_model(self, path: Path) -> Generator[Step, None, Finding]:
        """Compare the mean of the halves with an atomic model."""
        yield Step(0.0, "reading the model")
        atoms = read_atoms(path)
        average = (self._volumes[0] + self._volumes[1]) / 2
        given = MapFile(average, self.given.voxel_size, self.given.origin)
        judged = model_report_steps(given, atoms, halves=self._volumes)
        report = yield from _told(judged, "model", 0.1, 1.0)
        curves: dict[str, Tensor | None] = {
            "map": report.fsc.fsc_sum,
            "half 1": report.fsc.fsc_half1,
            "half 2": report.fsc.fsc_half2,
            "map, no mask": report.fsc.fsc_unmasked,
        }
        levels = (FSC_AGAINST_TRUTH,)
        plotted = self._plotted(curves, dashed=("map, no mask",), levels=levels)
        maps = {"model density": as_array(report.density)}
        return self._kept("model", Finding(model_section(report), plotted, maps))

    def report(self, target: Path, model: Path | None) -> Generator[Step, None, Path]:
        """Write one page of all judgments; what was not found yet is found first."""
        missing = {
            "resolution": self.resolution,
            "directional": self.directional,
            "local": self.local,
        }
        for name, judge in missing.items():
            if name not in self.found:
                yield from judge()
        if model is not None and "model" not in self.found:
            yield from self.against_model(model)
        names = ("resolution", "randomization", "steadiness", "directional", "local", "model")
        sections = [self.found[name].section for name in names if name in self.found]
        write_bytes(target, page("Validation", sections).encode(), RunFolderError)
        return target

    @cached_property
    def _volumes(self) -> tuple[Tensor, Tensor]:
        n = self.given.half1.shape[-1]
        if n % 2:
            raise SettingsError(
                f"Given half-maps of {n} voxels along an edge; wanted an even number; pad them."
            )
        first, second = (
            torch.from_numpy(np.array(half, dtype=np.float32))
            for half in (self.given.half1, self.given.half2)
        )
        return first, second

    def _judged(self) -> Generator[float, None, HalfMapReport]:
        """Return what the half-maps say by themselves, computed once."""
        if self._half_maps is None:
            mask = self.given.mask
            given = None if mask is None else torch.from_numpy(np.array(mask, dtype=np.float32))
            steps = resolution_report_steps(*self._volumes, self.given.voxel_size, mask=given)
            report = yield from within(steps, 0.0, 0.7)
            judged = half_map_report_steps(*self._volumes, report)
            self._half_maps = yield from within(judged, 0.7, 1.0)
        return self._half_maps

    def _plotted(
        self,
        curves: Mapping[str, Tensor | None],
        *,
        dashed: tuple[str, ...] = (),
        levels: tuple[float, ...] = (FSC_GOLD_STANDARD, FSC_AGAINST_TRUTH),
        marks: Mapping[str, float] | None = None,
    ) -> PlottedCurves:
        values = {name: fsc.tolist() for name, fsc in curves.items() if fsc is not None}
        return PlottedCurves(values, self.given.voxel_size, dashed, levels, marks or {})

    def _kept(self, name: str, finding: Finding) -> Finding:
        self.found[name] = finding
        return finding


def _told(
    steps: Generator[float, None, T], words: str, begin: float = 0.0, end: float = 1.0
) -> Generator[Step, None, T]:
    """Say of fractions what they are of."""
    with closing(within(steps, begin, end)) as parts:
        while True:
            try:
                fraction = next(parts)
            except StopIteration as finished:
                made: T = finished.value
                return made
            yield Step(fraction, words)


def _blocks(
    steps: Generator[DenoiseProgress, None, T], begin: float, end: float
) -> Generator[Step, None, T]:
    """Say which block the denoiser is at."""
    with closing(steps):
        while True:
            try:
                step = next(steps)
            except StopIteration as finished:
                made: T = finished.value
                return made
            share = step.done / max(step.total, 1)
            at = f"denoiser, block {step.done} of {step.total}"
            yield Step(begin + (end - begin) * share, "FSC" if share == 1 else at)


def poses_steps(folder: Path) -> Generator[Step, None, Finding]:
    """Judge the views and poses of a run folder; its point group is that of its settings."""
    yield Step(0.1, "poses")
    symmetry = read_settings(folder).symmetry
    return Finding(judged_poses(folder, symmetry).section)


def usable_weights() -> list[KnownWeights]:
    """Return the weights that are here and can be used."""
    return [weights for weights in known_weights() if weights.record is not None]
