"""``napari-blush validate angles``: views and poses of refined particles.

``particles_that_disagree.star`` lists them where likelihoods are known.
"""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_blush.cli.report import Report
from napari_blush.cli.validate_files import finish, make_folder
from napari_blush.data_model.particles import Particles
from napari_blush.data_model.validation_settings import AngleSettings
from napari_blush.errors import StarFileError
from napari_blush.io.run_history import read_history
from napari_blush.io.star import read_particles
from napari_blush.io.star_table import StarBlock
from napari_blush.io.star_text import write_star
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.validation.angular_distribution import (
    PoseCertainty,
    angular_distribution,
    pose_certainty,
    trend_check,
)
from napari_blush.validation.report_page import Section
from napari_blush.validation.report_sections import angles_section

_P_MAX = "rlnMaxValueProbDistribution"
_LIKELIHOOD = "rlnLogLikeliContribution"


@dataclass(frozen=True, slots=True)
class JudgedPoses:
    """Particles as read, with what was found."""

    particles: Particles
    certainty: PoseCertainty | None
    section: Section


def execute(settings: AngleSettings, options: Namespace) -> int:
    """Judge the poses that ``options`` names; return the exit code."""
    found = judged_poses(options.poses, settings.symmetry, settings.healpix_order)
    make_folder(options.output)
    written = []
    if found.certainty is not None and bool(found.certainty.outliers.any()):
        path = options.output / "particles_that_disagree.star"
        rows = found.certainty.outliers.numpy()
        columns = {
            name: np.asarray(values, dtype=object)[rows]
            for name, values in found.particles.columns.items()
        }
        write_star(path, [StarBlock("particles", columns)])
        written.append(path)
    return finish(Report(), options.output, "Views and poses", [found.section], written)


def judged_poses(path: Path, symmetry: str, healpix_order: int = 3) -> JudgedPoses:
    """Read and judge the poses of a STAR file or of a run folder.

    Raises
    ------
    StarFileError
        When there are no poses.
    """
    table = path / "run_data.star" if path.is_dir() else path
    particles = read_particles(table)
    if not particles.has_poses:
        raise StarFileError(
            f"{table} has no poses; wanted refined particles with rlnAngleRot, rlnAngleTilt and "
            "rlnAnglePsi; give the data.star of a refinement."
        )
    views = angular_distribution(
        particles.poses.rotations, symmetry_operators(symmetry), healpix_order=healpix_order
    )
    p_max, likelihood = _numbers(particles, _P_MAX), _numbers(particles, _LIKELIHOOD)
    certainty = None
    if p_max is not None:
        certainty = pose_certainty(p_max, likelihood, particles.optics_group_index)
    history = [
        float(line["average_p_max"])
        for line in (read_history(path) if path.is_dir() else [])
        if line.get("average_p_max") is not None
    ]
    section = angles_section(views, certainty, trend_check(history), history)
    return JudgedPoses(particles, certainty, section)


def _numbers(particles: Particles, label: str) -> Tensor | None:
    values = particles.columns.get(label)
    if values is None:
        return None
    return torch.from_numpy(np.asarray(values).astype(np.float64))
