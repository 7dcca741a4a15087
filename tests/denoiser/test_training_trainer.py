"""A small network learns on a toy set; an interrupted training ends as an uninterrupted one."""

import itertools

import pytest
import torch
from torch import Tensor

from napari_blush.data_model.training_settings import TrainingSettings
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.training.checkpoint import TrainingState
from napari_blush.denoiser.training.compute import (
    chosen_precision,
    random_state_of,
    step_generator,
)
from napari_blush.denoiser.training.events import (
    CheckpointDue,
    StepsReplanned,
    TrainingFinished,
    TrainingStarted,
    TrainingStep,
    ValidationResult,
)
from napari_blush.denoiser.training.pairs import PairInfo, TrainingPair, prepare_pair
from napari_blush.denoiser.training.trainer import Trainer, learning_rate
from napari_blush.errors import TrainingError
from napari_blush.numerics.masks import soft_sphere

TINY = TrainingSettings(
    width=2,
    depth=1,
    block_size=8,
    batch_size=1,
    steps=6,
    warmup_steps=0,
    validation_every=3,
    validation_entries=1,
    dropout=0.3,
    precision="float32",
    device="cpu",
    checkpoint_minutes=1e9,
)


def toy_pair(seed: int, *, split: str = "train", noise: float = 0.7) -> TrainingPair:
    """Return a pair of noisy spheres at a place of their own."""
    generator = torch.Generator().manual_seed(seed)
    n = 20
    move = torch.randint(-2, 3, (3,), generator=generator).tolist()
    signal = soft_sphere(n, 4, 2).roll(move, (0, 1, 2))
    mask = soft_sphere(n, 6, 3).roll(move, (0, 1, 2))
    half1, half2 = (signal + noise * torch.randn(n, n, n, generator=generator) for _ in range(2))
    return prepare_pair(PairInfo(f"toy{seed}", 6.0, f"c{seed % 2}", split), half1, half2, mask)


@pytest.fixture(scope="module")
def pairs() -> list[TrainingPair]:
    return [toy_pair(seed) for seed in range(3)]


def losses(trainer: Trainer, n: int) -> list[float]:
    return [trainer.train_step().loss for _ in range(n)]


