"""Curves become paths of one layer, in a frame beside the map, each with its row of features."""

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.utils.triangulation_backend import TriangulationBackend, get_backend, set_backend
from napari_builtins.io import napari_get_reader, napari_write_shapes

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
    paths, rows, colors, widths = drawing({1: curves(0.25)}, N, VOXEL, {1: 8.0})
    assert len(paths) == len(colors) == len(widths) == len(rows["kind"])
    path = paths[rows["kind"].index("corrected")]
    # Voxels reach half a voxel beyond their centres: top and bottom are flush with the map.
    assert path[0] == pytest.approx([EDGE / 2, -1.0, 1.1 * EDGE - 1.0])
    assert path[-1] == pytest.approx([EDGE / 2, 0.75 * EDGE - 1.0, 2.1 * EDGE - 1.0])
    assert {"frame", "level 0.143", "level 0.5", *COLORS} == set(rows["kind"])


def test_the_cut_off_stands_at_its_shell_and_is_told_in_angstrom() -> None:
    paths, rows, *_ = drawing({1: curves(0.25), 2: curves(0.3)}, N, VOXEL, {2: 8.0}, 3)
    (index,) = [i for i, kind in enumerate(rows["kind"]) if kind == "cut-off"]
    assert rows["iteration"][index] == 2
    assert rows["resolution"][index] == pytest.approx(N * VOXEL / 3)
    assert paths[index][:, 2] == pytest.approx([(1.1 + 3 / 4) * EDGE - 1.0] * 2)
    assert sorted(paths[index][:, 1]) == pytest.approx([-1.0, EDGE - 1.0])


def test_earlier_iterations_leave_their_corrected_curve() -> None:
    history = {1: curves(0.1), 2: curves(0.2), 3: curves(0.3)}
    _, rows, colors, _ = drawing(history, N, VOXEL, {1: 30.0, 2: 20.0, 3: 10.0})
    of = list(zip(rows["kind"], rows["iteration"], strict=True))
    assert [kind for kind, iteration in of if iteration in (1, 2)] == ["corrected"] * 2
    assert {kind for kind, iteration in of if iteration == 3} == set(COLORS)
    fading = [colors[of.index(("corrected", number))][-2:] for number in (1, 2, 3)]
    assert fading == sorted(fading, key=lambda alpha: int(alpha, 16))
    assert len(set(fading)) == 3
    assert len({colors[of.index((kind, 3))] for kind in COLORS}) == len(COLORS)
    assert [rows["resolution"][of.index(("corrected", number))] for number in (1, 2, 3)] == [
        30.0, 20.0, 10.0,
    ]  # fmt: skip
    assert np.isnan(rows["resolution"][0])


def test_a_long_history_is_cut_to_its_end() -> None:
    _, rows, _, _ = drawing({n: curves(0.1) for n in range(1, 60)}, N, VOXEL, {})
    assert sorted(set(rows["iteration"]))[1:] == list(range(51, 60))


@pytest.fixture
def plain_triangles():
    """Draw without compiled code, which would take longer to make than all else here."""
    before = get_backend()
    set_backend(TriangulationBackend.pure_python)
    yield
    set_backend(before)


@pytest.mark.parametrize("n_displayed", [2, 3])
def test_the_layer_is_made_once_and_follows_the_run(plain_triangles, n_displayed) -> None:
    viewer = ViewerModel()
    curves_layer = FscLayer(viewer, "run")
    board = LayerBoard(viewer, "run")
    board.show("half1", torch.zeros(N, N, N), VOXEL)
    viewer.dims.ndisplay = n_displayed
    history = {}
    for iteration in (1, 2, 3):
        history[iteration] = curves(iteration / 10)
        curves_layer.show(history, N, VOXEL)
        (layer,) = [layer for layer in viewer.layers if "FSC" in layer.name]
        assert layer is curves_layer.layer()
        assert len(layer.data) == len(layer.features) == 3 + 4 + iteration - 1
        last = layer.features.index[layer.features["iteration"] == iteration]
        assert layer.data[last[0]][-1][1] == pytest.approx(EDGE * (1 - iteration / 10) - VOXEL / 2)
    assert set(board.layers()) == {"half1"}
    assert layer.visible
    assert np.allclose(layer.edge_color[-1, :3], [0xD0 / 255, 0x60 / 255, 0x5E / 255], atol=0.01)
    curves_layer.show({1: curves(0.5)}, N, VOXEL, cutoff_shell=2)
    assert len(layer.data) == 8
    curves_layer.show({1: curves(0.5)}, N, VOXEL)
    assert len(layer.data) == 7


def test_paths_are_saved_and_read_back_by_napari(plain_triangles, tmp_path) -> None:
    viewer = ViewerModel()
    curves_layer = FscLayer(viewer, "run")
    curves_layer.show({4: curves(0.25)}, N, VOXEL, {4: 9.5})
    layer = curves_layer.layer()
    data, meta, _ = layer.as_layer_data_tuple()
    path = napari_write_shapes(str(tmp_path / "curves.csv"), data, meta)
    assert path is not None
    ((vertices, arguments, kind),) = napari_get_reader(path)(path)
    assert kind == "shapes"
    assert arguments["shape_type"] == ["path"] * 7
    for saved, drawn in zip(vertices, layer.data, strict=True):
        assert np.allclose(saved, drawn)
    table = layer.features
    row = table[table["kind"] == "corrected"].iloc[0]
    assert (row["iteration"], row["resolution"]) == (4, 9.5)
    # The coordinates are angstrom, and the curve can be read back from them.
    assert tuple(layer.scale) == (1.0,) * 3
    height = (vertices[row.name][:, 1] + VOXEL / 2) / EDGE
    assert np.allclose(1 - height, [1, 0.25, 0.25, 0.25, 0.25])
