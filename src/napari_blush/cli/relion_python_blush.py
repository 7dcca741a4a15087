"""``napari-blush relion-python-blush``: stands in for the program that RELION 5 runs for Blush.

RELION 5 runs ``relion_python_blush STAR ...`` and goes on only if standard output is ``success``
and nothing else; what there is to say goes into the log beside the result.
"""

from argparse import Namespace

import torch

from napari_blush.cli.external_reconstruct import chosen_device, run, settings_with_environment
from napari_blush.data_model.settings import Settings
from napari_blush.errors import SettingsError
from napari_blush.io.external_reconstruct import Purpose, read_external_reconstruction

_RELIONS_NAMES = {"v1.0": "relion-v1.0"}


def execute(settings: Settings, options: Namespace) -> int:
    """Answer the request that ``options`` names, say ``success``, and return the exit code."""
    stated = {
        "denoiser": None if options.m is None else _RELIONS_NAMES.get(options.m, options.m),
        "denoiser_stride": options.s,
        "batch_size": options.b,
        "debug": options.debug or None,
        "spectral_trailing": False if options.skip_spectral_trailing else None,
    }
    merged = settings_with_environment(Namespace(star=options.star, settings=None, **stated))
    job = read_external_reconstruction(options.star)
    run(job, merged, device_of_gpu_option(options.gpu, merged.device, job.purpose))
    print("success", flush=True)
    return 0


def device_of_gpu_option(text: str | None, otherwise: str, purpose: Purpose) -> torch.device:
    """Return the device that RELION's ``--gpu`` means.

    Parameters
    ----------
    text : str or None
        Numbers between commas; -1 is the CPU, which is what RELION means by it; without numbers,
        or without the option, the settings decide.
    otherwise : str
        Device of the settings.
    purpose : str

    Raises
    ------
    SettingsError
        When it is not a list of whole numbers, or a device is not there.
    """
    try:
        ids = tuple(int(word) for word in (text or "").replace(":", ",").split(",") if word.strip())
    except ValueError:
        raise SettingsError(
            f"--gpu was given {text!r}; wanted numbers between commas, or -1 for the CPU."
        ) from None
    if not ids:
        return chosen_device(otherwise, purpose)
    if min(ids) < 0:
        return chosen_device("cpu", purpose)
    return chosen_device("cuda", purpose, ids)
