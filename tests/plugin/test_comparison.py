"""Maps side by side or flipped to the raw half map, and back to what was visible before."""

import pytest
import torch
from napari.components import ViewerModel

from napari_blush.plugin.comparison import Comparison
from napari_blush.plugin.layers import LayerBoard


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def board(viewer, generator) -> LayerBoard:
    board = LayerBoard(viewer, "run")
    for number, role in enumerate(("reference", "half1", "half2", "denoised1", "change", "mask")):
        volume = (number + 1) * torch.randn(8, 8, 8, generator=generator)
        board.show(role, volume, 2.0)
    return board


def visible(board) -> set[str]:
    return {role for role, layer in board.layers().items() if layer.visible}


def test_side_by_side_and_back(viewer, board) -> None:
    other = viewer.add_image(torch.zeros(8, 8, 8).numpy())
    comparison = Comparison(viewer, board)
    comparison.side_by_side(True)
    assert viewer.canvas.grid.enabled
    assert visible(board) == {"half1", "half2", "denoised1", "reference", "change"}
    limits = {
        tuple(board.layer(role).contrast_limits)
        for role in ("half1", "half2", "denoised1", "reference")
    }
    assert len(limits) == 1
    assert tuple(board.layer("change").contrast_limits) not in limits
    comparison.side_by_side(False)
    assert not viewer.canvas.grid.enabled
    assert visible(board) == {"reference"}
    assert other.visible


def test_raw_while_it_is_held(viewer, board) -> None:
    comparison = Comparison(viewer, board)
    comparison.show_raw(True)
    assert visible(board) == {"half1"}
    comparison.show_raw(False)
    assert visible(board) == {"reference"}


def test_an_empty_board_is_no_harm(viewer) -> None:
    comparison = Comparison(viewer, LayerBoard(viewer, "none"))
    for wanted in (True, False):
        comparison.side_by_side(wanted)
        comparison.show_raw(wanted)
    assert not viewer.canvas.grid.enabled
