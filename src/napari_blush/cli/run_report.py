"""``napari-blush report``: a run folder as one page of HTML."""

from argparse import Namespace
from pathlib import Path

from napari_blush.data_model.settings import Settings
from napari_blush.validation.run_report import PAGE_NAME, write_run_page


def execute(settings: Settings, options: Namespace) -> int:
    """Write the report that ``options`` names; return the exit code."""
    target: Path = options.output or options.run / PAGE_NAME
    write_run_page(options.run, target)
    print(f"Wrote {target}")
    return 0
