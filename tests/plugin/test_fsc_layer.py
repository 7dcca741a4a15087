"""Curves become paths of one layer, in a frame beside the map, each with its row of features."""

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.utils.triangulation_backend import TriangulationBackend, get_backend, set_backend

from napari_blush.data_model.results import FscCurves
from napari_blush.plugin.fsc_layer import COLORS, FscLayer, drawing
from napari_blush.plugin.layers import LayerBoard

N, VOXEL = 8, 2.0
EDGE = N * VOXEL


def curves(level: float) -> FscCurves:
    curve = torch.full((N // 2 + 1,), level)
    curve[0] = 1.0
    return FscCurves(curve, curve, curve, curve, None)


def test_a_curve_lies_in_its_frame() -> None:
    paths, rows, colors, widths = drawing({1: curves(0.25)}, EDGE)
    assert len(paths) == len(colors) == len(widths) == len(rows["kind"])
    path = paths[rows["kind"].index("corrected")]
    assert path[0] == pytest.approx([0.0, 1.1 * EDGE])
    assert path[-1] == pytest.approx([0.75 * EDGE, 2.1 * EDGE])
    assert {"frame", "level 0.143", "level 0.5", *COLORS} == set(rows["kind"])


def test_earlier_iterations_leave_their_corrected_curve() -> None:
    _, rows, colors, _ = drawing({1: curves(0.1), 2: curves(0.2), 3: curves(0.3)}, EDGE)
    of = list(zip(rows["kind"], rows["iteration"], strict=True))
    assert [kind for kind, iteration in of if iteration in (1, 2)] == ["corrected"] * 2
    assert {kind for kind, iteration in of if iteration == 3} == set(COLORS)
    fading = [colors[of.index(("corrected", number))][-2:] for number in (1, 2, 3)]
    assert fading == sorted(fading)


@pytest.fixture
def plain_triangles():
    """Draw without compiled code, which would take longer to make than all else here."""
    before = get_backend()
    set_backend(TriangulationBackend.pure_python)
    yield
    set_backend(before)


def test_the_layer_is_made_once_and_follows_the_run(plain_triangles) -> None:
    viewer = ViewerModel()
    curves_layer = FscLayer(viewer, "run")
    board = LayerBoard(viewer, "run")
    board.show("half1", torch.zeros(N, N, N), VOXEL)
    history = {}
    for iteration in (1, 2, 3):
        history[iteration] = curves(iteration / 10)
        curves_layer.show(history, EDGE)
        (layer,) = [layer for layer in viewer.layers if "FSC" in layer.name]
        assert layer is curves_layer.layer()
        assert len(layer.data) == len(layer.features) == 3 + 4 + iteration - 1
        last = layer.features.index[layer.features["iteration"] == iteration]
        assert layer.data[last[0]][-1][0] == pytest.approx(EDGE * (1 - iteration / 10))
    assert set(board.layers()) == {"half1"}
    assert layer.visible
    assert np.allclose(layer.edge_color[-1, :3], [0xD0 / 255, 0x60 / 255, 0x5E / 255], atol=0.01)
    curves_layer.show({1: curves(0.5)}, EDGE)
    assert len(layer.data) == 7
