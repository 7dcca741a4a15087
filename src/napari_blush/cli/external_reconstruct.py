"""``napari-blush external-reconstruct``: our denoiser in a refinement that RELION runs.

RELION calls the program with one STAR file and nothing else, so settings may also stand in the
environment variable ``NAPARI_BLUSH_EXTERNAL_ARGS``; those of the command line win.
"""

import os
import shlex
import time
from argparse import Namespace
from pathlib import Path

import torch

from napari_blush.cli.commands import build_parser
from napari_blush.cli.external_map import ExternalAnswer, answer
from napari_blush.cli.options import settings_from_options
from napari_blush.data_model.external_settings import ExternalReconstructionSettings
from napari_blush.denoiser.denoiser import Denoiser
from napari_blush.denoiser.weights import load_denoiser
from napari_blush.errors import SettingsError, StarFileError
from napari_blush.io.atomic import write_bytes
from napari_blush.io.external_reconstruct import (
    ExternalReconstruction,
    Purpose,
    read_external_reconstruction,
)

ARGUMENTS_VARIABLE = "NAPARI_BLUSH_EXTERNAL_ARGS"


def execute(settings: ExternalReconstructionSettings, options: Namespace) -> int:
    """Answer the request that ``options`` names; return the exit code."""
    del settings  # made anew, with what the environment says
    merged = settings_with_environment(options)
    job = read_external_reconstruction(options.star)
    device = chosen_device(merged.device, job.purpose)
    for line in run(job, merged, device):
        print(f"napari-blush: {line}", flush=True)
    return 0


def settings_with_environment(options: Namespace) -> ExternalReconstructionSettings:
    """Return settings from defaults, then the environment, then the command line.

    Raises
    ------
    SettingsError
        When the variable cannot be split into words, or a value is out of range.
    """
    try:
        words = shlex.split(os.environ.get(ARGUMENTS_VARIABLE, ""))
    except ValueError as problem:
        raise SettingsError(
            f"{ARGUMENTS_VARIABLE} cannot be split into words ({problem}); wanted options such as "
            "'--denoiser relion-v1.0'; correct the quotes."
        ) from problem
    given = vars(build_parser().parse_args(["external-reconstruct", str(options.star), *words]))
    stated = {name: value for name, value in vars(options).items() if value is not None}
    return settings_from_options(ExternalReconstructionSettings, Namespace(**{**given, **stated}))


def run(
    job: ExternalReconstruction, settings: ExternalReconstructionSettings, device: torch.device
) -> list[str]:
    """Answer a request and leave a log beside the result; return the log's lines."""
    began = time.monotonic()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    denoiser = load_denoiser(settings.denoiser)
    made = answer(job, denoiser.to(device), settings)
    lines = _lines(job, denoiser, made, f"{time.monotonic() - began:.1f} s on {device}")
    log = job.result.with_suffix(".log")
    write_bytes(log, "".join(f"{line}\n" for line in lines).encode(), StarFileError)
    return lines


def chosen_device(name: str, purpose: Purpose, ids: tuple[int, ...] = ()) -> torch.device:
    """Return where to denoise; of several CUDA devices the halves take different ones.

    Parameters
    ----------
    name : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    purpose : str
        Half 2 takes the second device.
    ids : tuple of int
        CUDA devices to choose from; default: all.

    Raises
    ------
    SettingsError
        When the device is not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if count else "cpu"
    if name == "cpu" or (name == "mps" and has_mps):
        return torch.device(name)
    among = ids or tuple(range(count))
    number = among[int(purpose == "half2") % len(among)] if among else 0
    if name != "cuda" or number >= count:
        raise SettingsError(
            f"Device {name}{f':{number}' if ids else ''} was asked for and PyTorch sees {count} "
            f"CUDA devices{' and MPS' if has_mps else ''}; wanted one that is there; choose "
            "another one, or 'cpu'."
        )
    return torch.device("cuda", number)


def _lines(
    job: ExternalReconstruction, denoiser: Denoiser, made: ExternalAnswer, cost: str
) -> list[str]:
    lines = [
        f"{Path(job.result).name}: {made.story}; {cost}.",
        f"Weights: {denoiser.record.name} {denoiser.record.version}, sha256 "
        f"{denoiser.record.sha256}.",
    ]
    return [*lines, *made.messages]
