"""Another program that builds an atomic model into a map: ModelAngelo, where it is installed."""

import shutil
import subprocess
from pathlib import Path

from napari_blush.cli.report import Report
from napari_blush.errors import AtomicModelError

PROGRAM = "model_angelo"
_LAST_LINES = 3


def build_model(volume: Path, folder: Path, report: Report) -> Path | None:
    """Build a model without a sequence; return its file, or None where the program is missing.

    Parameters
    ----------
    volume : Path
        The map, as the program reads it.
    folder : Path
        What it writes goes here.
    report : Report

    Raises
    ------
    AtomicModelError
        When the program fails, or leaves no model.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        report.line(
            f"ModelAngelo is not installed ({PROGRAM} is not on PATH): no model was built; install "
            "it from github.com/3dem/model-angelo, or give a built model with --built."
        )
        return None
    report.line(f"Building a model with {program}; this takes minutes on a GPU.")
    command = [program, "build_no_seq", "-v", str(volume), "-o", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).strip().splitlines()[-_LAST_LINES:])
        raise AtomicModelError(
            f"{PROGRAM} ended with {done.returncode} ({said}); run it by hand and give its model "
            "with --built."
        )
    # Its first guess, unrefined and unpruned, lies in folders of their own and beside as *_raw.
    found = [path for path in sorted(folder.glob("*.cif")) if not path.stem.endswith("_raw")]
    if not found:
        raise AtomicModelError(
            f"{PROGRAM} left no model (*.cif) in {folder}; look there for what it wrote, and give "
            "its model with --built."
        )
    named = folder / f"{folder.name}.cif"
    return named if named in found else found[0]
