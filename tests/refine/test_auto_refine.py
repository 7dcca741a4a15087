"""How a run begins, goes from one iteration to the next, and comes to its end."""

from dataclasses import replace

import pytest
import torch

from napari_blush.data_model.poses import Poses
from napari_blush.data_model.results import Accuracy, Outcome
from napari_blush.likelihood.weighted_sums import ImageOutcomes
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import axis_angle_to_matrix
from napari_blush.refine.auto_refine import prepare
from napari_blush.refine.events import IterationFinished, IterationStarted
from napari_blush.refine.pose_update import pose_changes, updated_poses
from napari_blush.refine.run import prepared_run, run
from napari_blush.refine.schedule import resolution_shell


def prepared(problem, settings, **rest):
    """The context and the state of a run that has not begun."""
    given = {"mask": None, "resume_from": None, "regularizer": None, **rest}
    context, state, _ = prepared_run(settings, problem.particles, problem.start, **given)
    return context, state


def finished(events) -> list[IterationFinished]:
    return [event for event in events if isinstance(event, IterationFinished)]


# the first state ------------------------------------------------------------------------------


def test_the_start_map_is_filtered_and_masked(tiny, settings_for) -> None:
    context, state = prepared(tiny, settings_for(initial_low_pass=30.0))
    wanted = low_pass(tiny.density, 6.0, 30.0) * context.solvent
    for model in state.models:
        assert torch.allclose(model.reference, wanted, atol=1e-6 * float(wanted.max()))
    assert state.progress.resolution_shell == 5  # 144 / 30 = 4.8
    _, plain = prepared(tiny, settings_for(initial_low_pass=None))
    assert torch.allclose(plain.models[0].reference, tiny.density * context.solvent)
    assert plain.progress.resolution_shell == 12


def test_a_run_begins_with_nothing_known_of_poses(tiny, settings_for) -> None:
    _, state = prepared(tiny, settings_for())
    assert torch.equal(state.poses.rotations, Poses.identity(70).rotations)
    assert not bool(state.poses.shifts_angstrom.any())
    assert torch.equal(torch.bincount(state.random_subset), torch.tensor([0, 35, 35]))
    assert bool((state.norm == 1).all())
    for model in state.models:
        assert float(model.pdf_direction.sum()) == pytest.approx(1.0)
        assert float(model.pdf_direction.std()) == pytest.approx(0.0, abs=1e-9)


def test_poses_of_the_particles_are_where_a_run_begins(tiny, settings_for) -> None:
    posed = replace(tiny.particles, poses=tiny.truth, has_poses=True)
    context, _ = prepared(tiny, settings_for())
    _, state, _ = prepared_run(settings_for(), posed, tiny.start, None, None, None)
    assert state.poses is tiny.truth
    assert len(context.particles) == 70


def test_a_search_around_true_poses_keeps_them(tiny, settings_for, drain) -> None:
    posed = replace(tiny.particles, poses=tiny.truth, has_poses=True)
    settings = settings_for(
        healpix_order=4, offset_range=2.0, first_iteration_cc=False, max_iterations=1
    )
    events, _ = drain(run(settings, posed, tiny.start))
    started = next(event for event in events if isinstance(event, IterationStarted))
    assert started.sampling.local_search_sigma_deg == pytest.approx(3.75)
    # Nothing lies further away than three sigma, so nothing has moved further.
    result = finished(events)[0].result
    context, _ = prepared(tiny, settings_for())
    turn, _ = pose_changes(context, tiny.truth, result.poses)
    assert 0 < turn < 3 * 3.75


def test_the_noise_is_estimated_from_the_images(tiny, settings_for) -> None:
    # White noise of variance 1 has 1/2 in each of real and imaginary part; the mask lets a disc
    # of radius 9.5 and 5 px of edge through, and signal adds to the lowest shells.
    _, state = prepared(tiny, settings_for())
    for model in state.models:
        high = model.sigma2_noise[0, 9:]
        assert 0.2 < float(high.mean()) < 0.55
        assert float(model.sigma2_noise[0, 1:4].mean()) > float(high.mean())


# norms ----------------------------------------------------------------------------------------


def test_alignment_by_correlation_leaves_norms_alone(tiny, settings_for) -> None:
    """A reference of unknown grey scale says nothing about the scale of an image."""
    for by_correlation in (True, False):
        events = run(settings_for(first_iteration_cc=by_correlation), tiny.particles, tiny.start)
        state = next(event for event in events if isinstance(event, IterationFinished)).state
        events.close()
        assert bool((state.norm == 1).all()) is by_correlation
        average = {model.average_norm for model in state.models}
        assert (average == {1.0}) is by_correlation


def test_a_start_map_of_any_grey_scale_gives_the_same_map(asymmetric, settings_for, drain) -> None:
    settings = settings_for(healpix_order=2, exhaustive_order=2, initial_low_pass=16.0)
    maps = [
        drain(run(settings, asymmetric.particles, (factor * asymmetric.density, 4.0)))[1].final_map
        for factor in (1.0, 50.0)
    ]
    fsc = fourier_shell_correlation(*maps)
    assert float(fsc[:8].min()) > 0.95
    scale = (maps[0] * maps[1]).sum() / maps[0].square().sum()
    assert float(scale) == pytest.approx(1.0, abs=0.05)


def test_norms_can_be_left_out(tiny, settings_for) -> None:
    settings = settings_for(first_iteration_cc=False, norm_correction=False)
    events = run(settings, tiny.particles, tiny.start)
    state = next(event for event in events if isinstance(event, IterationFinished)).state
    events.close()
    assert bool((state.norm == 1).all())


# poses ----------------------------------------------------------------------------------------


