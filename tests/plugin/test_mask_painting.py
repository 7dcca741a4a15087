"""A mask that is painted in the viewer and goes to the run."""

import napari
import numpy as np
import pytest
import torch
from napari.components import ViewerModel

from napari_blush.errors import SettingsError
from napari_blush.numerics.masks import soft_sphere
from napari_blush.plugin.layers import LayerBoard
from napari_blush.plugin.mask_painting import (
    begin_painting,
    painted_layer,
    soft_edged,
    take_painted,
)

VOXEL = 4.0


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def board(viewer) -> LayerBoard:
    board = LayerBoard(viewer, "run")
    board.show("reference", soft_sphere(24, 6.0, 2.0), VOXEL)
    return board


def test_the_edge_is_a_raised_cosine_across_the_boundary() -> None:
    inside = np.zeros((20, 20, 20), bool)
    inside[:, :, :10] = True
    along = soft_edged(inside, 4.0)[3, 3]
    # Voxel 9 lies half a voxel inside of the boundary, voxel 10 as far outside.
    expected = [0.5 * (1 - np.sin(np.pi * s / 4)) for s in (-1.5, -0.5, 0.5, 1.5)]
    assert np.allclose(along[8:12], expected, atol=1e-6)
    assert (along[:8] == 1).all() and (along[12:] == 0).all()


def test_a_soft_mask_comes_back_nearly_as_it_was() -> None:
    mask = soft_sphere(32, 8.0, 3.0).numpy()
    assert np.abs(soft_edged(mask > 0.5, 3.0) - mask).max() < 0.35
    assert np.abs(soft_edged(mask > 0.5, 3.0) - mask).mean() < 0.01
    assert not soft_edged(np.zeros((4, 4, 4), bool), 3.0).any()
    assert soft_edged(np.ones((4, 4, 4), bool), 3.0).all()


def test_what_is_painted_is_what_the_run_gets(viewer, board) -> None:
    board.show("mask", soft_sphere(24, 6.0, 2.0), VOXEL)
    viewer.dims.ndisplay = 3
    begin_painting(viewer, board)
    layer = painted_layer(board)
    assert isinstance(layer, napari.layers.Labels)
    assert viewer.dims.ndisplay == 2
    assert viewer.layers.selection == {layer}
    assert layer.mode == "paint"
    assert layer.n_edit_dimensions == 3
    before = soft_edged(np.asarray(layer.data) > 0, 12.0 / VOXEL)
    assert before[12, 12, 21] == 0
    layer.paint((12, 12, 21), 1)
    values = take_painted(viewer, board)
    assert values is not None
    assert values[12, 12, 21] == 1
    assert np.array_equal(board.layer("mask").data, values)
    assert not layer.visible
    assert viewer.dims.ndisplay == 3
    # Put away, it is no longer what is meant: the mask layer is, as it is now.
    board.layer("mask").data = 0.5 * values
    assert np.array_equal(take_painted(viewer, board), 0.5 * values)
    begin_painting(viewer, board)
    assert painted_layer(board) is layer
    assert len(viewer.layers) == 3


def test_without_a_mask_painting_begins_around_the_particle(viewer, board) -> None:
    assert take_painted(viewer, board) is None
    begin_painting(viewer, board)
    painted = np.asarray(painted_layer(board).data) > 0
    assert painted[12, 12, 12]
    assert not painted[0, 0, 0]
    values = take_painted(viewer, board)
    assert np.array_equal(board.layer("mask").data, values)
    assert board.layer("mask").scale[-1] == VOXEL


def test_nothing_to_paint_around_is_told(viewer, board) -> None:
    board.show("reference", torch.zeros(24, 24, 24), VOXEL)
    with pytest.raises(SettingsError, match="wanted a particle"):
        begin_painting(viewer, board)
    assert painted_layer(board) is None
