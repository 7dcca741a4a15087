"""What a person asks for when they press Start, and the command line that asks for the same.

Knows paths and settings; imports no tensor library.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_blush.data_model.settings import RefinementSettings, Settings


@dataclass(frozen=True, slots=True)
class JobDescription:
    """A refinement by its files.

    Parameters
    ----------
    particles, reference, output : Path
        Particle table, start map, run folder.
    settings : RefinementSettings
    resume : bool
        Go on with what the run folder holds.
    branch_from : (Path, int) or None
        Run folder and iteration to go on from, in ``output``.
    settings_before : RefinementSettings or None
        Those of that iteration, for the command line to say what differs.
    """

    particles: Path
    reference: Path
    output: Path
    settings: RefinementSettings
    resume: bool = False
    branch_from: tuple[Path, int] | None = None
    settings_before: RefinementSettings | None = None

    @property
    def command(self) -> str:
        """The line for a shell that starts the same run."""
        words = ["napari-blush", "refine", str(self.particles)]
        if self.branch_from is None:
            words += ["--reference", str(self.reference), "--output", str(self.output)]
        else:
            folder, iteration = self.branch_from
            words += ["--continue-from", str(folder), "--iteration", str(iteration)]
            words += ["--output", str(self.output)]
        words += options_of(self.settings, self.settings_before)
        if self.resume:
            words.append("--resume")
        return shlex.join(words)


def options_of(settings: Settings, before: Settings | None = None) -> list[str]:
    """Return the command-line options that make the defaults, or others, into these settings."""
    words: list[str] = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if value == (field.default if before is None else getattr(before, name)):
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", _word(value)]
    return words


def _word(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value)