def test_outcomes_go_to_the_particles_of_their_half(tiny, settings_for) -> None:
    context, state = prepared(tiny, settings_for(first_iteration_cc=False))
    outcomes = [ImageOutcomes.empty(35), ImageOutcomes.empty(35)]
    for half, outcome in enumerate(outcomes, start=1):
        outcome.rotations[:] = torch.eye(3, dtype=torch.float64)
        outcome.shifts_px[:, 0] = half
        outcome.shifts_px[:, 1] = torch.arange(35)
        outcome.p_max[:] = 0.2 * half
        outcome.residual_power[:] = half * 24**2 / 2.0
    new = updated_poses(context, state, outcomes, 2)
    assert new.iteration == 2
    assert torch.equal(new.poses.shifts_angstrom[:, 0] / 6.0, state.random_subset.double())
    for half in (1, 2):
        mine = state.random_subset == half
        rows = new.poses.shifts_angstrom[mine, 1] / 6.0
        assert torch.equal(rows, torch.arange(35).double())
        # norm' = sqrt(2 * power) / n
        assert torch.allclose(new.norm[mine], torch.tensor(half**0.5, dtype=torch.float64))
        assert new.models[half - 1].average_norm == pytest.approx(half**0.5)
    assert new.progress.average_p_max == pytest.approx(0.3)
    assert new.progress.change_rotation_deg == pytest.approx(0.0, abs=1e-6)
    # Root mean square per coordinate: mean of 1, 4 and of 0..34 squared.
    mean_square = (2.5 + float((torch.arange(35.0) ** 2).mean())) / 2
    assert new.progress.change_offset_angstrom == pytest.approx(6.0 * mean_square**0.5)


@pytest.mark.parametrize("symmetry", ["C1", "D2", "C3"])
def test_a_turn_by_a_symmetry_operator_is_no_change(tiny, settings_for, symmetry: str) -> None:
    context, _ = prepared(tiny, settings_for(symmetry=symmetry))
    operators = symmetry_operators(symmetry)
    mates = operators[torch.arange(70) % len(operators)] @ tiny.truth.rotations
    small = axis_angle_to_matrix(
        torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    )
    moved = replace(tiny.truth, rotations=mates @ small)
    turn, shift = pose_changes(context, tiny.truth, moved)
    assert turn == pytest.approx(2.0, abs=1e-4)
    assert shift == 0.0


# from iteration to iteration ------------------------------------------------------------------


def test_preparing_the_first_iteration_measures_nothing(tiny, settings_for) -> None:
    context, state = prepared(tiny, settings_for())
    ready = prepare(context, state)
    assert ready.accuracy is None
    assert replace(ready.sampling, perturbation=0.0) == state.sampling
    assert ready.sampling.perturbation != 0.0


def test_preparing_a_later_one_measures_the_accuracy(tiny, settings_for, whole_run) -> None:
    state = finished(whole_run)[0].state
    context, _ = prepared(tiny, settings_for(), resume_from=state)
    ready = prepare(context, state)
    assert isinstance(ready.accuracy, Accuracy)
    assert 0 < ready.accuracy.rotation_deg <= 30
    announced = [event for event in whole_run if isinstance(event, IterationStarted)][1]
    assert ready.accuracy == announced.accuracy
    assert ready.sampling == announced.sampling


def test_directions_keep_their_probability_on_a_finer_grid(tiny, settings_for, whole_run) -> None:
    state = finished(whole_run)[0].state
    finer = replace(state, sampling=replace(state.sampling, healpix_order=3))
    context, _ = prepared(tiny, settings_for(), resume_from=state)
    ready = prepare(context, finer)
    for before, after in zip(state.models, ready.models, strict=True):
        assert after.pdf_order == ready.sampling.healpix_order
        descendants = 4 ** (after.pdf_order - before.pdf_order)
        summed = after.pdf_direction.view(-1, descendants).sum(1)
        assert torch.allclose(summed, before.pdf_direction, atol=1e-6)


def test_the_resolution_of_an_iteration_is_that_of_its_curve(whole_run) -> None:
    for event in finished(whole_run)[:3]:
        shell = resolution_shell(event.result.data_vs_prior)
        assert event.result.resolution_angstrom == pytest.approx(144.0 / shell)
        assert event.state.progress.resolution_shell == shell


# the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, None),
        (
            {
                "fine_enough": True,
                "iterations_without_gain": 1,
                "iterations_without_change": 1,
            },
            Outcome.CONVERGED,
        ),
    ],
)
def test_a_run_ends_when_it_has_converged(
    tiny, settings_for, whole_run, change, outcome: Outcome | None
) -> None:
    state = finished(whole_run)[0].state
    progress = replace(
        state.progress, fine_enough=False, iterations_without_gain=0, iterations_without_change=0
    )
    ready = replace(state, progress=replace(progress, **change))
    events = run(settings_for(max_iterations=30), tiny.particles, tiny.start, resume_from=ready)
    started = next(event for event in events if isinstance(event, IterationStarted))
    assert started.final is (outcome is not None)
    if outcome is None:
        events.close()
    else:
        result = list(events)[-1].result
        assert result.outcome is outcome
        assert "neither resolution nor" in result.reason


def test_a_run_converges_by_itself(tiny, settings_for, drain) -> None:
    settings = settings_for(max_iterations=40, healpix_order=2, exhaustive_order=2)
    events, result = drain(run(settings, tiny.particles, tiny.start))
    assert result.outcome is Outcome.CONVERGED
    orders = [
        event.sampling.healpix_order for event in events if isinstance(event, IterationStarted)
    ]
    assert orders == sorted(orders)
    assert len(orders) < 40
