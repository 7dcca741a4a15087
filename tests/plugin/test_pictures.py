"""What is on the screen: hand, place and scale of the layers of a run, through a real canvas."""

import os
from pathlib import Path

import napari
import numpy as np
import pytest
import torch
from qtpy.QtCore import QPoint
from qtpy.QtGui import QImage
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from scipy.spatial import cKDTree

from napari_blush.data_model.results import FscCurves
from napari_blush.plugin.comparison import Comparison
from napari_blush.plugin.fsc_layer import FscLayer
from napari_blush.plugin.layers import LayerBoard
from napari_blush.plugin.orientations_layer import OrientationsLayer

PICTURES = os.environ.get("NAPARI_BLUSH_PICTURES")
"""Folder to leave screenshots in, to be looked at."""

N, VOXEL = 32, 3.0
EDGE = N * VOXEL


@pytest.fixture
def viewer(application):
    viewer = napari.Viewer()
    viewer.window.set_geometry(0, 0, 900, 420)
    yield viewer
    viewer.close()
    application.processEvents()


@pytest.fixture
def picture(viewer, application):
    """Return a function that gives what is drawn as brightness, (rows, columns)."""

    def take(name: str = "") -> np.ndarray:
        for _ in range(3):
            application.processEvents()
        shot = viewer.screenshot(canvas_only=True, flash=False)
        if PICTURES and name:
            Path(PICTURES).mkdir(parents=True, exist_ok=True)
            viewer.screenshot(str(Path(PICTURES) / f"{name}.png"), canvas_only=True, flash=False)
        return shot[..., :3].astype(float).max(axis=-1)

    return take


