"""Directions out of a run folder's table are those of the poses in it."""

import numpy as np
import pytest
import torch

from napari_blush.data_model.poses import Poses
from napari_blush.errors import StarFileError
from napari_blush.io.run_orientations import orientations_path, read_orientations
from napari_blush.io.star import pose_columns
from napari_blush.io.star_table import StarBlock
from napari_blush.io.star_text import columns_of, write_star
from napari_blush.numerics.rotations import random_rotations

N = 40


def test_directions_are_the_third_columns_of_the_matrices(tmp_path, generator) -> None:
    rotations = random_rotations(N, generator).double()
    columns = pose_columns(Poses(rotations, torch.zeros(N, 2, dtype=torch.float64)))
    columns["rlnMaxValueProbDistribution"] = np.linspace(0, 1, N)
    path = orientations_path(tmp_path, 3)
    write_star(path, [StarBlock("particles", columns_of(columns))])
    directions, p_max = read_orientations(tmp_path, 3)
    assert np.allclose(directions, rotations[:, :, 2].numpy(), atol=1e-6)
    assert np.allclose(p_max, np.linspace(0, 1, N), atol=1e-6)


def test_what_is_no_table_of_particles_is_refused(tmp_path) -> None:
    with pytest.raises(StarFileError):
        read_orientations(tmp_path, 1)
    write_star(orientations_path(tmp_path, 1), [StarBlock("optics", columns_of({"rlnA": [1.0]}))])
    with pytest.raises(StarFileError, match="wanted the particles"):
        read_orientations(tmp_path, 1)
