"""All layers go to an iteration and stay there; the slider is one more way to say which."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from napari.components import ViewerModel

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.poses import Poses
from napari_blush.data_model.results import FscCurves, IterationResult
from napari_blush.io.mrc import write_map
from napari_blush.io.run_state import state_path
from napari_blush.numerics.rotations import random_rotations
from napari_blush.plugin.iteration_store import ITERATION_FILES
from napari_blush.plugin.layer_looks import TAG
from napari_blush.plugin.preferences import Preferences
from napari_blush.plugin.run_layers import RunLayers
from napari_blush.refine.events import (
    HalfMapsReconstructed,
    IterationStarted,
    ReferencesRegularized,
    RunStarted,
)
from napari_blush.session import RefinementSession

N, VOXEL = 8, 3.0
OFFSETS = {"half1": 10, "half2": 20, "reference": 30, "denoised1": 40, "denoised2": 50}


def volume(role: str, iteration: int) -> torch.Tensor:
    seed = 1000 * OFFSETS[role] + iteration
    return torch.randn(N, N, N, generator=torch.Generator().manual_seed(seed))


def started(first: int = 1) -> RunStarted:
    return RunStarted(4, (2, 2), N, VOXEL, first, "cpu", "numba")


class Run:
    """A session that is told of iterations of made-up maps."""

    def __init__(self, session: RefinementSession, first: int = 1) -> None:
        self.session = session
        session.apply(started(first))

    def begin(self, iteration: int) -> None:
        event = object.__new__(IterationStarted)
        fields = {"sampling": None, "accuracy": None, "current_size": N, "final": False}
        for name, value in {"iteration": iteration, **fields}.items():
            object.__setattr__(event, name, value)
        self.session.apply(event)
        curve = torch.full((N // 2 + 1,), iteration / 10)
        maps = HalfMaps(volume("half1", iteration), volume("half2", iteration), VOXEL)
        fsc = FscCurves(curve, curve, curve, curve, None)
        self.session.apply(HalfMapsReconstructed(iteration, maps, fsc, 20.0 / iteration))

    def finish(self, iteration: int) -> None:
        references = (volume("reference", iteration),) * 2
        self.session.apply(ReferencesRegularized(iteration, references, 3))
        result = object.__new__(IterationResult)
        rotations = random_rotations(iteration, torch.Generator().manual_seed(1)).double()
        fields = {
            "iteration": iteration,
            "half_maps": self.session.half_maps,
            "denoised_maps": HalfMaps(
                volume("denoised1", iteration), volume("denoised2", iteration), VOXEL
            ),
            "poses": Poses(rotations, torch.zeros(iteration, 2, dtype=torch.float64)),
            "pose_statistics": SimpleNamespace(p_max=torch.full((iteration,), 0.5)),
        }
        for name, value in fields.items():
            object.__setattr__(result, name, value)
        self.session.denoised_maps = result.denoised_maps
        self.session.last_result = result

    def make(self, *iterations: int) -> None:
        for iteration in iterations:
            self.begin(iteration)
            self.finish(iteration)


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def session() -> RefinementSession:
    return RefinementSession()


@pytest.fixture
def layers(viewer, session):
    layers = RunLayers(viewer, session, "run")
    yield layers
    layers.close()


@pytest.fixture
def run(session, layers) -> Run:
    return Run(session)


def shown_in(layers: RunLayers) -> dict[str, int]:
    """Return which iteration each layer shows, by its data."""
    found = {}
    for role in OFFSETS:
        data = layers.board.layer(role).data
        same = [n for n in range(1, 20) if np.array_equal(data, volume(role, n).numpy())]
        found[role] = same[0] if same else 0
    return found


def slider(viewer) -> float:
    return viewer.dims.point[0]


def test_layers_follow_the_latest_iteration(viewer, run, layers) -> None:
    run.make(1, 2, 3)
    assert set(shown_in(layers).values()) == {3}
    assert viewer.dims.axis_labels == ("iteration", "z", "y", "x")
    assert slider(viewer) == 3
    layer = layers.iterations.layer()
    assert layer.data.shape == (4, N, N, N)  # the index is the number of the iteration
    assert not layer.visible
    assert layer.locked
    assert np.array_equal(layer.data[2], volume("reference", 2).numpy())
    assert tuple(layer.scale) == (1.0, VOXEL, VOXEL, VOXEL)


def test_a_person_at_an_earlier_iteration_stays_there(viewer, run, layers) -> None:
    told = []
    layers.chosen.connect(lambda pinned, latest: told.append((pinned, latest)))
    layers.want_orientations(True)
    run.make(1, 2, 3, 4)
    layers.show_iteration(2)
    run.make(5, 6)
    run.begin(7)
    assert set(shown_in(layers).values()) == {2}
    assert slider(viewer) == 2
    assert layers.iterations.layer().data.shape[0] == 8
    assert layers.orientations.layer().features["count"].sum() == 2
    assert told[-1] == (2, 7)
    assert layers.board.layer("half1").metadata[TAG]["iteration"] == 2
    layers.show_iteration(None)
    assert shown_in(layers) == {**dict.fromkeys(OFFSETS, 6), "half1": 7, "half2": 7}
    assert told[-1] == (None, 7)
    run.finish(7)
    assert set(shown_in(layers).values()) == {7}
    assert slider(viewer) == 7


def test_the_latest_iteration_by_number_is_the_latest(run, layers) -> None:
    run.make(1, 2)
    layers.show_iteration(1)
    layers.show_iteration(2)
    run.make(3)
    assert set(shown_in(layers).values()) == {3}
    layers.show_iteration(-4)
    assert set(shown_in(layers).values()) == {1}


def test_the_slider_is_one_way_to_choose(viewer, run, layers) -> None:
    run.make(1, 2, 3)
    viewer.dims.set_point(0, 2)
    assert set(shown_in(layers).values()) == {2}
    run.make(4)
    assert set(shown_in(layers).values()) == {2}
    assert slider(viewer) == 2
    viewer.dims.set_point(0, 4)  # to its end: on with the run
    assert set(shown_in(layers).values()) == {4}
    run.make(5)
    assert slider(viewer) == 5
    viewer.dims.set_point(1, 6.0)  # through the map, not through the run
    assert layers.board.pinned is None


def test_the_change_is_that_of_the_iteration(run, layers) -> None:
    run.make(1, 2)
    layers.show_iteration(1)
    before, after = volume("half1", 1), volume("denoised1", 1)
    expected = (after - before) / before.std(correction=0)
    assert np.allclose(layers.board.layer("change").data, expected.numpy(), atol=1e-5)


def test_curves_and_orientations_go_there_too(run, layers) -> None:
    layers.want_curves(True)
    run.make(1, 2, 3)
    assert layers.orientations.layer() is None  # made when it is asked for, of what was counted
    layers.want_orientations(True)
    assert layers.orientations.layer().features["count"].sum() == 3
    rows = layers.curves.layer().features
    assert rows["iteration"].max() == 3
    layers.show_iteration(2)
    rows = layers.curves.layer().features
    assert set(rows["iteration"]) == {0, 1, 2}
    assert rows["resolution"].dropna().unique().tolist() == [20.0, 10.0]
    assert layers.orientations.layer().features["count"].sum() == 2
    run.make(4)
    assert set(layers.curves.layer().features["iteration"]) == {0, 1, 2}


def test_nothing_is_added_or_removed_on_the_way(viewer, run, layers) -> None:
    run.make(1, 2)
    before, changes = list(viewer.layers), []
    viewer.layers.events.inserted.connect(lambda event: changes.append("in"))
    viewer.layers.events.removed.connect(lambda event: changes.append("out"))
    for iteration in (3, 4, 5):
        run.make(iteration)
        layers.show_iteration(iteration - 2)
        layers.show_iteration(None)
    assert list(viewer.layers) == before
    assert not changes


def test_a_layer_deleted_meanwhile_comes_back_where_it_is_looked_at(viewer, run, layers) -> None:
    run.make(1, 2, 3)
    layers.show_iteration(2)
    for layer in (layers.board.layer("half1"), layers.iterations.layer()):
        layer.locked = False
        viewer.layers.remove(layer)
    run.make(4)
    layers.show_iteration(1)
    assert set(shown_in(layers).values()) == {1}
    assert slider(viewer) == 1


def write_iteration(folder, iteration: int) -> None:
    for role, name in ITERATION_FILES.items():
        write_map(folder / name.format(iteration), volume(role, iteration), VOXEL)
    state_path(folder, iteration).touch()


def test_a_resumed_run_has_its_past(viewer, session, tmp_path) -> None:
    for iteration in (1, 2, 3):
        write_iteration(tmp_path, iteration)
    layers = RunLayers(viewer, session, "run", tmp_path)
    run = Run(session, first=4)
    assert set(shown_in(layers).values()) == {3}
    run.make(4)
    layers.show_iteration(2)
    assert set(shown_in(layers).values()) == {2}
    assert slider(viewer) == 2
    assert isinstance(layers.board.layer("half1").data, np.memmap)
    layers.close()


def test_beyond_the_memory_iterations_come_from_the_folder(viewer, session, tmp_path) -> None:
    budget = 12 * N**3 * 4 / 1e9
    layers = RunLayers(
        viewer, session, "run", tmp_path, preferences=Preferences(iterations_memory_gb=budget)
    )
    run = Run(session)
    for iteration in range(1, 9):
        run.begin(iteration)
        write_iteration(tmp_path, iteration)
        run.finish(iteration)
        assert layers.store.n_bytes <= budget * 1e9
    for iteration in (1, 8, 3, 5):
        layers.show_iteration(iteration)
        assert set(shown_in(layers).values()) == {iteration}
    layers.close()


def test_two_runs_share_a_slider_and_push_nobody(viewer, session) -> None:
    other_session = RefinementSession()
    one, other = RunLayers(viewer, session, "one"), RunLayers(viewer, other_session, "other")
    ahead, behind = Run(session), Run(other_session)
    ahead.make(1, 2, 3, 4)
    behind.make(1, 2)
    assert one.board.pinned is other.board.pinned is None
    viewer.dims.set_point(0, 1)
    assert set(shown_in(one).values()) == set(shown_in(other).values()) == {1}
    one.show_iteration(None)
    ahead.make(5)
    assert set(shown_in(one).values()) == {5}
    assert set(shown_in(other).values()) == {1}
    one.close()
    other.close()


def test_the_start_map_is_iteration_zero(viewer, session) -> None:
    layers = RunLayers(viewer, session, "run")
    start = volume("reference", 17)
    layers.board.show("reference", start, VOXEL)
    run = Run(session)
    run.make(1, 2)
    viewer.dims.set_point(0, 0)
    assert np.array_equal(layers.board.layer("reference").data, start.numpy())
    assert not layers.board.layer("half1").data.any()
    assert np.array_equal(layers.iterations.layer().data[0], start.numpy())
    layers.close()


def test_a_start_map_on_another_grid_is_not_of_the_series(viewer, session) -> None:
    layers = RunLayers(viewer, session, "run")
    layers.board.show("reference", torch.ones(2 * N, 2 * N, 2 * N), VOXEL / 2)
    run = Run(session)
    run.make(1)
    assert layers.store.iterations == (1,)
    assert tuple(layers.board.layer("reference").scale) == (VOXEL,) * 3
    layers.close()


def test_boxes_show_and_hide_what_stands_beside_the_map(run, layers) -> None:
    run.make(1)
    for want, part in (
        (layers.want_curves, layers.curves),
        (layers.want_orientations, layers.orientations),
    ):
        want(True)
        layer = part.layer()
        assert layer.visible
        want(False)
        assert not layer.visible
        run.make(2)
        want(True)
        assert part.layer() is layer
        assert layer.visible
    layers.hide()
    assert not any(layer.visible for layer in layers.board.all_of_the_run())


def test_closing_ends_it_and_leaves_the_layers(viewer, run, layers) -> None:
    run.make(1, 2)
    layers.close()
    run.make(3)
    viewer.dims.set_point(0, 1)
    assert set(shown_in(layers).values()) == {2}


def test_limits_of_the_series_follow_what_is_shown(viewer, run, layers) -> None:
    run.make(1, 2)
    layer = layers.iterations.layer()
    layer.iso_threshold = np.quantile(layer.data[2], 0.9)
    layers.show_iteration(1)
    assert (layer.data[1] > layer.iso_threshold).mean() == pytest.approx(0.1, abs=0.02)
    layers.hold_contrast(True)
    before = layer.iso_threshold
    layers.show_iteration(None)
    assert layer.iso_threshold == before
