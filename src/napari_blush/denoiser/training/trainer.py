"""The training itself: draws blocks, steps the optimizer, keeps the running mean of the weights."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from napari_blush.data_model.training_settings import TrainingSettings
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.training.augmentation import draw_augmentation
from napari_blush.denoiser.training.checkpoint import TrainingState
from napari_blush.denoiser.training.compute import (
    autocast,
    chosen_precision,
    random_state_of,
    step_generator,
)
from napari_blush.denoiser.training.events import (
    CheckpointDue,
    StepsReplanned,
    TrainingEvent,
    TrainingFinished,
    TrainingStarted,
    TrainingStep,
)
from napari_blush.denoiser.training.loss import LossTerms, training_loss
from napari_blush.denoiser.training.pairs import TrainingPair
from napari_blush.denoiser.training.validation import Validation
from napari_blush.denoiser.training.views import ViewMaker
from napari_blush.denoiser.training.workers import Workers
from napari_blush.errors import TrainingError
from napari_blush.numerics.devices import chosen_device

_MEAN_WARMUP = 10.0
_RANK_OF_ALL = 4095
"""Stands for what all processes draw alike."""


class Trainer:
    """A training, step by step.

    Parameters
    ----------
    settings : TrainingSettings
    training, validation : sequence of TrainingPair
        All of one voxel size.
    weights : dict of str to Tensor, optional
        To start from; default: random ones of the seed.
    workers : Workers, optional
        The processes that train together; each draws a batch of its own.
    device : torch.device, optional
        Default: that of the settings.

    Raises
    ------
    TrainingError
        Without pairs to train on, or with weights of another architecture.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        training: Sequence[TrainingPair],
        validation: Sequence[TrainingPair],
        weights: dict[str, Tensor] | None = None,
        *,
        workers: Workers | None = None,
        device: torch.device | None = None,
    ) -> None:
        if not training:
            raise TrainingError(
                "No pair of half-maps of the split 'train' was given; wanted one at least; see "
                "pairs.tsv of the folder."
            )
        self.settings, self.pairs = settings, training
        self.step = 0
        self.voxel_size = training[0].info.voxel_size
        self.workers = workers or Workers()
        self.device = device or chosen_device(settings.device, TrainingError)
        self.precision = chosen_precision(settings.precision, self.device)
        self.network = self._new_network()
        self.mean_network = self._new_network()
        if weights is not None:
            load_weights(self.network, weights)
        self.mean_network.load_state_dict(self.network.state_dict())
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self._clusters = _by_cluster(training)
        self._views = ViewMaker(settings.block_size, self.voxel_size, self.device)
        self.n_validation = min(len(validation), settings.validation_entries)
        self._validation = Validation(
            settings, validation[: self.n_validation], self._views, self.precision
        )

    def state(self) -> TrainingState:
        """Return what the training goes on from; on the CPU, and changed by no later step."""
        return TrainingState(
            self.step,
            _on_cpu(self.network.state_dict()),
            _on_cpu(self.mean_network.state_dict()),
            _on_cpu(self._optimizer.state_dict()),
            self.settings.model_dump(mode="json"),
            self.voxel_size,
        )

    def load(self, state: TrainingState) -> None:
        """Go on from a state.

        Raises
        ------
        TrainingError
            When it is of another architecture or voxel size.
        """
        if abs(state.voxel_size / self.voxel_size - 1) > 1e-3:
            raise TrainingError(
                f"The checkpoint was trained at {state.voxel_size:g} A and the pairs have voxels "
                f"of {self.voxel_size:g} A; wanted the same; start without --resume."
            )
        load_weights(self.network, state.network)
        load_weights(self.mean_network, state.mean_network)
        self._optimizer.load_state_dict(state.optimizer)
        self.step = state.step

    def run(self) -> Iterator[TrainingEvent]:
        """Yield events until all steps are done.

        The consumer may stop at any event: the state is whole between two of them.
        """
        settings, first_step = self.settings, self.step + 1
        yield TrainingStarted(
            len(self.pairs),
            self.n_validation,
            sum(parameter.numel() for parameter in self.network.parameters()),
            first_step,
            settings.steps,
            str(self.device),
            self.precision,
        )
        began = kept = time.monotonic()
        while self.step < self.settings.steps:
            yield self.train_step()
            if self._time_is_short(time.monotonic() - began, self.step - first_step + 1):
                yield StepsReplanned(self.settings.steps)
            last = self.step == self.settings.steps
            due = last or self.step % settings.validation_every == 0
            if self.n_validation and due and self.workers.is_first:
                yield self._validation.run(self.mean_network, self.step)
            if last or time.monotonic() - kept > 60 * settings.checkpoint_minutes:
                yield CheckpointDue(self.state())
                kept = time.monotonic()
        yield TrainingFinished(self.step)

    def _time_is_short(self, elapsed: float, done: int) -> bool:
        """Plan anew when the time of the plateau is over and its steps are not.

        The new plan is part of the settings, so that a resumed training follows it too.
        """
        settings = self.settings
        plateau = 1 - settings.decay_fraction
        if settings.minutes is None:
            return False
        if not self.workers.any(elapsed >= 60 * settings.minutes * plateau, self.device):
            return False
        left = round(done * settings.decay_fraction / plateau) if plateau > 0 else 0
        steps = min(settings.steps, self.step + left)
        self.settings = settings.model_copy(update={"steps": steps, "minutes": None})
        return True

    def train_step(self) -> TrainingStep:
        """Do the next step."""
        began = time.perf_counter()
        settings, number = self.settings, self.step + 1
        # The number of passes is that of all processes: none waits for another.
        odds = torch.tensor(settings.recycling_odds)
        common = step_generator(settings.seed, number, _RANK_OF_ALL)
        recycled = int(torch.multinomial(odds, 1, generator=common))
        generator = step_generator(settings.seed, number, self.workers.rank)
        pairs = self._draw_pairs(generator)
        drawn = draw_augmentation(
            settings,
            [pair.inside for pair in pairs],
            [pair.box_size for pair in pairs],
            self.voxel_size,
            generator,
        )
        views = self._views.make(pairs, drawn, generator)
        prepared = time.perf_counter()
        rate = learning_rate(settings, number)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        with random_state_of(generator, self.device), autocast(self.precision, self.device):
            terms = training_loss(
                self.network, views, recycled, self.voxel_size, settings.mask_loss_weight
            )
        norm = self._descend(terms)
        self.step = number
        return TrainingStep(
            number,
            float(terms.density),
            float(terms.mask),
            float(terms.identity),
            recycled,
            rate,
            norm,
            time.perf_counter() - began,
            prepared - began,
        )

    def _descend(self, terms: LossTerms) -> float:
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(terms.total)
        self.workers.average_gradients(self.network.parameters())
        norm = torch.nn.utils.clip_grad_norm_(
            self.network.parameters(), self.settings.gradient_clip
        )
        # A step of which nothing is finite would spoil all weights; it is left out.
        if bool(torch.isfinite(norm)):
            self._optimizer.step()
            self._follow()
        return float(norm)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the running mean of the weights; it forgets faster at the beginning."""
        decay = min(self.settings.ema_decay, (1 + self.step) / (_MEAN_WARMUP + self.step))
        torch._foreach_lerp_(
            list(self.mean_network.parameters()), list(self.network.parameters()), 1 - decay
        )

    def _draw_pairs(self, generator: torch.Generator) -> list[TrainingPair]:
        """Draw a cluster, then a pair in it, for each of the batch."""
        chances = torch.rand(self.settings.batch_size, 2, generator=generator).tolist()
        chosen = []
        for cluster_chance, pair_chance in chances:
            cluster = self._clusters[int(cluster_chance * len(self._clusters))]
            chosen.append(cluster[int(pair_chance * len(cluster))])
        return chosen

    def _new_network(self) -> BlushUNet:
        settings = self.settings
        with random_state_of(step_generator(settings.seed, 0), torch.device("cpu")):
            network = BlushUNet(settings.width, settings.depth, dropout=settings.dropout)
        # The first prediction of noise is none: a network that knows nothing changes nothing.
        with torch.no_grad():
            network.outc.weight[0].zero_()
            network.outc.bias.zero_()  # type: ignore[union-attr]
        network = network.to(self.device)
        for parameter in network.parameters():
            if parameter.ndim == 5:
                parameter.data = parameter.data.to(memory_format=torch.channels_last_3d)
        return network


def learning_rate(settings: TrainingSettings, step: int) -> float:
    """Return the rate of a step counted from 1: a linear rise, a plateau, a linear fall."""
    rise = min(1.0, step / max(settings.warmup_steps, 1))
    fall_steps = max(1.0, settings.decay_fraction * settings.steps)
    fall = min(1.0, (settings.steps - step + 1) / fall_steps)
    return settings.learning_rate * rise * (fall if settings.decay_fraction > 0 else 1.0)


def load_weights(network: BlushUNet, weights: dict[str, Tensor]) -> None:
    """Load weights into a network.

    Raises
    ------
    TrainingError
        When they are of another architecture.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if wanted != given:
        odd = sorted(name for name in wanted.keys() | given.keys()
                     if wanted.get(name) != given.get(name))  # fmt: skip
        raise TrainingError(
            f"The weights do not fit a network of width {network.width} and depth {network.depth} "
            f"({odd[0]} is {given.get(odd[0])}, wanted {wanted.get(odd[0])}); give the width and "
            "depth that they were trained with."
        )
    network.load_state_dict(weights)


def _by_cluster(pairs: Sequence[TrainingPair]) -> list[list[TrainingPair]]:
    clusters: dict[str, list[TrainingPair]] = {}
    for pair in pairs:
        clusters.setdefault(pair.info.cluster or pair.info.name, []).append(pair)
    return list(clusters.values())


def _on_cpu(content: Any) -> Any:
    """Return a copy of nested tensors on the CPU."""
    if isinstance(content, Tensor):
        return content.detach().to("cpu", copy=True)
    if isinstance(content, dict):
        return {key: _on_cpu(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_on_cpu(value) for value in content]
    return content
