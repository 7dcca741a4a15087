"""Two refinements of the same particles side by side: what each claims, and what is confirmed.

The first run is what the second is measured by, such as a baseline and a run with a denoiser.
Half-maps of different runs never meet: what two runs share is the mask, and the truth where there
is one. Half-maps cannot tell which of two maps is right; that takes a known density or a model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from napari_blush.conventions import FSC_AGAINST_TRUTH, Spectrum, Volume
from napari_blush.errors import RunFolderError
from napari_blush.numerics.correlation import (
    fourier_shell_correlation,
    resolution_at,
    resolution_shell,
)
from napari_blush.validation.half_map_checks import HalfMapReport, half_map_report
from napari_blush.validation.lights import Check, Light, light_of
from napari_blush.validation.map_placement import RigidPlacement, moved, rigid_placement
from napari_blush.validation.particle_course import turned_by
from napari_blush.validation.resolution import resolution_report

GAP = (0.02, 0.05)
"""By how much more the second claims beyond the truth: 0.02 is what programs differ by."""

LOST = (0.02, 0.05)
"""By how much less of the truth is in the second's map."""

_NOT_ALIGNED_DEG = 30.0
_SAME_SIZE = 1e-3  # relative: what two headers may differ by rounding


@dataclass(frozen=True, slots=True)
class Refined:
    """What a run leaves to be judged.

    Parameters
    ----------
    name : str
    half1, half2 : (n, n, n) float32
        Unfiltered.
    voxel_size : float
        Angstrom.
    particles : tuple of str
        Images, in the order of ``rotations``.
    rotations : (p, 3, 3) float64
    cutoff_shell : int or None
        Where the references were last cut off.
    facts : str
        Prior, weights and iterations, in words.
    """

    name: str
    half1: Volume
    half2: Volume
    voxel_size: float
    particles: tuple[str, ...]
    rotations: Tensor
    cutoff_shell: int | None = None
    facts: str = ""

    @property
    def average(self) -> Volume:
        """Mean of the half-maps."""
        return (self.half1 + self.half2) / 2


@dataclass(frozen=True, slots=True)
class Against:
    """A map against a known density.

    Parameters
    ----------
    fsc : (n // 2 + 1,)
        In the mask, the known density brought to where the map lies.
    mean : float
        Over all shells but the first.
    resolution : float
        Angstrom, at 0.5; infinite without agreement.
    gap : float
        Mean of what the half-maps promise less what is there, up to the resolution that they claim:
        ``sqrt(2 F / (1 + F))`` (Rosenthal & Henderson 2003) less ``fsc``.
    placement : RigidPlacement
    """

    fsc: Spectrum
    mean: float
    resolution: float
    gap: float
    placement: RigidPlacement


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """A run with what its half-maps say, and what the known density says of them."""

    run: Refined
    report: HalfMapReport
    against: Against | None


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Two runs, judged alike.

    Parameters
    ----------
    first, second : JudgedRun
    mask : (n, n, n)
        In which both were judged.
    checks : tuple of Check
        Of the second by the first.
    notes : tuple of str
    """

    first: JudgedRun
    second: JudgedRun
    mask: Volume
    checks: tuple[Check, ...]
    notes: tuple[str, ...]


def compare_runs(
    first: Refined,
    second: Refined,
    mask: Volume,
    *,
    truth: Volume | None = None,
    operators: Tensor | None = None,
    seed: int = 0,
    step: Callable[[str], None] = lambda words: None,
) -> RunComparison:
    """Judge two runs of the same particles in the same mask.

    Parameters
    ----------
    first, second : Refined
    mask : (n, n, n)
        Soft, in [0, 1].
    truth : (n, n, n), optional
        A known density, near to where the maps lie.
    operators : (s, 3, 3), optional
        Of the point group.
    seed : int
        Of the random phases, the same for both.
    step : callable
        Told what is done next.

    Raises
    ------
    RunFolderError
        When the runs are not of the same particles on the same grid.
    """
    common = _common_particles(first, second)
    judged = []
    for run in (first, second):
        step(f"half-maps of {run.name}")
        found = resolution_report(run.half1, run.half2, run.voxel_size, mask=mask, seed=seed)
        report = half_map_report(run.half1, run.half2, found)
        if truth is not None:
            step(f"{run.name} against the known density")
        against = None if truth is None else against_truth(run, report, mask, truth)
        judged.append(JudgedRun(run, report, against))
    checks = [_claims(*judged), *_confirmation(*judged), _poses(first, second, common, operators)]
    notes = [f"{one.run.name}: {one.run.facts}" for one in judged if one.run.facts]
    n_all = len(set(first.particles) | set(second.particles))
    if len(common) < n_all:
        notes.append(f"Only {len(common)} of {n_all} particles are in both runs.")
    for one in judged:
        if one.against is not None:
            at = one.against.placement
            notes.append(
                f"The known density was turned by {at.angle_deg:.1f} deg and shifted by "
                f"{at.distance_angstrom:.1f} A to where the map of {one.run.name} lies."
            )
    return RunComparison(judged[0], judged[1], mask, tuple(checks), tuple(notes))


def against_truth(run: Refined, report: HalfMapReport, mask: Volume, truth: Volume) -> Against:
    """Compare the mean of a run's halves with a known density, brought to where it lies."""
    size, n = run.voxel_size, run.half1.shape[-1]
    claimed = report.resolution.resolution
    sought = claimed if isfinite(claimed) else n * size / 10
    placement = rigid_placement(truth, run.average, mask, size, sought)
    known = moved(truth, placement, size)
    fsc = fourier_shell_correlation(run.average * mask, known * mask)
    promised = report.resolution.fsc.corrected.clamp(0, 1).double()
    promised = (2 * promised / (1 + promised)).sqrt()
    last = max(resolution_shell(report.resolution.fsc.corrected), 1)
    gap = float((promised - fsc.double())[1 : last + 1].mean())
    reached = resolution_at(fsc, FSC_AGAINST_TRUTH, n, size)
    return Against(fsc, float(fsc[1:].mean()), reached, gap, placement)


