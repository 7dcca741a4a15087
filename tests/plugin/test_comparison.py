"""Maps side by side in linked greys, one flipped in another's place, and all back as it was."""

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.utils.key_bindings import coerce_keybinding
from napari.utils.shortcuts import default_shortcuts

from napari_blush.plugin.comparison import Comparison
from napari_blush.plugin.flip import KEYS, Flip, bind_keys
from napari_blush.plugin.layer_looks import TAG
from napari_blush.plugin.layers import LayerBoard
from napari_blush.plugin.linked_contrast import SAME_GREYS, levels_of


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def board(viewer, generator) -> LayerBoard:
    return filled_board(viewer, generator, "run")


def filled_board(viewer, generator, name: str) -> LayerBoard:
    board = LayerBoard(viewer, name)
    for number, role in enumerate(("reference", "half1", "half2", "denoised1", "change", "mask")):
        volume = (number + 1) * torch.randn(8, 8, 8, generator=generator)
        board.show(role, volume, 2.0)
    return board


def visible(board) -> set[str]:
    return {role for role, layer in board.layers().items() if layer.visible}


def levels(board) -> dict[str, tuple[float, ...]]:
    return {role: levels_of(layer) for role, layer in board.layers().items()}


def test_side_by_side_and_back(viewer, board) -> None:
    other = viewer.add_image(torch.zeros(8, 8, 8).numpy())
    curves = viewer.add_points(np.zeros((1, 3)), metadata={TAG: {"run": "run", "role": "fsc"}})
    viewer.scene.camera.zoom = 3.25
    comparison = Comparison(viewer, board)
    comparison.side_by_side(True)
    assert viewer.canvas.grid.enabled
    assert visible(board) == {"half1", "half2", "denoised1", "change"}
    assert board.layer("half2").name_overlay.visible
    assert not curves.visible
    found = levels(board)
    assert len({found[role] for role in SAME_GREYS}) == 1
    assert found["change"][:2] == (-3.0, 3.0)
    comparison.side_by_side(False)
    assert not viewer.canvas.grid.enabled
    assert visible(board) == {"reference"}
    assert not board.layer("half2").name_overlay.visible
    assert other.visible
    assert curves.visible
    assert viewer.scene.camera.zoom == 3.25


def test_the_section_of_the_change_faces_whoever_looks(viewer, board) -> None:
    layer, camera = board.layer("change"), viewer.scene.camera
    assert layer.depiction == "plane"
    assert tuple(layer.plane.position) == (4, 4, 4)
    camera.angles = (10, 20, 30)
    comparison = Comparison(viewer, board)
    comparison.side_by_side(True)
    assert layer.plane.normal == pytest.approx(camera.view_direction)
    camera.angles = (0, 50, 0)
    assert layer.plane.normal == pytest.approx(camera.view_direction)
    comparison.side_by_side(False)
    camera.angles = (0, 0, 0)
    assert layer.plane.normal != pytest.approx(camera.view_direction)


def test_without_a_denoiser_the_reference_stands_in_its_place(viewer, generator) -> None:
    board = LayerBoard(viewer, "run")
    for role in ("reference", "half1", "half2"):
        board.show(role, torch.randn(8, 8, 8, generator=generator), 2.0)
    comparison = Comparison(viewer, board)
    comparison.side_by_side(True)
    assert visible(board) == {"half1", "half2", "reference"}


@pytest.mark.parametrize("touched", SAME_GREYS)
def test_one_layers_limits_are_all_layers_limits(viewer, board, touched) -> None:
    comparison = Comparison(viewer, board)
    comparison.side_by_side(True)
    before = levels(board)
    low, high, _ = before[touched]
    board.layer(touched).contrast_limits = (low, low + 0.5 * (high - low))
    after = levels(board)
    for role in SAME_GREYS:
        assert after[role][:2] == pytest.approx((low, low + 0.5 * (high - low)))
    assert after["change"][:2] == pytest.approx((-1.5, 1.5))  # by the same factor
    assert after["mask"] == before["mask"]
    board.layer(touched).iso_threshold = 0.75 * low + 0.25 * high
    assert {levels(board)[role][2] for role in SAME_GREYS} == {0.75 * low + 0.25 * high}


def test_the_limits_of_the_change_move_those_of_the_maps(viewer, board) -> None:
    comparison = Comparison(viewer, board)
    comparison.side_by_side(True)
    low, high, _ = levels(board)["half1"]
    board.layer("change").contrast_limits = (-6.0, 6.0)
    for role in SAME_GREYS:
        assert np.diff(levels(board)[role][:2])[0] == pytest.approx(2 * (high - low))
    assert levels(board)["change"][:2] == (-6.0, 6.0)


