"""Views and poses of a table of particles or of a run folder, judged; images are not looked for."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_blush.errors import StarFileError
from napari_blush.io.run_history import read_history
from napari_blush.io.star_columns import StarColumns
from napari_blush.io.star_table import read_star
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import euler_to_matrix
from napari_blush.validation.angular_distribution import (
    PoseCertainty,
    angular_distribution,
    pose_certainty,
    trend_check,
)
from napari_blush.validation.particle_course import (
    ParticleCourse,
    ParticleState,
    course_drawings,
    particle_course,
)
from napari_blush.validation.report_page import Section
from napari_blush.validation.report_sections import angles_section

_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_GROUP = "rlnOpticsGroup"
_P_MAX = "rlnMaxValueProbDistribution"
_LIKELIHOOD = "rlnLogLikeliContribution"
_SIGNIFICANT = "rlnNrOfSignificantSamples"
_ITERATION = re.compile(r"it(\d+)_")


@dataclass(frozen=True, slots=True)
class JudgedPoses:
    """The table of the particles, with what was found."""

    table: StarColumns
    certainty: PoseCertainty | None
    section: Section


def judged_poses(path: Path, symmetry: str, healpix_order: int = 3) -> JudgedPoses:
    """Read and judge the poses of a STAR file or of a run folder; images are not looked for.

    Raises
    ------
    StarFileError
        When there are no poses.
    """
    table = posed_table(path / "run_data.star" if path.is_dir() else path)
    angles = torch.stack([torch.from_numpy(table.numbers(label)) for label in _ANGLES], dim=1)
    views = angular_distribution(
        euler_to_matrix(angles), symmetry_operators(symmetry), healpix_order=healpix_order
    )
    certainty = None
    if _P_MAX in table:
        likelihood = table.numbers(_LIKELIHOOD) if _LIKELIHOOD in table else None
        certainty = pose_certainty(
            torch.from_numpy(table.numbers(_P_MAX)),
            None if likelihood is None else torch.from_numpy(likelihood),
            torch.from_numpy(table.integers(_GROUP)) if _GROUP in table else None,
        )
    lines = read_history(path) if path.is_dir() else []
    lines = [line for line in lines if line.get("average_p_max") is not None]
    history = [float(line["average_p_max"]) for line in lines]
    section = angles_section(views, certainty, trend_check(at_last_sampling(lines)), history)
    outliers = None if certainty is None else certainty.outliers
    course = course_of(path, symmetry, outliers)
    if course is not None:
        section = replace(
            section,
            checks=[*section.checks, *course.checks],
            drawings=[*section.drawings, *course_drawings(course)],
        )
    return JudgedPoses(table, certainty, section)


def at_last_sampling(lines: list[dict[str, Any]]) -> list[float]:
    """Return p_max of the iterations that searched as finely as the last one.

    Among twice as many orientations the best one has less of the posterior; that is no loss.
    """
    orders = [(line.get("healpix_order"), line.get("adaptive_oversampling")) for line in lines]
    return [
        float(line["average_p_max"])
        for line, order in zip(lines, orders, strict=True)
        if order == orders[-1]
    ]


def course_of(path: Path, symmetry: str, outliers: Tensor | None = None) -> ParticleCourse | None:
    """Return how the particles of a run folder fared; None for anything else."""
    if not path.is_dir():
        return None
    tables = [posed_table(table) for table in sorted(path.glob("run_it*_data.star"))]
    states = [_state(number, table) for number, table in enumerate(tables, 1) if _P_MAX in table]
    return particle_course(states, symmetry_operators(symmetry), outliers) if states else None


def _state(number: int, table: StarColumns) -> ParticleState:
    found = _ITERATION.search(Path(table.path).name)
    angles = torch.stack([torch.from_numpy(table.numbers(label)) for label in _ANGLES], dim=1)

    def known(label: str) -> Tensor | None:
        return torch.from_numpy(table.numbers(label)) if label in table else None

    return ParticleState(
        iteration=int(found[1]) if found else number,
        p_max=torch.from_numpy(table.numbers(_P_MAX)),
        log_likelihood=known(_LIKELIHOOD),
        n_significant=known(_SIGNIFICANT),
        rotations=euler_to_matrix(angles),
    )


def likelihood_course(path: Path) -> list[float]:
    """Return the particles' median log-likelihood at each iteration that a run folder holds."""
    if not path.is_dir():
        return []
    medians = []
    for table in sorted(path.glob("run_it*_data.star")):
        columns = posed_table(table)
        if _LIKELIHOOD in columns:
            medians.append(float(torch.from_numpy(columns.numbers(_LIKELIHOOD)).median()))
    return medians


def posed_table(path: Path) -> StarColumns:
    """Return the table of a STAR file that has poses.

    Raises
    ------
    StarFileError
        When none has.
    """
    for name, block in read_star(path).items():
        if all(label in block.columns for label in _ANGLES):
            return StarColumns(path, name, block.columns)
    raise StarFileError(
        f"{path} has no poses; wanted refined particles with {', '.join(_ANGLES)}; give the "
        "data.star of a refinement."
    )
