"""``napari-blush train``: a denoiser from half-map pairs, new, resumed, or fine-tuned.

::

    DIR/weights.safetensors    running mean of the weights, to denoise with
    DIR/checkpoint.pt          what --resume goes on from
    DIR/training_log.tsv       a row for each validation
    DIR/steps.tsv              means over the steps between two lines of the log
    DIR/fsc.tsv                correlation of each shell at each validation
    DIR/settings.yaml
    DIR/maps/                  while it runs, half-maps that do not fit into memory

With several GPUs: ``torchrun --nproc-per-node N -m napari_blush train ...``; the batch size is that
of each process.
"""

import contextlib
import os
import shutil
from argparse import Namespace
from pathlib import Path

import torch
import yaml

from napari_blush import __version__
from napari_blush.cli.report import Report
from napari_blush.cli.train_log import TrainingLog
from napari_blush.cli.training_folder import TrainingFolders
from napari_blush.cli.training_stop import StopRequest
from napari_blush.data_model.training_settings import TrainingSettings
from napari_blush.denoiser.training.checkpoint import TrainingState, read_state, write_state
from napari_blush.denoiser.training.events import CheckpointDue, TrainingEvent, TrainingStep
from napari_blush.denoiser.training.pair_files import PairFiles, bytes_of_pair
from napari_blush.denoiser.training.pairs import TrainingPair, read_pairs
from napari_blush.denoiser.training.trainer import Trainer
from napari_blush.denoiser.training.workers import join_workers, leave_workers
from napari_blush.denoiser.weights import load_denoiser, save_denoiser
from napari_blush.denoiser.weights_record import WeightsRecord
from napari_blush.denoiser.working_memory import free_bytes
from napari_blush.errors import TrainingError, WeightsError
from napari_blush.io.atomic import write_bytes
from napari_blush.numerics.devices import chosen_device

CHECKPOINT_NAME = "checkpoint.pt"
WEIGHTS_NAME = "weights.safetensors"
FILES_NAME = "maps"
_EXIT_INTERRUPTED = 130
_SPLITS = ("train", "validation")
_ARCHITECTURE = ("width", "depth", "block_size")
_FINE_TUNING_RATE = 2e-4
"""Where nothing else is asked for: what was learned is not to be lost in the first steps."""


def execute(settings: TrainingSettings, options: Namespace) -> int:
    """Train on what ``options`` names; return the exit code."""
    report = Report()
    source = TrainingFolders(options.folders)
    files = options.output / FILES_NAME
    try:
        trainer = new_trainer(settings, options, source, report)
        if trainer.workers.is_first:
            return followed(trainer, options.output, report)
        return in_the_background(trainer)
    finally:
        leave_workers()
        shutil.rmtree(files / str(os.getpid()), ignore_errors=True)
        with contextlib.suppress(OSError):  # that of another process may still be there
            files.rmdir()


def followed(trainer: Trainer, output: Path, report: Report) -> int:
    """Train, keep and print; return the exit code."""
    output.mkdir(parents=True, exist_ok=True)
    write_settings(output, trainer.settings)
    log = TrainingLog(output, report, resumed_at=trainer.step, log_every=trainer.settings.log_every)
    with StopRequest() as stop:
        for event in trainer.run():
            log.tell(event)
            if isinstance(event, CheckpointDue):
                keep(output, trainer, event.state)
            elif is_stopped(trainer, event, stop):
                keep(output, trainer, trainer.state())
                report.line(
                    f"Stopped: step {trainer.step} is kept; the same command with --resume goes on "
                    "from there."
                )
                return _EXIT_INTERRUPTED
    report.line(f"Weights {output / WEIGHTS_NAME}.")
    return 0


def in_the_background(trainer: Trainer) -> int:
    """Train beside the process that writes; return the exit code."""
    with StopRequest() as stop:
        for event in trainer.run():
            if is_stopped(trainer, event, stop):
                return _EXIT_INTERRUPTED
    return 0


def is_stopped(trainer: Trainer, event: TrainingEvent, stop: StopRequest) -> bool:
    """Return whether a step was done and any process was asked to stop."""
    return isinstance(event, TrainingStep) and trainer.workers.any(stop.asked, trainer.device)


