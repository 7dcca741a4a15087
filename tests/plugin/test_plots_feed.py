"""What the plots of a run are given by its session, and what is asked for on them."""

from typing import Any

import numpy as np
import pytest
import torch

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.results import FscCurves
from napari_blush.plugin.plots.panel import PlotsPanel
from napari_blush.plugin.plots_feed import PlotsFeed
from napari_blush.refine.events import (
    HalfMapsReconstructed,
    ReferencesRegularized,
    RunStarted,
)
from napari_blush.session import IterationSummary, RefinementSession, RunCancelled

N, VOXEL = 16, 2.0


class Asked(list[Any]):
    def __call__(self, value: Any) -> None:
        self.append(value)


@pytest.fixture
def session() -> RefinementSession:
    session = RefinementSession()
    session.apply(RunStarted(10, (5, 5), N, VOXEL, 1, "cpu", "torch"))
    return session


@pytest.fixture
def maps() -> dict[tuple[str, int], np.ndarray]:
    values = np.random.default_rng(2).normal(size=(2, N, N, N)).astype(np.float32)
    return {
        ("half1", 1): values[0],
        ("half2", 1): values[1],
        ("denoised1", 1): 0.5 * values[0],
        ("denoised2", 1): 0.5 * values[1],
    }


@pytest.fixture
def joined(application, session, maps):
    panel, chosen, limits = PlotsPanel(), Asked(), Asked()
    feed = PlotsFeed(session, panel, chosen, limits, lambda role, number: maps.get((role, number)))
    panel._feed_for_test = feed
    yield panel, chosen, limits
    feed.end()
    panel.close()
    panel.deleteLater()


def half_maps(session: RefinementSession, iteration: int) -> None:
    curve = torch.linspace(1, 0, N // 2 + 1)
    fsc = FscCurves(curve, curve, curve, curve, None)
    halves = HalfMaps(torch.zeros(N, N, N), torch.zeros(N, N, N), VOXEL)
    session.iteration = iteration
    session.apply(HalfMapsReconstructed(iteration, halves, fsc, 9.0))


def references(session: RefinementSession, iteration: int, cutoff: int, automatic: int) -> None:
    maps = (torch.zeros(N, N, N), torch.zeros(N, N, N))
    session.apply(ReferencesRegularized(iteration, maps, cutoff, automatic, 7.0))


def test_a_cutoff_that_was_dragged_waits_until_references_end_there(joined, session) -> None:
    panel, _, limits = joined
    panel.show()
    half_maps(session, 1)
    references(session, 1, 6, 6)
    panel.cutoff_dragged.emit(5)
    assert limits == [6.4]
    assert panel._limits.asked == 5
    half_maps(session, 2)  # the run has taken it, and its references are still to come
    assert panel._limits.asked == 5
    references(session, 2, 5, 6)
    assert (panel._limits.asked, panel._limits.cutoff, panel._limits.automatic) == (None, 5, 6)


def test_the_limit_means_the_shell_it_was_dropped_on(joined, session) -> None:
    panel, _, limits = joined
    half_maps(session, 1)
    references(session, 1, 8, 8)
    for shell in range(4, 8):
        panel.cutoff_dragged.emit(shell)
        assert int(N * VOXEL / limits[-1] + 1e-6) == shell


def test_dragging_back_to_the_automatic_cutoff_takes_the_limit_away(joined, session) -> None:
    panel, _, limits = joined
    half_maps(session, 1)
    references(session, 1, 5, 7)
    panel.cutoff_dragged.emit(7)
    assert limits == [None]


def test_only_a_run_that_goes_on_can_be_limited(joined, session) -> None:
    panel, *_ = joined
    half_maps(session, 1)
    references(session, 1, 5, 7)
    assert panel.fsc.cutoff.movable
    session.apply(RunCancelled())
    assert not panel.fsc.cutoff.movable


def test_the_last_iteration_goes_on_with_the_run(joined, session) -> None:
    panel, chosen, _ = joined
    for number in (1, 2, 3):
        half_maps(session, number)
    panel.iteration_chosen.emit(2)
    panel.iteration_chosen.emit(3)
    assert chosen == [2, None]


def test_what_was_touched_is_compared_when_somebody_looks(
    joined, session, maps, wait_until
) -> None:
    panel, *_ = joined
    half_maps(session, 1)
    panel.show()
    panel.mark_iteration(1)
    assert panel._touched is None
    panel.tabs.setCurrentWidget(panel.denoiser)
    wait_until(lambda: panel.denoiser.found is not None, 10)
    assert panel.denoiser.found.amplitude_ratio[1:] == pytest.approx([0.5] * (N // 2), rel=1e-4)
    panel.mark_iteration(2)
    wait_until(lambda: panel.denoiser.found is None, 10)
    panel.mark_iteration(1)
    wait_until(lambda: panel.denoiser.found is not None, 10)
    session.apply(RunStarted(10, (5, 5), N, VOXEL, 1, "cpu", "torch"))
    for key in maps:
        maps[key] = np.ones((N, N, N), np.float32)
    half_maps(session, 1)
    panel.mark_iteration(1)
    wait_until(lambda: abs(panel.denoiser.found.amplitude_ratio[0] - 1) < 1e-4, 10)


def test_after_the_last_iteration_the_newest_denoised_one_is_compared(
    joined, session, wait_until
) -> None:
    panel, *_ = joined
    for number in (1, 2):  # of the second there are no denoised maps
        half_maps(session, number)
    session.summaries = {n: IterationSummary(n, 9.0, 5.0, 7.5, 0.5, 1.0, N) for n in (1, 2)}
    panel.show()
    panel.tabs.setCurrentWidget(panel.denoiser)
    wait_until(lambda: panel.denoiser.found is not None, 10)
    assert panel.denoiser.found.iteration == 1
    panel.mark_iteration(2)
    wait_until(lambda: panel.denoiser.found is None, 10)


def test_a_new_run_begins_with_empty_plots(joined, session) -> None:
    panel, *_ = joined
    half_maps(session, 1)
    assert panel.isVisibleTo(panel.parentWidget())
    session.apply(RunStarted(10, (5, 5), N, VOXEL, 1, "cpu", "torch"))
    assert panel._history == {}


def test_another_run_is_drawn_beside_this_one(joined, session, wait_until) -> None:
    panel, *_ = joined
    other = RefinementSession()
    panel.show()
    half_maps(session, 1)
    panel._feed_for_test.compare_with("twin", other)
    other.apply(RunStarted(10, (5, 5), N, VOXEL, 1, "cpu", "torch"))
    half_maps(other, 1)
    half_maps(other, 2)
    wait_until(lambda: panel.fsc.beside.getData()[0] is not None, 5)
    assert "twin" in panel.fsc.caption.text
    x, y = panel.fsc.beside.getData()
    assert x[-1] == pytest.approx(1 / (2 * VOXEL))
    assert y[0] == 1
    session.apply(RunStarted(10, (5, 5), N, VOXEL, 1, "cpu", "torch"))
    assert panel._beside.history == {}
    half_maps(other, 3)
    assert panel._beside.history == {}
