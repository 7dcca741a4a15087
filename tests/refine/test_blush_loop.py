"""The denoiser in the loop: it makes references, and nothing else of a run carries its mark."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from napari_blush.data_model.results import IterationResult
from napari_blush.denoiser.denoise_options import DenoiseOptions
from napari_blush.denoiser.network import BlockPrediction, BlushUNet
from napari_blush.denoiser.weights import save_denoiser
from napari_blush.errors import RefinementError
from napari_blush.numerics.masks import soft_sphere
from napari_blush.refine.events import (
    HalfMapsReconstructed,
    IterationFinished,
    Message,
    ReferencesRegularized,
    RegularizationStep,
    RunFinished,
    RunStarted,
)
from napari_blush.refine.run import run
from napari_blush.refine.state import random_halves, state_from_plain, state_to_plain
from napari_blush.refine.steering import ChangeSettings, Steering
from napari_blush.regularization.blush import UNSAFE, BlushRegularizer
from napari_blush.regularization.smoothness import SmoothnessRegularizer
from napari_blush.regularization.spectral_trailing import cutoff_shell

BOX, BLOCK, PERIOD = 24, 32, 8  # one block holds the whole map; the mark has its power on shell 3
NOTHING_JOINED = 1e6


class Network(nn.Module):
    """Does to a block what a function does."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function
        self.place = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, density: torch.Tensor, local_std: torch.Tensor) -> BlockPrediction:
        return BlockPrediction(self.function(density), torch.zeros_like(density))


@dataclass(frozen=True)
class KnownDenoiser:
    network: nn.Module
    voxel_size: float = 6.0
    block_size: int = BLOCK


def blush(function: Callable[[torch.Tensor], torch.Tensor], **keywords) -> BlushRegularizer:
    """Blush with a denoiser whose doings are known."""
    return BlushRegularizer(KnownDenoiser(Network(function)), **keywords)


def marked(blocks: torch.Tensor) -> torch.Tensor:
    """Planes that no particle has, far above everything else."""
    wave = torch.cos(torch.arange(BLOCK) * (2 * torch.pi / PERIOD))
    return blocks + 5 * blocks.std() * wave[None, :, None, None]


def mark_in(volume: torch.Tensor) -> float:
    """The part of a map's power that lies on the planes of the mark."""
    transform = torch.fft.fftn(volume - volume.mean()).abs() ** 2
    k = BOX // PERIOD
    return float((transform[k, 0, 0] + transform[-k, 0, 0]) / transform.sum())


def results_of(events) -> list[IterationResult]:
    return [event.result for event in events if isinstance(event, IterationFinished)]


def one_iteration(settings, problem, regularizer, state=None):
    """The events of one iteration."""
    events = run(settings, problem.particles, problem.start, regularizer=regularizer,
                 resume_from=state)  # fmt: skip
    seen = []
    for event in events:
        seen.append(event)
        if isinstance(event, IterationFinished):
            break
    events.close()
    return seen


@pytest.fixture(scope="module")
def marked_run(tiny, settings_for, drain):
    """Two iterations and the last one with a denoiser that leaves its mark."""
    settings = settings_for(first_iteration_cc=False, automatic_mask=False, threads=1)
    regularizer = blush(marked, gain=False)
    return drain(run(settings, tiny.particles, tiny.start, regularizer=regularizer))


def test_references_carry_the_mark_and_results_do_not(marked_run) -> None:
    events, result = marked_run
    *iterations, last = results_of(events)
    for made in iterations:
        assert min(mark_in(reference) for reference in made.references) > 0.2
        assert mark_in(made.denoised_maps.half1) > 0.3
        for maps in (made.half_maps, made.wiener_maps):
            assert max(mark_in(maps.half1), mark_in(maps.half2)) < 0.1
    assert last.denoised_maps is None
    assert last.regularized_by == ""
    for volume in (
        result.final_map,
        result.sharpened_map,
        result.half_maps.half1,
        result.half_maps.half2,
        *last.references,
    ):
        assert mark_in(volume) < 0.1


