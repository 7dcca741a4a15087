"""Cryo-EM refinement with a learned denoiser, to run, watch and steer inside napari.

The names that a notebook wants are here, each imported when it is first asked for: importing the
package itself imports neither torch nor Qt. Type checkers find the names in ``__init__.pyi``.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "ChangeSettings": "refine.steering",
    "DenoiseOptions": "denoiser.denoise_options",
    "FinishNow": "refine.steering",
    "IterationFinished": "refine.events",
    "Message": "refine.events",
    "Particles": "data_model.particles",
    "RefinementSettings": "data_model.settings",
    "RunKeeper": "refine.keeping",
    "RunWriter": "io.run_folder",
    "Steering": "refine.steering",
    "denoise_volume": "denoiser.inference",
    "last_state": "refine.keeping",
    "load_denoiser": "denoiser.weights",
    "read_cryosparc": "io.cryosparc",
    "read_map": "io.mrc",
    "read_particles": "io.star",
    "resolution_report": "validation.resolution",
    "run": "refine.run",
    "write_map": "io.mrc",
    "write_particles": "io.star",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
