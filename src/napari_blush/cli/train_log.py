"""Writes down and prints what a training says."""

import time
from collections.abc import Sequence
from pathlib import Path

from napari_blush.cli.report import Report, time_left
from napari_blush.denoiser.training.events import (
    StepsReplanned,
    TrainingEvent,
    TrainingFinished,
    TrainingStarted,
    TrainingStep,
    ValidationResult,
)

_STEP_COLUMNS = ("step", "loss", "identity_loss", "mask_loss", "learning_rate", "gradient_norm",
                 "recycled", "seconds_per_step", "preparing_seconds")  # fmt: skip
_VALIDATION_COLUMNS = ("step", "loss", "identity_loss", "raw_fsc", "denoised_fsc", "ceiling_fsc",
                       "solvent_power", "hours")  # fmt: skip


class TrainingLog:
    """Follows the events of one training.

    Parameters
    ----------
    folder : Path
        Where the tables are; those of a resumed training are gone on with.
    report : Report
    resumed_at : int
        Steps done before; rows of later ones, which were lost, are dropped.
    log_every : int
    """

    def __init__(
        self, folder: Path, report: Report, *, resumed_at: int = 0, log_every: int = 20
    ) -> None:
        self._report, self._log_every = report, log_every
        self._steps = _Table(folder / "steps.tsv", _STEP_COLUMNS, resumed_at)
        self._validations = _Table(folder / "training_log.tsv", _VALIDATION_COLUMNS, resumed_at)
        self._curves = _Table(
            folder / "fsc.tsv", ("step", "resolution_angstrom", "raw", "denoised"), resumed_at
        )
        self._gathered: list[TrainingStep] = []
        self._began = time.monotonic()
        self._first, self._total = 1, 0

    def tell(self, event: TrainingEvent) -> None:
        """Write and print an event."""
        match event:
            case TrainingStarted():
                self._first, self._total = event.first_step, event.steps
                self._report.line(start_line(event))
            case TrainingStep():
                self._gathered.append(event)
                if event.step % self._log_every == 0 or event.step == self._total:
                    self._tell_steps()
            case ValidationResult():
                self._tell_validation(event)
            case StepsReplanned(steps=steps):
                self._total = steps
                self._report.line(f"The time allowed is enough for {steps} steps.")
            case TrainingFinished(step=step):
                self._report.line(f"All {step} steps are done.")

    def _tell_steps(self) -> None:
        steps, last = self._gathered, self._gathered[-1]
        self._gathered = []

        def mean(name: str) -> float:
            return sum(float(getattr(step, name)) for step in steps) / len(steps)

        loss, identity, seconds = mean("loss"), mean("identity_loss"), mean("seconds")
        self._steps.add(
            [last.step, loss, identity, mean("mask_loss"), last.learning_rate,
             mean("gradient_norm"), mean("recycled"), seconds, mean("preparing_seconds")]
        )  # fmt: skip
        done = last.step - self._first + 1
        left = time_left(time.monotonic() - self._began, done, self._total - self._first + 1)
        self._report.line(
            f"step {last.step} of {self._total}: loss {loss:.4f} (unchanged {identity:.4f}), mask "
            f"{mean('mask_loss'):.3f}, {seconds:.2f} s a step, {left} left"
        )

    def _tell_validation(self, event: ValidationResult) -> None:
        raw, denoised = event.raw_fsc[1:], event.denoised_fsc[1:]
        # A map without noise correlates with a half of FSC f as the square root of f.
        ceiling = raw.clamp_min(0).sqrt()
        figures = [float(curve.mean()) for curve in (raw, denoised, ceiling)]
        hours = (time.monotonic() - self._began) / 3600
        self._validations.add(
            [event.step, event.loss, event.identity_loss, *figures, event.solvent_power, hours]
        )
        for shell in range(1, len(event.raw_fsc)):
            self._curves.add(
                [event.step, 1 / (shell * event.shell_width), float(event.raw_fsc[shell]),
                 float(event.denoised_fsc[shell])]
            )  # fmt: skip
        self._report.line(
            f"validation at step {event.step}: loss {event.loss:.4f} (unchanged "
            f"{event.identity_loss:.4f}), mean FSC with the other half {figures[1]:.4f} (raw "
            f"{figures[0]:.4f}, at best {figures[2]:.4f}), solvent power {event.solvent_power:.3f}"
        )


def start_line(event: TrainingStarted) -> str:
    """Return data, network and where it runs."""
    going_on = f", from step {event.first_step}" if event.first_step > 1 else ""
    return (
        f"Training {event.n_parameters / 1e6:.2f} million weights on {event.n_training} pairs "
        f"({event.n_validation} for validation) on {event.device} in {event.precision}{going_on}"
    )


class _Table:
    """A table of tab-separated numbers that grows row by row; the first column is a step."""

    def __init__(self, path: Path, columns: Sequence[str], resumed_at: int) -> None:
        self._path = path
        kept = []
        if resumed_at and path.is_file():
            rows = path.read_text().splitlines()[1:]
            kept = [row for row in rows if int(row.split("\t")[0]) <= resumed_at]
        path.write_text("\n".join(["\t".join(columns), *kept]) + "\n")

    def add(self, row: Sequence[float]) -> None:
        """Append a row."""
        with self._path.open("a") as handle:
            handle.write("\t".join(f"{value:.6g}" for value in row) + "\n")