def test_what_no_other_half_confirms_is_taken_from_the_references(
    marked_run, tiny, settings_for
) -> None:
    """The same mark, with the gain: the denoised map carries it, the reference a trace."""
    settings = settings_for(first_iteration_cc=False, automatic_mask=False, threads=1)
    made = results_of(one_iteration(settings, tiny, blush(marked)))[0]
    assert mark_in(made.denoised_maps.half1) > 0.3
    without = results_of(marked_run[0])[0]
    for number in (0, 1):
        assert mark_in(made.references[number]) < 0.3 * mark_in(without.references[number])


def test_the_last_iteration_is_the_same_whatever_denoises(tiny, settings_for, drain) -> None:
    settings = settings_for(max_iterations=1, first_iteration_cc=False, threads=1)
    first = one_iteration(settings, tiny, blush(marked))
    state = first[-1].state
    ends = [
        drain(run(settings, tiny.particles, tiny.start, regularizer=regularizer,
                  resume_from=state))[1]
        for regularizer in (blush(marked), blush(torch.zeros_like))
    ]  # fmt: skip
    assert torch.equal(ends[0].final_map, ends[1].final_map)
    assert torch.equal(ends[0].half_maps.half1, ends[1].half_maps.half1)


def test_the_fsc_of_an_iteration_is_from_before_the_denoiser(
    marked_run, tiny, settings_for
) -> None:
    """From one state, three regularizers: the same maps and curves to the last bit."""
    settings = settings_for(max_iterations=5, first_iteration_cc=False, threads=1)
    state = next(e for e in marked_run[0] if isinstance(e, IterationFinished)).state
    made = [
        results_of(one_iteration(settings, tiny, regularizer, state))[0]
        for regularizer in (blush(marked), blush(lambda blocks: blocks), SmoothnessRegularizer())
    ]
    for other in made[1:]:
        assert torch.equal(made[0].half_maps.half1, other.half_maps.half1)
        assert torch.equal(made[0].wiener_maps.half2, other.wiener_maps.half2)
        for curve in ("unmasked", "masked", "phase_randomized", "corrected"):
            assert torch.equal(getattr(made[0].fsc, curve), getattr(other.fsc, curve))
        assert torch.equal(made[0].data_vs_prior, other.data_vs_prior)
        assert made[0].resolution_angstrom == other.resolution_angstrom
        assert not torch.equal(made[0].references[0], other.references[0])