def test_new_maps_stay_together_and_leave_the_change_alone(viewer, board, generator) -> None:
    comparison = Comparison(viewer, board)
    comparison.side_by_side(True)
    before = levels(board)
    for role, factor in (("half1", 50.0), ("half2", 70.0), ("denoised1", 400.0)):
        board.show(role, factor * torch.randn(8, 8, 8, generator=generator), 2.0)
    after = levels(board)
    assert len({after[role] for role in SAME_GREYS}) == 1
    assert after["half1"][1] == pytest.approx(100 * before["half1"][1], rel=0.3)
    assert after["change"] == before["change"]


def test_the_link_ends(viewer, board) -> None:
    comparison = Comparison(viewer, board)
    comparison.side_by_side(True)
    comparison.side_by_side(False)
    before = levels(board)
    board.layer("half1").contrast_limits = (-100.0, 100.0)
    after = levels(board)
    assert {role: after[role] for role in after if role != "half1"} == {
        role: before[role] for role in before if role != "half1"
    }
    assert not board.led


def test_the_link_survives_names_order_and_deletion(viewer, board, generator) -> None:
    comparison = Comparison(viewer, board)
    comparison.side_by_side(True)
    board.layer("half2").name = "mine"
    viewer.layers.reverse()
    gone = board.layer("denoised1")
    viewer.layers.remove(gone)
    board.layer("half1").contrast_limits = (-3.0, 9.0)
    assert levels(board)["half2"][:2] == (-3.0, 9.0)
    assert tuple(gone.contrast_limits) != (-3.0, 9.0)
    board.show("denoised1", torch.randn(8, 8, 8, generator=generator), 2.0)
    board.layer("denoised1").contrast_limits = (-1.0, 2.0)
    assert levels(board)["half2"][:2] == (-1.0, 2.0)
    comparison.side_by_side(False)


@pytest.mark.parametrize("role", ["half1", "denoised1"])
def test_a_map_in_the_place_of_another_as_long_as_it_is_held(viewer, board, role) -> None:
    own = viewer.add_image(np.zeros((8, 8, 8)))
    board.layer("mask").visible = True
    board.layer("reference").rendering = "mip"
    before = levels(board)
    flip = Flip(viewer)
    flip.show(role)
    assert visible(board) == {role, "mask"}
    assert own.visible
    assert levels(board)[role] == before["reference"]  # at the same contour
    assert board.layer(role).rendering == "mip"
    flip.put_back()
    assert visible(board) == {"reference", "mask"}
    assert levels(board) == before
    assert board.layer(role).rendering == "iso"


def test_a_flip_is_of_all_runs_and_of_none_that_shows_it_already(viewer, board, generator) -> None:
    second = filled_board(viewer, generator, "second")
    second.layer("half1").visible = True
    third = filled_board(viewer, generator, "third")
    third.hide()
    flip = Flip(viewer)
    flip.show("half1")
    assert [visible(b) for b in (board, second, third)] == [
        {"half1"}, {"half1", "reference"}, set(),
    ]  # fmt: skip
    flip.put_back()
    assert [visible(b) for b in (board, second, third)] == [
        {"reference"}, {"half1", "reference"}, set(),
    ]  # fmt: skip


def test_a_layer_may_be_deleted_while_it_is_held(viewer, board) -> None:
    flip = Flip(viewer)
    flip.show("half1")
    viewer.layers.remove(board.layer("half1"))
    flip.put_back()
    assert visible(board) == {"reference"}
    flip.show("half1")
    flip.put_back()
    assert visible(board) == {"reference"}


def test_keys_are_free_and_may_be_bound_twice(viewer, board) -> None:
    taken = {
        coerce_keybinding(binding)
        for bindings in default_shortcuts.values()
        for binding in bindings
    }
    assert taken
    assert not {coerce_keybinding(key) for key in KEYS} & taken
    for _ in range(2):
        bind_keys(viewer)
    hold = viewer.keymap[coerce_keybinding("H")](viewer)
    next(hold)
    assert visible(board) == {"half1"}
    assert next(hold, "over") == "over"
    assert visible(board) == {"reference"}


def test_an_empty_board_is_no_harm(viewer) -> None:
    comparison = Comparison(viewer, LayerBoard(viewer, "none"))
    for wanted in (True, False):
        comparison.side_by_side(wanted)
    flip = Flip(viewer)
    flip.show("half1")
    flip.put_back()
    assert not viewer.canvas.grid.enabled
