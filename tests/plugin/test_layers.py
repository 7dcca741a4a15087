"""A list of events becomes a fixed set of layers, made once and updated in place."""

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.layers import Image, Points

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.results import FscCurves
from napari_blush.plugin.layer_looks import TAG, Look, carried_over, first_look
from napari_blush.plugin.layers import ROLES, LayerBoard, as_array, change_in_sigma
from napari_blush.refine.events import HalfMapsReconstructed, ReferencesRegularized, RunStarted
from napari_blush.session import RefinementSession

N, VOXEL = 12, 3.0


def noise(seed: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(N, N, N, generator=torch.Generator().manual_seed(seed))


def reconstructed(iteration: int, scale: float = 1.0) -> HalfMapsReconstructed:
    curve = torch.ones(N // 2 + 1)
    maps = HalfMaps(noise(iteration, scale), noise(-iteration, scale), VOXEL)
    return HalfMapsReconstructed(iteration, maps, FscCurves(*[curve] * 4, None), 8.0)


STARTED = RunStarted(4, (2, 2), N, VOXEL, 1, "cpu", "numba")


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def session() -> RefinementSession:
    return RefinementSession()


@pytest.fixture
def board(viewer, session) -> LayerBoard:
    board = LayerBoard(viewer, "run")
    board.follow(session)
    return board


def test_events_become_layers_of_fixed_roles(board, session, viewer) -> None:
    session.apply(STARTED)
    assert not viewer.layers
    session.apply(reconstructed(1))
    session.apply(ReferencesRegularized(1, (noise(5), noise(6)), 3))
    assert list(board.layers()) == ["reference", "half1", "half2"]
    assert np.array_equal(board.layer("half1").data, noise(1).numpy())
    assert np.array_equal(board.layer("half2").data, noise(-1).numpy())
    assert np.array_equal(board.layer("reference").data, noise(5).numpy())
    for layer in viewer.layers:
        assert tuple(layer.scale) == (VOXEL,) * 3
        assert [str(unit) for unit in layer.units] == ["angstrom"] * 3
        assert layer.locked
    assert [layer.visible for layer in board.layers().values()] == [True, False, False]


def test_layers_are_updated_and_never_added_again(board, session, viewer) -> None:
    session.apply(STARTED)
    session.apply(reconstructed(1))
    before = list(viewer.layers)
    changes = []
    viewer.layers.events.inserted.connect(lambda event: changes.append("in"))
    viewer.layers.events.removed.connect(lambda event: changes.append("out"))
    for iteration in (2, 3):
        session.apply(reconstructed(iteration))
    assert list(viewer.layers) == before
    assert not changes
    assert np.array_equal(board.layer("half1").data, noise(3).numpy())


def test_layers_are_found_by_tag_whatever_they_are_called(board, session, viewer) -> None:
    session.apply(STARTED)
    session.apply(reconstructed(1))
    layer = board.layer("half1")
    layer.name = "mine"
    viewer.add_image(np.zeros((N,) * 3), name="run · half map 1")
    viewer.add_layer(Points())
    viewer.layers.reverse()
    session.apply(reconstructed(2))
    assert board.layer("half1") is layer
    assert layer.name == "mine"
    assert np.array_equal(layer.data, noise(2).numpy())
    assert not viewer.layers["run · half map 1"].data.any()


def test_a_deleted_layer_comes_back_in_a_later_turn(viewer, session) -> None:
    put_off = []
    board = LayerBoard(viewer, "run", put_off.append)
    session.apply(STARTED)
    board.show("half1", noise(1), VOXEL)
    board.show("half1", noise(2), VOXEL)
    assert not viewer.layers
    assert len(put_off) == 1
    put_off.pop()()
    assert np.array_equal(board.layer("half1").data, noise(2).numpy())
    board.layer("half1").locked = False
    viewer.layers.clear()
    board.show("half1", noise(3), VOXEL)
    assert not viewer.layers
    put_off.pop()()
    assert np.array_equal(board.layer("half1").data, noise(3).numpy())


def test_two_runs_do_not_share_layers(viewer) -> None:
    first, second = LayerBoard(viewer, "first"), LayerBoard(viewer, "second")
    first.show("half1", noise(1), VOXEL)
    second.show("half1", noise(2), VOXEL)
    assert np.array_equal(first.layer("half1").data, noise(1).numpy())
    first.hide()
    assert not first.layer("half1").visible
    assert second.layer("half1") is not first.layer("half1")


def test_layers_hold_copies(viewer) -> None:
    board, volume = LayerBoard(viewer, "run"), noise(1)
    board.show("half1", volume, VOXEL)
    volume.zero_()
    assert board.layer("half1").data.any()


def test_forgetting_ends_the_updates(viewer, session) -> None:
    board = LayerBoard(viewer, "run")
    forget = board.follow(session)
    forget()
    session.apply(STARTED)
    session.apply(reconstructed(1))
    assert not viewer.layers


def test_limits_and_contour_keep_what_they_enclose(board, session) -> None:
    session.apply(STARTED)
    session.apply(reconstructed(1))
    layer = board.layer("half1")
    assert (layer.data > layer.iso_threshold).mean() == pytest.approx(0.01, abs=2e-3)
    layer.iso_threshold = np.quantile(layer.data, 0.95)  # a person takes another contour
    session.apply(reconstructed(2, scale=7.0))
    assert (layer.data > layer.iso_threshold).mean() == pytest.approx(0.05, abs=3e-3)
    low, high = layer.contrast_limits
    assert (layer.data < low).mean() == pytest.approx(0.10, abs=5e-3)
    assert low < layer.iso_threshold <= high


def test_a_lock_keeps_limits_as_they_are(board, session) -> None:
    session.apply(STARTED)
    session.apply(reconstructed(1))
    layer = board.layer("half1")
    board.keeps_contrast = True
    before = [*layer.contrast_limits, layer.iso_threshold]
    session.apply(reconstructed(2, scale=7.0))
    assert [*layer.contrast_limits, layer.iso_threshold] == before


@pytest.mark.parametrize("levels", [(-1.0, 2.0, 1.0), (-50.0, 50.0, 20.0), (0.0, 0.1, 0.05)])
def test_carried_levels_scale_with_the_map(levels) -> None:
    values = noise(3).numpy()
    found = carried_over(Look(*levels), values, 4 * values + 2)
    assert (found.low, found.high, found.iso) == pytest.approx(
        [4 * level + 2 for level in levels], abs=0.2
    )


def test_constant_maps_have_a_look() -> None:
    flat, values = np.zeros((N,) * 3, np.float32), noise(1).numpy()
    for look in (
        first_look(flat),
        carried_over(Look(0, 1, 0.5), flat, values),
        carried_over(Look(0, 1, 0.5), values, flat),
    ):
        assert look.low < look.high
        assert look.low <= look.iso <= look.high


def test_the_denoiser_change_is_in_sigma_with_zero_in_the_middle(board, session) -> None:
    half, denoised = noise(1, 5.0), noise(2, 5.0)
    session.apply(STARTED)
    session.half_maps = HalfMaps(half, half, VOXEL)
    assert board.layer("change") is None
    session.denoised_maps = HalfMaps(denoised, denoised, VOXEL)
    layer = board.layer("change")
    expected = (denoised - half) / half.std(correction=0)
    assert np.allclose(layer.data, expected.numpy(), atol=1e-5)
    assert layer.contrast_limits[0] == -layer.contrast_limits[1]
    assert np.array_equal(board.layer("denoised1").data, denoised.numpy())
    assert not change_in_sigma(as_array(torch.zeros(2, 2, 2)), as_array(torch.ones(2, 2, 2))).any()


def test_tags_tell_run_role_and_iteration(board, session) -> None:
    session.apply(STARTED)
    board.show("mask", torch.ones(N, N, N), VOXEL)
    assert board.layer("mask").metadata[TAG] == {"run": "run", "role": "mask", "iteration": 0}
    assert set(board.layers()) <= set(ROLES)
    assert isinstance(board.layer("mask"), Image)