def new_trainer(
    settings: TrainingSettings, options: Namespace, source: TrainingFolders, report: Report
) -> Trainer:
    """Read the pairs, and weights or a checkpoint where the command line names them."""
    state = read_state(options.output / CHECKPOINT_NAME) if options.resume else None
    weights = None
    if state is None:
        _refuse_to_overwrite(options.output)
    else:
        settings = merged_settings(settings, state)
    if options.start_from is not None and state is None:
        denoiser = load_denoiser(options.start_from)
        settings = settings_of_weights(settings, denoiser.record)
        weights = denoiser.network.state_dict()
        report.line(f"Starting from the weights {denoiser.record}.")
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    workers, device = join_workers(chosen_device(settings.device, TrainingError))
    places = Places(settings, options.output, device)
    pairs = {split: read_split(source, split, places, report) for split in _SPLITS}
    if places.on_disk:
        report.line(f"{places.on_disk} pairs do not fit into memory and are read from files.")
    trainer = Trainer(
        settings, pairs["train"], pairs["validation"], weights, workers=workers, device=device
    )
    if weights is not None and abs(denoiser.voxel_size / trainer.voxel_size - 1) > 1e-3:
        raise TrainingError(
            f"The weights work on voxels of {denoiser.voxel_size:g} A and the pairs have "
            f"{trainer.voxel_size:g} A; wanted the same; prepare the folder with --voxel-size "
            f"{denoiser.voxel_size:g}."
        )
    if state is not None:
        trainer.load(state)
    return trainer


class Places:
    """Where prepared pairs are kept: on the GPU, in memory, or in files, while there is room."""

    def __init__(self, settings: TrainingSettings, output: Path, device: torch.device) -> None:
        limit = settings.memory_limit
        free = free_bytes(torch.device("cpu")) / 2
        self._device = device
        self._room = free if limit is None else limit * 1e9
        self._device_room = free_bytes(device) / 2 if device.type == "cuda" else 0.0
        self._files = PairFiles(output / FILES_NAME / str(os.getpid()))
        self.on_disk = 0

    def keep(self, pair: TrainingPair) -> TrainingPair:
        """Return the pair where it is kept."""
        needed = bytes_of_pair(pair.box_size)
        if self._device_room >= needed:
            self._device_room -= needed
            return pair.to(self._device)
        if self._room >= needed:
            self._room -= needed
            return pair
        self.on_disk += 1
        return self._files.moved(pair)


def read_split(
    source: TrainingFolders, split: str, places: Places, report: Report
) -> list[TrainingPair]:
    """Read and prepare the pairs of a split."""
    total = sum(info.split == split for info in source.entries)
    pairs: list[TrainingPair] = []
    for pair in read_pairs(source, split):
        pairs.append(places.keep(pair))
        report.progress.update(f"Reading {split} pairs", len(pairs), total)
    return pairs


def merged_settings(settings: TrainingSettings, state: TrainingState) -> TrainingSettings:
    """Return a checkpoint's settings with what was set anew, the architecture excepted."""
    anew = {name: getattr(settings, name) for name in settings.model_fields_set}
    for name in _ARCHITECTURE:
        if name in anew and anew[name] != state.settings[name]:
            raise TrainingError(
                f"The {name.replace('_', ' ')} was given as {anew[name]} and the checkpoint has "
                f"{state.settings[name]}; wanted the same; leave the option away or start anew."
            )
    return TrainingSettings.model_validate({**state.settings, **anew})


def settings_of_weights(settings: TrainingSettings, record: WeightsRecord) -> TrainingSettings:
    """Return settings of the architecture of weights.

    Raises
    ------
    TrainingError
        When another width or depth was asked for.
    """
    chosen = settings.model_dump()
    for name in _ARCHITECTURE:
        given, wanted = getattr(settings, name), getattr(record, name)
        if name not in settings.model_fields_set:
            chosen[name] = wanted
        elif given != wanted and name != "block_size":
            raise TrainingError(
                f"The {name} was given as {given} and the weights {record.name} have {wanted}; "
                "wanted the same; leave the option away."
            )
    if "learning_rate" not in settings.model_fields_set:
        chosen["learning_rate"] = _FINE_TUNING_RATE
    return TrainingSettings.model_validate(chosen)


def keep(output: Path, trainer: Trainer, state: TrainingState) -> None:
    """Write checkpoint and weights; both are whole at any time."""
    write_state(output / CHECKPOINT_NAME, state)
    fields: dict[str, str | float | int] = {
        "voxel_size": trainer.voxel_size,
        "block_size": trainer.settings.block_size,
        "version": f"step-{state.step}",
        "source": f"napari-blush {__version__} train, seed {trainer.settings.seed}",
        "description": f"Running mean of the weights after {state.step} steps on "
        f"{len(trainer.pairs)} pairs.",
    }
    save_denoiser(output / WEIGHTS_NAME, trainer.mean_network, fields)


def write_settings(output: Path, settings: TrainingSettings) -> None:
    """Write ``settings.yaml``, which ``--settings`` reads."""
    content = {"version": __version__, "settings": settings.model_dump(mode="json")}
    text = yaml.safe_dump(content, sort_keys=False)
    write_bytes(output / "settings.yaml", text.encode(), WeightsError)


def _refuse_to_overwrite(output: Path) -> None:
    if (output / CHECKPOINT_NAME).exists():
        raise TrainingError(
            f"{output} holds a training already; wanted a new folder; go on with it by --resume, "
            "or name another --output."
        )
