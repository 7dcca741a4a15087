"""How good a finished refinement is, judged from outside.

An independent judge is called when there is one: the program that ``NAPARI_BLUSH_SCORE`` names,
else ``shared/tools/score.py`` beside the checkout. Its command line is ``HALF1 HALF2 MASK TRUTH
[POSES TRUTH_POSES] --sym SYMMETRY`` and it prints one JSON object. Without one, our own FSC is
used, without alignment of the maps (``fallback.py``).
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from measuring.datasets import REPOSITORY, Dataset


def judge() -> tuple[str, Path]:
    """Return what to call the judge, and its file."""
    named = os.environ.get("NAPARI_BLUSH_SCORE")
    if named:
        return f"independent ({Path(named).name})", Path(named)
    shared = REPOSITORY.parent / "shared" / "tools" / "score.py"
    if shared.is_file():
        return "independent (shared score.py)", shared
    return "our own FSC, maps not aligned", Path(__file__).with_name("fallback.py")


def score(data: Dataset, folder: Path) -> dict[str, Any]:
    """Return the judge's figures of the run in ``folder``."""
    files = [
        folder / "run_half1_class001_unfil.mrc",
        folder / "run_half2_class001_unfil.mrc",
        data.folder / data.mask,
        data.folder / data.truth,
    ]
    if data.truth_poses is not None:
        files += [folder / "run_data.star", data.folder / data.truth_poses]
    _, program = judge()
    paths = [str(file.resolve()) for file in files]
    command = [sys.executable, str(program), *paths, "--sym", data.symmetry]
    # Image names in run_data.star are relative to the folder of the data set.
    printed = subprocess.run(command, cwd=data.folder, capture_output=True, text=True, check=False)
    if printed.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{printed.stderr}")
    result: dict[str, Any] = json.loads(printed.stdout)
    (folder / "score.json").write_text(printed.stdout)
    return result


def columns(figures: dict[str, Any]) -> dict[str, object]:
    """Return the figures that stand in a table of comparisons."""
    poses = figures.get("poses") or {}
    return {
        "truth FSC 0.5 (A)": figures.get("truth_fsc05_interp_A"),
        "mean truth FSC": figures.get("truth_fsc_mean"),
        "median angle (deg)": poses.get("angle_median_deg"),
        "beyond 30 deg": poses.get("frac_above_30deg"),
        "half-map 0.143 corrected (A)": figures.get("fsc143_corrected_interp_A"),
        "overfit gap": figures.get("overfit_gap"),
    }
