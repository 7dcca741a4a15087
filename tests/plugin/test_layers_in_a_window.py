"""Layers of runs in real windows: keys held, people's own layers, two viewers, many updates."""

import napari
import numpy as np
import pytest
import torch
from napari_builtins.io import napari_get_reader
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.results import FscCurves
from napari_blush.plugin.flip import bind_keys
from napari_blush.plugin.layers import LayerBoard
from napari_blush.plugin.run_layers import RunLayers
from napari_blush.refine.events import HalfMapsReconstructed, ReferencesRegularized, RunStarted
from napari_blush.session import RefinementSession

N, VOXEL = 16, 3.0


@pytest.fixture
def viewer(application):
    viewer = napari.Viewer(ndisplay=3)
    viewer.window.set_geometry(0, 0, 620, 420)
    yield viewer
    viewer.close()
    application.processEvents()


@pytest.fixture
def board(viewer) -> LayerBoard:
    board = LayerBoard(viewer, "run")
    for number, role in enumerate(("reference", "half1", "denoised1")):
        board.show(role, blob(number), VOXEL)
    return board


def blob(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    distance = sum(
        (axis - N // 2) ** 2 for axis in torch.meshgrid(*[torch.arange(N)] * 3, indexing="ij")
    )
    return torch.exp(-distance / 20) + 0.05 * torch.randn(N, N, N, generator=generator)


def told(session: RefinementSession, iteration: int) -> None:
    """Tell a session of an iteration, without what a search makes."""
    if session.run is None:
        session.apply(RunStarted(4, (2, 2), N, VOXEL, 1, "cpu", "numba"))
    session.iteration = iteration
    curve = torch.linspace(1, 0, N // 2 + 1)
    maps = HalfMaps(blob(iteration), blob(-iteration), VOXEL)
    fsc = FscCurves(curve, curve, curve, curve, None)
    session.apply(HalfMapsReconstructed(iteration, maps, fsc, 8.0))
    session.apply(ReferencesRegularized(iteration, (blob(iteration),) * 2, 3))


def visible(board) -> set[str]:
    return {role for role, layer in board.layers().items() if layer.visible}


def test_keys_flip_maps_as_long_as_they_are_held(viewer, board, application) -> None:
    bind_keys(viewer)
    application.processEvents()
    canvas = viewer.window._qt_viewer.canvas.native
    for key, role in ((Qt.Key.Key_H, "half1"), (Qt.Key.Key_N, "denoised1")):
        QTest.keyPress(canvas, key)
        assert visible(board) == {role}
        QTest.keyRelease(canvas, key)
        assert visible(board) == {"reference"}
    board.layer("denoised1").visible, board.layer("reference").visible = True, False
    viewer.layers.selection.active = board.layer("half1")  # its own keys come first
    QTest.keyPress(canvas, Qt.Key.Key_U)
    assert visible(board) == {"reference"}
    QTest.keyRelease(canvas, Qt.Key.Key_U)
    assert visible(board) == {"denoised1"}


def test_a_long_run_with_everything_on_adds_and_removes_nothing(viewer, application) -> None:
    session = RefinementSession()
    layers = RunLayers(viewer, session, "run")
    layers.want_curves(True)
    told(session, 1)
    layers.iterations.layer().visible = True
    for layer in (layers.iterations.layer(), layers.board.layer("reference")):
        layer.rendering = "mip"  # the quickest to draw without a graphics card
    before, changes = list(viewer.layers), []
    viewer.layers.events.inserted.connect(lambda event: changes.append("in"))
    viewer.layers.events.removed.connect(lambda event: changes.append("out"))
    for iteration in range(2, 9):
        told(session, iteration)
        if iteration % 3 == 0:
            viewer.dims.set_point(0, iteration // 2)
        if iteration % 4 == 0:
            layers.comparison.side_by_side(iteration % 8 != 0)
            layers.show_iteration(None)
        application.processEvents()
    assert list(viewer.layers) == before
    assert not changes
    assert viewer.screenshot(flash=False).std() > 1
    layers.close()


def test_a_persons_layer_without_units_moves_nothing(viewer, board, application) -> None:
    board.layer("reference").rendering = "mip"
    own = viewer.add_points(np.zeros((1, 3)), size=0.01, units=("angstrom",) * 3)
    own.visible = False
    for _ in range(5):  # the canvas takes its size once the layer's controls have theirs
        application.processEvents()
    camera = viewer.scene.camera
    place = camera.center, camera.zoom
    before = viewer.screenshot(canvas_only=True, flash=False)
    own.units = ("pixel",) * 3
    camera.center, camera.zoom = place
    application.processEvents()
    after = viewer.screenshot(canvas_only=True, flash=False)
    assert after.shape == before.shape
    assert viewer.layers.units is None  # napari gives up on units; ours are numbers in angstrom
    assert before.std() > 1
    assert np.abs(after.astype(float) - before).max() <= 2
    board.show("reference", blob(9), VOXEL)
    assert own in viewer.layers
    assert tuple(board.layer("reference").scale) == (VOXEL,) * 3


def test_two_viewers_show_two_runs(viewer, application) -> None:
    other = napari.Viewer(show=False)
    sessions = RefinementSession(), RefinementSession()
    one, two = RunLayers(viewer, sessions[0], "run"), RunLayers(other, sessions[1], "run")
    for iteration in (1, 2, 3):
        told(sessions[0], iteration)
    told(sessions[1], 7)
    one.show_iteration(1)
    assert np.array_equal(two.board.layer("half1").data, blob(7).numpy())
    assert np.array_equal(one.board.layer("half1").data, blob(1).numpy())
    assert two.board.pinned is None
    viewer.layers[0].name = "mine"
    viewer.layers.move(0, 2)
    one.show_iteration(None)
    assert np.array_equal(one.board.layer("half1").data, blob(3).numpy())
    one.close()
    two.close()
    other.close()
    application.processEvents()


def test_a_deleted_layer_comes_back_and_nothing_else_changes(viewer, board, application) -> None:
    gone = board.layer("half1")
    gone.locked = False
    viewer.layers.remove(gone)
    application.processEvents()
    others = list(viewer.layers)
    board.show("half1", blob(5), VOXEL)
    application.processEvents()
    assert board.layer("half1") is not gone
    assert list(viewer.layers)[:2] == others


def test_napari_saves_the_curves(viewer, tmp_path, application) -> None:
    session = RefinementSession()
    layers = RunLayers(viewer, session, "run")
    layers.want_curves(True)
    told(session, 1)
    layer = layers.curves.layer()
    (path,) = layer.save(str(tmp_path / "curves.csv"))
    ((paths, _, kind),) = napari_get_reader(path)(path)
    assert kind == "shapes"
    assert len(paths) == len(layer.features) == 8
    assert list(layer.features["kind"])[-1] == "cut-off"
    layers.close()