def helix(hand: int) -> torch.Tensor:
    """Return a helix about the y axis, around a paler rod that hides what is behind it.

    It turns from z to x as y grows: since z cross x is y, it is right-handed (``hand`` = 1).
    """
    along = np.linspace(-14, 14, 2000)
    angle = hand * 2 * np.pi * along / 20
    curve = np.stack([9 * np.cos(angle), along, 9 * np.sin(angle)], axis=1)
    places = np.stack(np.indices((N,) * 3) - N // 2, axis=-1)
    distance, _ = cKDTree(curve).query(places)
    z, y, x = np.moveaxis(places, -1, 0)
    rod = 0.3 * ((np.hypot(z, x) < 6) & (np.abs(y) < 14))
    values = np.maximum(np.exp(-0.5 * (distance / 1.3) ** 2), rod)
    return torch.from_numpy(values.astype(np.float32))


def slope_of_the_front(shot: np.ndarray) -> float:
    """Return which way bright stripes lean in the middle: 1 for /, -1 for the other way."""
    row, column = (size // 2 for size in shot.shape)
    part = shot[row - 100 : row + 100, column - 25 : column + 25]
    part = np.maximum(part - 0.65 * part.max(), 0.0)
    along_rows, along_columns = np.gradient(part)
    both = (along_rows * along_columns).sum()
    return float(both / (0.5 * (along_rows**2 + along_columns**2).sum()))


@pytest.mark.parametrize("hand", [1, -1])
@pytest.mark.parametrize("seen_from", [(0, 0, 0), (0, 150, 0)])
def test_a_right_handed_helix_is_right_handed_on_the_screen(
    viewer, picture, hand, seen_from
) -> None:
    board = LayerBoard(viewer, "run")
    board.show("reference", helix(hand), VOXEL)
    layer = board.layer("reference")
    layer.rendering = "attenuated_mip"
    layer.attenuation = 0.5
    layer.contrast_limits = (0.0, 1.0)
    viewer.dims.ndisplay = 3
    viewer.reset_view()
    viewer.scene.camera.angles = seen_from
    shot = picture(f"helix_{hand}_{seen_from[1]}")
    # The strands in front of a right-handed helix rise to the right, wherever it is seen from.
    assert hand * slope_of_the_front(shot) > 0.3


def test_side_by_side_has_no_frame_of_another_size(viewer, application, wait_until) -> None:
    board = LayerBoard(viewer, "run")
    for role in ("half1", "half2", "denoised1", "change"):
        board.show(role, helix(1), VOXEL)
    viewer.dims.ndisplay = 3
    board.layer("half1").visible = True
    viewer.reset_view()
    for _ in range(5):
        application.processEvents()
    canvases = [one for one in application.allWidgets() if isinstance(one, QOpenGLWidget)]
    canvas = max(canvases, key=lambda one: one.width() * one.height())
    frames: list[np.ndarray] = []
    canvas.frameSwapped.connect(lambda: frames.append(on_the_screen(application, canvas)))
    Comparison(viewer, board).side_by_side(True)
    wait_until(lambda: len(frames) > 0)
    settled = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(float)
    # Names of the maps may be drawn a frame later.
    assert (np.abs(frames[0] - settled).max(axis=-1) > 30).mean() < 0.03
    assert (settled > 60).mean() > 0.02


def on_the_screen(application, widget) -> np.ndarray:
    """Return what is seen of a widget, (rows, columns, colors)."""
    corner = widget.mapToGlobal(QPoint(0, 0))
    part = (corner.x(), corner.y(), widget.width(), widget.height())
    image = application.primaryScreen().grabWindow(0, *part).toImage()
    image = image.convertToFormat(QImage.Format.Format_RGBA8888)
    values = image.constBits().asarray(image.sizeInBytes())
    return np.array(values).reshape(image.height(), image.width(), 4)[..., :3].astype(float)


def brightest(shot: np.ndarray) -> np.ndarray:
    """Return the centre of what is bright, (row, column)."""
    weight = np.where(shot > 0.4 * shot.max(), shot, 0.0)
    assert weight.any()
    places = np.indices(shot.shape)
    return (places * weight).sum(axis=(1, 2)) / weight.sum()


@pytest.mark.parametrize("n_displayed", [2, 3])
def test_a_voxel_is_where_the_world_says(viewer, picture, n_displayed) -> None:
    index = (18, 13, 22)
    values = torch.zeros(N, N, N)
    values[index] = 1.0
    board = LayerBoard(viewer, "run")
    board.show("reference", values, VOXEL)
    layer = board.layer("reference")
    layer.contrast_limits = (0.0, 1.0)
    layer.rendering = "mip"
    world = VOXEL * np.array(index)
    point = viewer.add_points(
        world[None], size=VOXEL, border_width=0, face_color="white", units=("angstrom",) * 3
    )
    viewer.dims.ndisplay = n_displayed
    viewer.dims.set_point(0, world[0])
    viewer.reset_view()
    viewer.scene.camera.zoom = 8.0
    viewer.scene.camera.center = tuple(world + np.array([0, 6.0, -9.0]))
    point.visible, layer.visible = False, True
    of_the_voxel = brightest(picture(f"voxel_{n_displayed}"))
    point.visible, layer.visible = True, False
    of_the_point = brightest(picture())
    shot = picture()
    # Half a voxel would be 12 pixels.
    assert of_the_voxel == pytest.approx(of_the_point, abs=1.0)
    middle = np.array(shot.shape) / 2
    assert of_the_voxel == pytest.approx(middle + 8.0 * np.array([-6.0, 9.0]), abs=2.0)


def box_of(shot: np.ndarray) -> tuple[float, float, float, float]:
    """Return first and last row and column of what is drawn, from the middle of the canvas."""
    rows, columns = np.nonzero(shot > 60)
    middle_row, middle_column = (size / 2 for size in shot.shape)
    return (
        rows.min() - middle_row,
        rows.max() - middle_row,
        columns.min() - middle_column,
        columns.max() - middle_column,
    )


def test_map_curves_and_orientations_are_drawn_to_one_scale(viewer, picture) -> None:
    board = LayerBoard(viewer, "run")
    board.show("reference", torch.ones(N, N, N), VOXEL)
    layer = board.layer("reference")
    layer.contrast_limits = (0.0, 1.0)
    curve = torch.linspace(1, 0, N // 2 + 1)
    curves = FscLayer(viewer, "run")
    curves.show({1: FscCurves(curve, curve, curve, curve, None)}, N, VOXEL)
    directions = OrientationsLayer(viewer, "run")
    generator = torch.Generator().manual_seed(1)
    rotations = torch.linalg.qr(torch.randn(200, 3, 3, generator=generator))[0].double()
    directions.keep(1, rotations, torch.ones(200))
    directions.show(1, N, VOXEL)
    sphere = directions.layer()
    viewer.dims.ndisplay = 2
    viewer.reset_view()
    viewer.scene.camera.zoom = 1.8
    viewer.scene.camera.center = (EDGE / 2, EDGE / 2)
    parts = {"map": layer, "curves": curves.layer(), "sphere": sphere}
    boxes = {}
    for ndisplay, names in ((2, ("map", "curves")), (3, ("sphere",))):
        viewer.dims.ndisplay = ndisplay
        viewer.dims.set_point(0, N // 2 * VOXEL)  # curves stand at the middle section
        viewer.scene.camera.zoom = 1.8
        viewer.scene.camera.center = (EDGE / 2,) * 3
        for name in names:
            for other in parts.values():
                other.visible = other is parts[name]
            boxes[name] = box_of(picture(f"aligned_{name}"))
    for other in parts.values():
        other.visible = True
    picture("aligned_all")
    first, last, left, right = boxes["map"]
    assert last - first + 1 == pytest.approx(1.8 * EDGE, abs=2)
    assert boxes["curves"][:2] == pytest.approx((first, last), abs=3)  # flush, but for the line
    assert boxes["curves"][2] == pytest.approx(left + 1.8 * 1.1 * EDGE, abs=3)
    rows = np.mean(boxes["sphere"][:2])
    # The origin of the map is voxel n // 2, half a voxel below the middle of what is drawn.
    assert rows == pytest.approx((first + last) / 2 + 1.8 * VOXEL / 2, abs=3)
    columns = np.mean(boxes["sphere"][2:])
    assert columns == pytest.approx((left + right) / 2 - 1.8 * (1.1 * EDGE - VOXEL / 2), abs=4)