def test_the_cutoff_is_that_of_the_curve_that_drives(marked_run) -> None:
    events, _ = marked_run
    for made in results_of(events)[:-1]:
        fsc = made.fsc.unmasked.clone()
        fsc[made.current_size // 2 + 1 :] = 0
        shared = -(-BOX * 6.0 // 40.0)
        assert made.cutoff_shell == cutoff_shell(fsc, int(shared))


def test_references_are_cut_off_before_they_are_masked(marked_run) -> None:
    """Nothing outside the mask: a filter after it would have smeared its edge."""
    events, _ = marked_run
    outside = soft_sphere(BOX, (BOX - 5) / 2, 5.0) == 0
    assert int(outside.sum()) > 500
    for made in results_of(events)[:-1]:
        for reference in made.references:
            assert not bool(reference[outside].any())


@pytest.mark.parametrize("half", [1, 2])
def test_poison_in_one_half_stays_there(tiny, settings_for, half: int) -> None:
    settings = settings_for(low_resolution_join=NOTHING_JOINED, first_iteration_cc=False, threads=1)
    subset = random_halves(70, seed=3)
    clean = replace(tiny, particles=replace(tiny.particles, random_subset=subset))
    stack = tiny.particles.images.stack.clone()
    rows = torch.nonzero(subset == half).flatten()
    stack[rows] = torch.randn(stack[rows].shape, generator=torch.Generator().manual_seed(1))
    images = replace(tiny.particles.images, stack=stack)
    bad = replace(clean, particles=replace(clean.particles, images=images))
    torch.manual_seed(0)
    network = BlushUNet(width=2, depth=2).eval().requires_grad_(False)
    denoiser = KnownDenoiser(network, block_size=16)
    # Without the numbers that both halves together give: the cut-off, and a gain for each shell.
    good, evil = (
        results_of(
            one_iteration(settings, problem, BlushRegularizer(denoiser, trailing=False, gain=False))
        )[0]
        for problem in (clean, bad)
    )
    mine = 2 - half
    names = ("half1", "half2")
    assert torch.equal(good.references[mine], evil.references[mine])
    assert torch.equal(
        getattr(good.denoised_maps, names[mine]), getattr(evil.denoised_maps, names[mine])
    )
    assert not torch.equal(good.references[1 - mine], evil.references[1 - mine])


def test_a_run_says_how_far_the_denoiser_is(marked_run) -> None:
    events, _ = marked_run
    kinds = [type(event) for event in events]
    first = kinds.index(HalfMapsReconstructed)
    last = kinds.index(ReferencesRegularized)
    steps = [event for event in events[first:last] if isinstance(event, RegularizationStep)]
    assert steps[0].done == 0
    assert steps[-1].done == 1
    assert {step.iteration for step in steps} == {1}
    assert RegularizationStep not in kinds[kinds.index(ReferencesRegularized, last + 1) :]


def test_closing_a_run_stops_the_denoiser_within_a_batch(tiny, settings_for) -> None:
    calls = []

    def counted(blocks: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return blocks

    denoiser = KnownDenoiser(Network(counted), block_size=8)
    regularizer = BlushRegularizer(denoiser, DenoiseOptions(batch_size=1))
    events = run(settings_for(), tiny.particles, tiny.start, regularizer=regularizer)
    for event in events:
        if isinstance(event, RegularizationStep) and calls:
            break
    events.close()
    assert len(calls) == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("half ")]


# weights from files ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Two files of random weights."""
    folder = tmp_path_factory.mktemp("weights")
    paths = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        paths.append(folder / f"w{seed}.safetensors")
        fields = {"name": f"w{seed}", "version": "1", "voxel_size": 6.0, "block_size": 16}
        save_denoiser(paths[-1], BlushUNet(width=2, depth=2), fields)
    return paths


def blush_settings(settings_for, path, **changes):
    values = {"regularizer": "blush", "denoiser": str(path), "threads": 1, "max_iterations": 5}
    values["denoise_from"] = None
    return settings_for(first_iteration_cc=False, **{**values, **changes})


@pytest.fixture(scope="module")
def first_iteration(weights, tiny, settings_for):
    return one_iteration(blush_settings(settings_for, weights[0]), tiny, None)


def test_weights_are_named_at_the_start_and_in_the_result(first_iteration) -> None:
    started = next(event for event in first_iteration if isinstance(event, RunStarted))
    made = results_of(first_iteration)[0]
    assert started.regularizer.startswith("blush (w1 1, sha256 ")
    assert made.regularized_by == started.regularizer
    assert first_iteration[-1].state.regularized_by == started.regularizer
    told = [event.text for event in first_iteration if isinstance(event, Message)]
    checksum = started.regularizer.split()[-1]
    assert sum(f"w1 1 (sha256 {checksum[:12]}" in text for text in told) == 1


def test_a_run_that_waits_is_the_baseline(weights, tiny, settings_for) -> None:
    """Halves of 6 A voxels never agree to 1 A; the last iteration is that of the baseline too."""
    settings = blush_settings(settings_for, weights[0], denoise_from=1.0, max_iterations=3)
    baseline = settings.model_copy(update={"regularizer": "smoothness"})
    ends = []
    for one in (settings, baseline):
        events = list(run(one, tiny.particles, tiny.start))
        ends.append(next(event for event in events if isinstance(event, RunFinished)))
        texts = [event.text for event in events if isinstance(event, Message)]
        waits = sum("references are Wiener maps" in text for text in texts)
        assert waits == (1 if one is settings else 0)
        assert all(made.denoised_maps is None for made in results_of(events))
    ours, theirs = (end.result for end in ends)
    assert torch.equal(ours.final_map, theirs.final_map)
    assert torch.equal(ours.half_maps.half1, theirs.half_maps.half1)


def test_a_resumed_run_is_the_uninterrupted_one(
    first_iteration, weights, tiny, settings_for
) -> None:
    settings = blush_settings(settings_for, weights[0])
    whole = run(settings, tiny.particles, tiny.start)
    straight = []
    for event in whole:
        if isinstance(event, IterationFinished):
            straight.append(event)
        if len(straight) == 2:
            break
    whole.close()
    state = state_from_plain(*state_to_plain(first_iteration[-1].state))
    resumed = one_iteration(settings, tiny, None, state)[-1]
    for ours, theirs in zip(resumed.result.references, straight[1].result.references, strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(resumed.state.poses.rotations, straight[1].state.poses.rotations)
    assert resumed.result.cutoff_shell == straight[1].result.cutoff_shell


def test_a_run_goes_on_with_its_own_weights_only(
    first_iteration, weights, tiny, settings_for, tmp_path
) -> None:
    state = first_iteration[-1].state
    with pytest.raises(RefinementError, match=r"made by blush \(w1.*would now be made by.*w2"):
        one_iteration(blush_settings(settings_for, weights[1]), tiny, None, state)
    moved = tmp_path / "elsewhere.safetensors"
    moved.write_bytes(weights[0].read_bytes())
    events = run(blush_settings(settings_for, moved), tiny.particles, tiny.start, resume_from=state)
    assert isinstance(next(events), RunStarted)
    events.close()


def test_another_regularizer_goes_on_and_says_so(first_iteration, tiny, settings_for) -> None:
    events = run(settings_for(max_iterations=5, threads=1), tiny.particles, tiny.start,
                 resume_from=first_iteration[-1].state)  # fmt: skip
    told = [next(events) for _ in range(5)]
    events.close()
    assert any(
        isinstance(event, Message) and event.warning and "from here on by smoothness" in event.text
        for event in told
    )


def test_denoiser_and_trailing_can_be_switched_between_iterations(
    weights, tiny, settings_for
) -> None:
    steering = Steering()
    asked = [
        {"spectral_trailing": False},
        {"regularizer": "smoothness"},
        {"regularizer": "blush", "spectral_trailing": True, "denoiser": str(weights[1])},
    ]
    settings = blush_settings(settings_for, weights[0], max_iterations=4)
    made, texts = [], []
    for event in run(settings, tiny.particles, tiny.start, steering=steering):
        if isinstance(event, Message):
            texts.append(event.text)
        if isinstance(event, IterationFinished):
            made.append(event.result)
            if asked:
                steering.propose(ChangeSettings(asked.pop(0)))
        if isinstance(event, RunFinished):
            assert event.result.final_map.isfinite().all()
    assert [result.regularized_by.split(",")[0] for result in made] == [
        "blush (w1 1",
        "blush (w1 1",
        "smoothness",
        "blush (w2 1",
        "",
    ]
    assert [result.cutoff_shell is None for result in made] == [False, True, True, False, True]
    assert [result.denoised_maps is None for result in made] == [False, False, True, False, True]
    assert texts.count(UNSAFE) == 1


def test_weights_that_are_not_there_are_refused_without_stopping_the_run(
    weights, tiny, settings_for
) -> None:
    steering = Steering()
    steering.propose(ChangeSettings({"denoiser": str(weights[0].parent / "none.safetensors")}))
    settings = blush_settings(settings_for, weights[0])
    events = run(settings, tiny.particles, tiny.start, steering=steering)
    seen = []
    for event in events:
        seen.append(event)
        if isinstance(event, IterationFinished):
            break
    events.close()
    (refusal,) = [e for e in seen if isinstance(e, Message) and "Not changed" in e.text]
    assert refusal.warning
    assert seen[-1].result.regularized_by.startswith("blush (w1")
