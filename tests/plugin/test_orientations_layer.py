"""Where particles were seen from: counted in equal pixels, repeated by symmetry, drawn in place."""

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from scipy.spatial import cKDTree

from napari_blush.io.star_table import StarBlock
from napari_blush.io.star_text import columns_of, write_star
from napari_blush.numerics.healpix import n_pixels, pixel_directions
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import random_rotations
from napari_blush.plugin.layer_looks import TAG
from napari_blush.plugin.orientation_counts import ORDER, counted, pixels_of
from napari_blush.plugin.orientations_layer import OrientationsLayer, colors, positions

N, VOXEL = 16, 3.0


def directions(n: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("order", [0, 1, 3, 5])
def test_a_pixel_holds_its_own_centre(order) -> None:
    centers = pixel_directions(order).numpy()
    assert np.array_equal(pixels_of(centers, order), np.arange(n_pixels(order)))


def test_directions_fall_into_a_near_pixel_of_equal_area() -> None:
    given = directions(200_000)
    pixel = pixels_of(given, ORDER)
    centers = pixel_directions(ORDER).numpy()
    cosine = (given * centers[pixel]).sum(axis=1)
    assert np.degrees(np.arccos(cosine.min())) < 8
    _, nearest = cKDTree(centers).query(given)
    assert (nearest == pixel).mean() > 0.9
    count = np.bincount(pixel, minlength=n_pixels(ORDER))
    mean = 200_000 / n_pixels(ORDER)
    assert abs(count - mean).max() < 6 * np.sqrt(mean)


def test_coarse_pixels_are_the_parents_of_fine_ones() -> None:
    given = directions(5000, 3)
    assert np.array_equal(pixels_of(given, 5) // 16, pixels_of(given, 3))


@pytest.mark.parametrize("axis", np.vstack([np.eye(3), -np.eye(3)]).tolist())
def test_the_axes_lie_somewhere(axis) -> None:
    (pixel,) = pixels_of(np.array([axis]), ORDER)
    assert pixel_directions(ORDER)[pixel].numpy() @ axis > 0.99


def test_counts_and_means() -> None:
    one, other = pixel_directions(ORDER).numpy()[[5, 600]]
    found = counted(np.array([one, one, other]), np.array([0.2, 0.4, 0.9]))
    assert found.count[[5, 600]].tolist() == [2, 1]
    assert found.count.sum() == 3
    assert found.p_max[[5, 600]] == pytest.approx([0.3, 0.9])
    assert np.isnan(found.p_max).sum() == len(found.p_max) - 2


@pytest.mark.parametrize("symmetry", ["C4", "D2", "I1"])
def test_each_particle_stands_at_all_equivalent_directions(symmetry) -> None:
    one = directions(1, 7)
    found = counted(one, np.array([0.5]), symmetry)
    operators = symmetry_operators(symmetry).numpy()
    mates = operators @ one[0]
    assert found.count.sum() == len(operators)
    taken = pixel_directions(ORDER).numpy()[found.count > 0]
    assert (taken @ mates.T).max(axis=1).min() > np.cos(np.radians(8))
    assert (taken @ mates.T).max(axis=0).min() > np.cos(np.radians(8))


def test_the_sphere_stands_beside_the_map_on_a_level_with_its_centre() -> None:
    points = positions(N, VOXEL)
    center = N // 2 * VOXEL
    assert points.mean(axis=0) == pytest.approx([center, center, center - 1.1 * N * VOXEL])
    assert points[:, 2].max() < -VOXEL / 2
    relative = (points - points.mean(axis=0)) / (0.4 * N * VOXEL)
    assert np.allclose(relative[:, ::-1], pixel_directions(ORDER).numpy())


def test_the_layer_is_made_once_and_updated_in_place() -> None:
    viewer = ViewerModel()
    own = viewer.add_image(np.zeros((N,) * 3))
    viewer.layers.selection = {own}
    orientations = OrientationsLayer(viewer, "run", "C1")
    orientations.show(1, N, VOXEL)
    assert orientations.layer() is None  # nobody was counted yet
    generator = torch.Generator().manual_seed(1)
    for iteration, p_max in ((1, 0.1), (2, 0.9)):
        rotations = random_rotations(50, generator).double()
        orientations.keep(iteration, rotations, torch.full((50,), p_max))
        orientations.show(iteration, N, VOXEL)
        layer = orientations.layer()
        assert layer.features["count"].sum() == 50
        assert np.nanmean(layer.features["p_max"]) == pytest.approx(p_max)
    assert len(viewer.layers) == 2
    assert viewer.layers.selection == {own}
    assert layer.locked
    assert [str(unit) for unit in layer.units] == ["angstrom"] * 3
    largest = layer.features["count"].idxmax()
    assert layer.size[largest] == layer.size.max()
    assert np.allclose(layer.face_color[largest], colors(np.array([p_max]))[0], atol=1e-3)
    orientations.show(1, N, VOXEL)
    assert np.nanmean(layer.features["p_max"]) == pytest.approx(0.1)
    assert layer.metadata[TAG]["iteration"] == 1
    orientations.begin_at(1)
    orientations.show(1, N, VOXEL)
    assert layer.features["count"].sum() == 0
    assert orientations.layer() is layer


def test_what_is_read_for_a_run_that_was_begun_again_is_dropped(tmp_path) -> None:
    (tmp_path / "run_it001_state.safetensors").touch()
    columns = {"rlnAngleRot": [0.0], "rlnAngleTilt": [0.0], "rlnMaxValueProbDistribution": [0.5]}
    path = tmp_path / "run_it001_data.star"
    write_star(path, [StarBlock("particles", columns_of(columns))])
    waiting = []
    viewer = ViewerModel()
    orientations = OrientationsLayer(
        viewer, "run", folder=tmp_path, beside=lambda read, then: waiting.append((read, then))
    )

    def arrive() -> None:
        read, then = waiting.pop()
        then(read())

    assert orientations.newest(5) == 1
    orientations.show(1, N, VOXEL)
    orientations.show(1, N, VOXEL)
    assert len(waiting) == 1  # asked for once
    orientations.begin_at(1)
    arrive()
    assert orientations.layer() is None
    orientations.show(1, N, VOXEL)
    arrive()
    assert orientations.layer().features["count"].sum() == 1
    orientations.begin_at(1)
    orientations.show(1, N, VOXEL)
    orientations.close()
    path.unlink()
    arrive()
    assert orientations.layer().features["count"].sum() == 1
