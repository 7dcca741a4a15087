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
    """

    particles: Path
    reference: Path
    output: Path
    settings: RefinementSettings
    resume: bool = False

    @property
    def command(self) -> str:
        """The line for a shell that starts the same run."""
        words = ["napari-blush", "refine", str(self.particles)]
        words += ["--reference", str(self.reference), "--output", str(self.output)]
        words += options_of(self.settings)
        if self.resume:
            words.append("--resume")
        return shlex.join(words)


def options_of(settings: Settings) -> list[str]:
    """Return the command-line options that make the defaults into these settings."""
    words: list[str] = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if value == field.default:
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
    return f"{value:g}" if isinstance(value, float) else str(value)