def _common_particles(first: Refined, second: Refined) -> list[str]:
    """Return the images of both; refuse runs that cannot be compared."""
    is_same_size = abs(first.voxel_size / second.voxel_size - 1) < _SAME_SIZE
    if first.half1.shape != second.half1.shape or not is_same_size:
        raise RunFolderError(
            f"{first.name} has {first.half1.shape[-1]} voxels of {first.voxel_size:g} A and "
            f"{second.name} {second.half1.shape[-1]} of {second.voxel_size:g} A; wanted two runs "
            "of the same particles; check the folders."
        )
    there = set(second.particles)
    common = [name for name in first.particles if name in there]
    if not common:
        raise RunFolderError(
            f"No particle of {first.name} is in {second.name}; wanted two runs of the same "
            "particles; check the folders."
        )
    return common


def _claims(first: JudgedRun, second: JudgedRun) -> Check:
    before, after = (one.report.resolution.resolution for one in (first, second))
    value = f"{_angstrom(before)} and {_angstrom(after)}"
    shells = [resolution_shell(one.report.resolution.fsc.corrected) for one in (first, second)]
    names = first.run.name, second.run.name
    if abs(shells[0] - shells[1]) < 1:
        return Check("resolution", value, Light.GREEN, "Both claim the same shell.")
    finer = names[shells[1] > shells[0]]
    is_confirmed = first.against is not None
    text = f"{finer} claims finer shells" + (
        "; what follows says whether they are there." if is_confirmed else "."
    )
    return Check("resolution", value, Light.GREEN, text)


def _confirmation(first: JudgedRun, second: JudgedRun) -> list[Check]:
    names = first.run.name, second.run.name
    if first.against is None or second.against is None:
        return [
            Check(
                "confirmed by",
                "nothing",
                Light.YELLOW,
                "Half-maps cannot tell which map is right: give a known density (--truth) or an "
                "atomic model (--model).",
            )
        ]
    lost = first.against.mean - second.against.mean
    text = {
        Light.GREEN: f"There is as much of the known density in {names[1]} as in {names[0]}.",
        Light.YELLOW: f"There is a little less of the known density in {names[1]}.",
        Light.RED: f"There is less of the known density in {names[1]}: prefer {names[0]}.",
    }
    light = light_of(lost, yellow=LOST[0], red=LOST[1])
    said = text[light]
    if lost <= -LOST[0]:
        said = f"There is more of the known density in {names[1]} than in {names[0]}."
    value = f"{first.against.mean:.3f} and {second.against.mean:.3f}"
    checks = [Check("mean FSC with the known density", value, light, said)]
    reached = f"{_angstrom(first.against.resolution)} and {_angstrom(second.against.resolution)}"
    text05 = "Where the FSC with it falls below 0.5."
    checks.append(Check("the known density is seen to", reached, Light.GREEN, text05))
    more = second.against.gap - first.against.gap
    light = light_of(more, yellow=GAP[0], red=GAP[1])
    text = {
        Light.GREEN: f"Beyond what is there the halves of {names[1]} promise no more than those of "
        f"{names[0]}, within {GAP[0]:g}.",
        Light.YELLOW: f"The halves of {names[1]} promise a little more than is there.",
        Light.RED: f"The halves of {names[1]} promise what is not there: what its prior made up "
        "has entered both.",
    }
    value = f"{first.against.gap:.3f} and {second.against.gap:.3f}"
    return [*checks, Check("promised and not there", value, light, text[light])]


def _poses(
    first: Refined, second: Refined, common: Sequence[str], operators: Tensor | None
) -> Check:
    """Say how far apart the poses are; which are right is not asked here."""
    places = [{name: row for row, name in enumerate(run.particles)} for run in (first, second)]
    before, after = (
        run.rotations[[place[name] for name in common]]
        for run, place in zip((first, second), places, strict=True)
    )
    group = torch.eye(3, dtype=torch.float64)[None] if operators is None else operators.double()
    apart = turned_by(before, after, group)
    beyond = float((apart > _NOT_ALIGNED_DEG).double().mean())
    return Check(
        "poses apart",
        f"{float(apart.median()):.1f} deg",
        Light.GREEN,
        f"Median over {len(common)} particles; {100 * beyond:.0f} % by more than "
        f"{_NOT_ALIGNED_DEG:g} deg.",
    )


def _angstrom(value: float) -> str:
    return f"{value:.2f} A" if isfinite(value) else "none"
