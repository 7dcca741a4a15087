"""Which iterations a run folder holds to their end, by the names of its checkpoints alone."""

import re
from pathlib import Path

_NAME = re.compile(r"run_it(\d{3,})_state\.safetensors")


def state_path(folder: Path, iteration: int) -> Path:
    """Return where the checkpoint of an iteration lies."""
    return folder / f"run_it{iteration:03d}_state.safetensors"


def whole_iterations(folder: str | Path | None) -> tuple[int, ...]:
    """Return the numbers of the iterations that were written to their end, in order."""
    if folder is None or not Path(folder).is_dir():
        return ()
    found = (_NAME.fullmatch(entry.name) for entry in Path(folder).iterdir())
    return tuple(sorted(int(match[1]) for match in found if match))


def last_whole_iteration(folder: str | Path) -> int | None:
    """Return the number of the last iteration that was written to its end, or None."""
    return max(whole_iterations(folder), default=None)
