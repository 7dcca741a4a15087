"""``napari-blush weights``: which denoisers are here, and how others come here."""

from argparse import Namespace
from pathlib import Path

from napari_blush.cli.report import Report
from napari_blush.data_model.settings import Settings
from napari_blush.denoiser.published import PUBLISHED, fetch_weights
from napari_blush.denoiser.weights import KnownWeights, import_weights, known_weights, load_denoiser
from napari_blush.denoiser.weights_folder import own_folder
from napari_blush.errors import SettingsError

_MEGABYTE = 1_000_000


def execute(settings: Settings, options: Namespace) -> int:
    """List, import or fetch weights; return the exit code."""
    if (options.action == "list") != (options.what is None):
        wanted = {"list": "nothing after it", "import": "a file", "fetch": "a name"}
        raise SettingsError(
            f"'weights {options.action}' was given {options.what or 'nothing'}; wanted "
            f"{wanted[options.action]} (see napari-blush weights --help)."
        )
    report = Report()
    if options.action == "list":
        for weights in known_weights():
            for line in listed(weights):
                report.line(line)
        report.line(f"Your own weights lie in {own_folder()}.")
    elif options.action == "import":
        path = import_weights(Path(options.what).expanduser(), options.name)
        report.line(f"Imported {load_denoiser(path).record} as {path}.")
    else:
        path = _fetched(options.what, report)
        report.line(f"Fetched {load_denoiser(options.what).record}; it lies in {path}.")
    return 0


def listed(weights: KnownWeights) -> list[str]:
    """Return the lines that tell of one set of weights."""
    name = weights.name + (" (default)" if weights.is_default else "")
    if weights.path is None:
        file = PUBLISHED[weights.name]
        return [
            f"{name}: not here",
            f"  'napari-blush weights fetch {weights.name}' gets it from {file.url}",
            f"  or put that file at {own_folder() / file.file_name}",
            f"  sha256 {file.sha256}, licence {file.license}",
        ]
    if weights.record is None:
        return [f"{name}: cannot be used", f"  {weights.problem}"]
    record = weights.record
    lines = [
        f"{name}: version {record.version}, {record.voxel_size:g} A, blocks of "
        f"{record.block_size}, width {record.width}, depth {record.depth}",
        f"  {weights.path} ({weights.place})",
        f"  sha256 {record.sha256}, licence {record.license}",
    ]
    return [*lines, *([f"  {record.description}"] if record.description else [])]


def _fetched(name: str, report: Report) -> Path:
    steps = fetch_weights(name)
    while True:
        try:
            step = next(steps)
        except StopIteration as finished:
            report.progress.close()
            path: Path = finished.value
            return path
        report.progress.update("fetching", step.done, max(step.total, step.done))
