"""Surfaces against spheres that are known."""

import numpy as np
import pytest

from napari_blush.errors import SettingsError
from napari_blush.plugin.local_resolution_surface import colored_surface, level_enclosing

N, VOXEL, ORIGIN = 40, 2.5, (100.0, 20.0, -30.0)
CENTER, RADIUS = np.array([19.0, 22.0, 17.5]), 9.3


def distance_from(center: np.ndarray) -> np.ndarray:
    """Return the distance of each voxel (z, y, x), in voxels."""
    grid = np.stack(np.meshgrid(*[np.arange(N)] * 3, indexing="ij"), axis=-1)
    return np.linalg.norm(grid - center, axis=-1).astype(np.float32)


@pytest.fixture
def sphere() -> np.ndarray:
    return (RADIUS - distance_from(CENTER)).astype(np.float32)


def test_vertices_lie_on_the_sphere_and_have_the_values_there(sphere: np.ndarray) -> None:
    z, _, x = np.meshgrid(*[np.arange(N, dtype=np.float32)] * 3, indexing="ij")
    found = colored_surface(sphere, 3 + 0.1 * x + 0.02 * z, 0.0, VOXEL, origin=ORIGIN)
    voxels = (found.vertices - np.array(ORIGIN[::-1])) / VOXEL
    radius = np.linalg.norm(voxels - CENTER, axis=1)
    assert np.abs(radius - RADIUS).max() < 0.05
    assert np.allclose(found.values, 3 + 0.1 * voxels[:, 2] + 0.02 * voxels[:, 0], atol=1e-3)
    # All of the sphere is there, and it is closed: Euler's figure of a sphere is 2.
    corners = found.vertices[found.faces]
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(crossed, axis=1).sum() / 2
    assert area == pytest.approx(4 * np.pi * (RADIUS * VOXEL) ** 2, rel=0.02)
    edges = {tuple(sorted((int(f[i]), int(f[i - 1])))) for f in found.faces for i in range(3)}
    assert len(found.vertices) - len(edges) + len(found.faces) == 2


def test_dust_is_left_out_and_changes_nothing_else(sphere: np.ndarray) -> None:
    speck = 1.6 - distance_from(np.array([5.0, 5.0, 5.0]))
    both = np.maximum(sphere, speck).astype(np.float32)
    colors = np.full_like(both, 4.0)
    alone = colored_surface(sphere, colors, 0.0, VOXEL)
    dusty = colored_surface(both, colors, 0.0, VOXEL)
    assert dusty.n_hidden == 0
    assert len(dusty.vertices) > len(alone.vertices)
    # The speck is 3 voxels long.
    for dust, n_hidden in ((3 * VOXEL, 0), (3.1 * VOXEL, 1)):
        found = colored_surface(both, colors, 0.0, VOXEL, dust_angstrom=dust)
        assert found.n_hidden == n_hidden
        assert (len(found.vertices) == len(alone.vertices)) == bool(n_hidden)
    assert np.allclose(np.sort(found.vertices, axis=0), np.sort(alone.vertices, axis=0), atol=1e-3)


def test_what_touches_the_box_is_closed() -> None:
    cut = (8.0 - distance_from(np.array([0.0, 20.0, 20.0]))).astype(np.float32)
    found = colored_surface(cut, cut, 0.0, VOXEL)
    assert found.vertices.min() >= 0
    edges = np.sort(np.concatenate([found.faces[:, [i, i - 1]] for i in range(3)]), axis=1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert (count == 2).all()


def test_no_surface_is_said(sphere: np.ndarray) -> None:
    for level, dust in ((1e3, 0.0), (0.0, 1000.0)):
        with pytest.raises(SettingsError, match="lower the contour"):
            colored_surface(sphere, sphere, level, VOXEL, dust_angstrom=dust)


def test_a_level_encloses_what_it_should(sphere: np.ndarray) -> None:
    level = level_enclosing(sphere, 0.02)
    assert float((sphere > level).mean()) == pytest.approx(0.02, abs=0.002)