def test_a_small_network_beats_doing_nothing_within_seconds() -> None:
    settings = TINY.model_copy(
        update={
            "width": 4,
            "depth": 2,
            "block_size": 16,
            "batch_size": 2,
            "steps": 45,
            "learning_rate": 1e-2,
            "ema_decay": 0.8,
            "dropout": 0.0,
            "recycling_odds": (1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
            "noise_probability": 0.0,
            "validation_every": 45,
        }
    )
    held_out = [toy_pair(99, split="validation")]
    trainer = Trainer(settings, [toy_pair(seed) for seed in range(4)], held_out)
    events = list(trainer.run())
    steps = [event for event in events if isinstance(event, TrainingStep)]
    first, last = steps[:10], steps[-10:]
    ratios = [
        sum(step.loss for step in some) / sum(step.identity_loss for step in some)
        for some in (first, last)
    ]
    assert ratios[1] < 0.85 * ratios[0]
    result = next(event for event in events if isinstance(event, ValidationResult))
    assert result.loss < 0.9 * result.identity_loss
    assert result.solvent_power < 0.9


def test_events_come_in_order(pairs: list[TrainingPair]) -> None:
    events = list(Trainer(TINY, pairs, pairs[:2]).run())
    kinds = [type(event) for event in events]
    assert kinds == [
        TrainingStarted,
        *[TrainingStep] * 3,
        ValidationResult,
        *[TrainingStep] * 3,
        ValidationResult,
        CheckpointDue,
        TrainingFinished,
    ]
    started = events[0]
    assert isinstance(started, TrainingStarted)
    assert (started.n_training, started.n_validation) == (3, 1)


def test_resumed_is_uninterrupted(pairs: list[TrainingPair]) -> None:
    whole = Trainer(TINY, pairs, [])
    expected = losses(whole, 6)
    begun = Trainer(TINY, pairs, [])
    found = losses(begun, 3)
    state = begun.state()
    torch.rand(3)  # nothing depends on the generator that all share
    begun.train_step()  # nor does the state follow what comes after it
    resumed = Trainer(TINY.model_copy(update={"learning_rate": 1e-3}), pairs, [])
    resumed.load(state)
    found += losses(resumed, 3)
    assert found == expected
    for ours, theirs in zip(
        resumed.mean_network.parameters(), whole.mean_network.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_another_seed_is_another_training(pairs: list[TrainingPair]) -> None:
    other = TINY.model_copy(update={"seed": 1})
    assert losses(Trainer(TINY, pairs, []), 2) != losses(Trainer(other, pairs, []), 2)


def test_an_untrained_network_changes_nothing(pairs: list[TrainingPair]) -> None:
    network = Trainer(TINY, pairs, []).network.eval()
    blocks = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(network(blocks, blocks.abs()).denoised, blocks, atol=1e-6)


def test_figures_of_a_network_that_changes_nothing_are_those_of_the_raw_maps(
    pairs: list[TrainingPair],
) -> None:
    trainer = Trainer(TINY.model_copy(update={"learning_rate": 1e-12}), pairs, pairs)
    result = next(event for event in trainer.run() if isinstance(event, ValidationResult))
    assert result.loss == pytest.approx(result.identity_loss, rel=1e-4)
    assert torch.allclose(result.raw_fsc, result.denoised_fsc, atol=1e-4)
    assert result.solvent_power == pytest.approx(1, rel=1e-4)
    assert float(result.raw_fsc[1]) > 0.5 > float(result.raw_fsc[-1])
    assert result.shell_width == pytest.approx(1 / 48)
    assert result.example.shape == (3, 8, 8)


def test_the_running_mean_follows(pairs: list[TrainingPair]) -> None:
    trainer = Trainer(TINY.model_copy(update={"ema_decay": 0.0}), pairs, [])
    losses(trainer, 2)
    for mean, weight in zip(
        trainer.mean_network.parameters(), trainer.network.parameters(), strict=True
    ):
        assert torch.equal(mean, weight)
    slow = Trainer(TINY.model_copy(update={"learning_rate": 0.1}), pairs, [])
    losses(slow, 3)
    pair = zip(slow.mean_network.parameters(), slow.network.parameters(), strict=True)
    assert any(not torch.allclose(mean, weight) for mean, weight in pair)


def test_the_rate_rises_stays_and_falls() -> None:
    settings = TINY.model_copy(
        update={"steps": 100, "warmup_steps": 10, "decay_fraction": 0.2, "learning_rate": 1.0}
    )
    rates = [learning_rate(settings, step) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[10:80] == [1.0] * 70
    assert all(a > b for a, b in itertools.pairwise(rates[80:]))
    assert rates[-1] == pytest.approx(0.05)


def test_the_time_allowed_brings_the_end_forward(
    pairs: list[TrainingPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(step=6.0)
    monkeypatch.setattr(
        "napari_blush.denoiser.training.trainer.time.monotonic", lambda: next(clock)
    )
    settings = TINY.model_copy(update={"steps": 100, "minutes": 1.0, "decay_fraction": 0.5})
    trainer = Trainer(settings, pairs, [])
    events = list(trainer.run())
    planned = next(event for event in events if isinstance(event, StepsReplanned))
    assert planned.steps == trainer.step < 20
    assert trainer.settings.minutes is None
    state = next(event.state for event in events if isinstance(event, CheckpointDue))
    assert state.settings["steps"] == planned.steps


def test_there_must_be_something_to_train_on() -> None:
    with pytest.raises(TrainingError, match="No pair of half-maps of the split 'train'"):
        Trainer(TINY, [], [])


def test_weights_of_another_architecture_are_refused(pairs: list[TrainingPair]) -> None:
    with pytest.raises(TrainingError, match="do not fit a network of width 2 and depth 1"):
        Trainer(TINY, pairs, [], BlushUNet(3, 1).state_dict())


def test_given_weights_are_started_from(pairs: list[TrainingPair]) -> None:
    weights = BlushUNet(2, 1).state_dict()
    trainer = Trainer(TINY, pairs, [], weights)
    for name, value in trainer.mean_network.state_dict().items():
        assert torch.equal(value, weights[name])


def test_a_checkpoint_of_another_voxel_size_is_refused(pairs: list[TrainingPair]) -> None:
    trainer = Trainer(TINY, pairs, [])
    state = trainer.state()
    other = TrainingState(
        state.step, state.network, state.mean_network, state.optimizer, state.settings, 3.0
    )
    with pytest.raises(TrainingError, match="trained at 3 A"):
        trainer.load(other)


def test_a_step_without_finite_gradient_leaves_the_weights(pairs: list[TrainingPair]) -> None:
    trainer = Trainer(TINY, pairs, [])
    before = [parameter.clone() for parameter in trainer.network.parameters()]
    with torch.no_grad():
        trainer.network.outc.bias[0] = torch.inf
        before[-1][0] = torch.inf
    trainer.train_step()
    for ours, theirs in zip(trainer.network.parameters(), before, strict=True):
        assert torch.equal(ours, theirs)


def test_steps_seeds_and_processes_draw_differently() -> None:
    given = [(0, 1, 0), (0, 2, 0), (1, 1, 0), (0, 1, 1), (2**40, 1, 0), (0, 2**40, 0)]
    drawn = [float(torch.rand((), generator=step_generator(*numbers))) for numbers in given]
    assert len(set(drawn)) == len(given)
    assert drawn[0] == float(torch.rand((), generator=step_generator(0, 1)))


def test_layers_draw_what_the_step_determines() -> None:
    def drawn(step: int) -> Tensor:
        with random_state_of(step_generator(0, step), torch.device("cpu")):
            return torch.rand(3)

    state = torch.get_rng_state()
    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_stated_precision_is_taken() -> None:
    cpu = torch.device("cpu")
    assert chosen_precision("bfloat16", cpu) == "bfloat16"
    assert chosen_precision("auto", cpu) in ("bfloat16", "float32")


@pytest.mark.cuda
def test_a_training_on_a_gpu_goes_on_as_it_would_have(pairs: list[TrainingPair]) -> None:
    settings = TINY.model_copy(update={"device": "cuda", "dropout": 0.0})
    whole = Trainer(settings, pairs, pairs)
    expected = losses(whole, 4)
    begun = Trainer(settings, pairs, pairs)
    found = losses(begun, 2)
    resumed = Trainer(settings, pairs, pairs)
    resumed.load(begun.state())
    assert found + losses(resumed, 2) == pytest.approx(expected, rel=1e-3)
    on_cpu = losses(Trainer(TINY.model_copy(update={"noise_probability": 0.0}), pairs, []), 1)
    quiet = settings.model_copy(update={"noise_probability": 0.0})
    assert losses(Trainer(quiet, pairs, []), 1) == pytest.approx(on_cpu, rel=1e-3)
