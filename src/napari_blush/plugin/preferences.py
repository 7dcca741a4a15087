"""What a person chose once for this computer, under *Preferences ▸ Plugin Preferences*.

The manifest declares each choice and napari keeps it; settings of a run are not here but in the
run's folder. Imports no toolkit and no tensor library.
"""

from dataclasses import dataclass
from typing import Any

_PLUGIN = "napari-blush"

Rgb = tuple[float, float, float]

DIFFERENCE_COLORS: dict[str, tuple[Rgb, Rgb]] = {
    "blue to orange": ((0.25, 0.55, 1.0), (1.0, 0.45, 0.2)),
    "green to magenta": ((0.2, 0.8, 0.3), (0.95, 0.3, 0.85)),
    "cyan to red": ((0.1, 0.8, 0.85), (0.95, 0.25, 0.2)),
}
"""Colours of less and of more, by the name that the preferences offer."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """Choices for this computer.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    memory_limit_gb : float or None
        Working memory of a run; None: half of what is free.
    denoise_batch : int or None
        Blocks that the denoiser takes at a time; None: what suits the device.
    iterations_memory_gb : float
        Maps of past iterations that are kept in memory; older ones are read from the run folder.
    half1_color, half2_color, denoised_color : str
        Names of napari's colormaps.
    difference_color : str
        A key of ``DIFFERENCE_COLORS``.
    """

    device: str = "auto"
    memory_limit_gb: float | None = None
    denoise_batch: int | None = None
    iterations_memory_gb: float = 1.0
    half1_color: str = "gray"
    half2_color: str = "gray"
    denoised_color: str = "gray"
    difference_color: str = "blue to orange"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a run that they are the defaults of, by name."""
        return {"device": self.device, "memory_limit": self.memory_limit_gb}


def current_preferences() -> Preferences:
    """Return what was chosen; the defaults without napari or where the plugin is not registered."""
    try:
        # napari need not be there
        from napari.settings import (  # type: ignore[import-untyped]  # noqa: PLC0415
            get_plugin_settings,
        )

        kept = get_plugin_settings(_PLUGIN)
    except (ImportError, KeyError):
        return Preferences()
    computing, display = kept.computing, kept.display
    return Preferences(
        device=computing.device,
        # The manifest knows no empty number; zero stands for it.
        memory_limit_gb=computing.memory_limit_gb or None,
        denoise_batch=computing.denoise_batch or None,
        iterations_memory_gb=display.iterations_memory_gb,
        half1_color=display.half1_color,
        half2_color=display.half2_color,
        denoised_color=display.denoised_color,
        difference_color=display.difference_color,
    )
