"""Finds regularizers by name: our own, and those that other packages register."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TypeAlias

import torch

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import SettingsError
from napari_blush.regularization.blush import blush_of_settings
from napari_blush.regularization.regularizer import Regularizer
from napari_blush.regularization.smoothness import SmoothnessRegularizer

ENTRY_POINT_GROUP = "napari_blush.regularizers"

Factory: TypeAlias = Callable[[RefinementSettings, torch.device], Regularizer]
"""What an entry point names: settings and the device of the run to a regularizer."""


def _smoothness(settings: RefinementSettings, device: torch.device) -> Regularizer:
    return SmoothnessRegularizer()


_OWN: dict[str, Factory] = {"smoothness": _smoothness, "blush": blush_of_settings}


def make_regularizer(settings: RefinementSettings, device: torch.device) -> Regularizer:
    """Return the regularizer that the settings name.

    Raises
    ------
    SettingsError
        When nothing of that name is installed, or what is installed is not a regularizer.
    """
    name = settings.regularizer
    if name in _OWN:
        return _OWN[name](settings, device)
    found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in found:
        known = ", ".join(sorted([*_OWN, *found]))
        raise SettingsError(
            f"Regularizer {name!r} is not known; wanted one of: {known}; correct --regularizer or "
            "install the package that provides it."
        )
    try:
        made = found[name].load()(settings, device)
    except (ImportError, AttributeError, TypeError) as error:
        raise SettingsError(
            f"Regularizer {name!r} is registered as {found[name].value!r} and cannot be made "
            f"({error}); wanted a class or function of (settings, device); correct that package."
        ) from error
    if not isinstance(made, Regularizer):
        raise SettingsError(
            f"The entry point {name!r} does not make a regularizer; wanted an object with a name "
            "and regularize(); correct that package."
        )
    return made
