"""Finds regularizers by name: our own, and those that other packages register."""

from collections.abc import Callable
from importlib.metadata import entry_points

from napari_blush.errors import SettingsError
from napari_blush.regularization.regularizer import Regularizer
from napari_blush.regularization.smoothness import SmoothnessRegularizer

ENTRY_POINT_GROUP = "napari_blush.regularizers"
_OWN: dict[str, Callable[[], Regularizer]] = {"smoothness": SmoothnessRegularizer}


def make_regularizer(name: str) -> Regularizer:
    """Return the regularizer called ``name``.

    Raises
    ------
    SettingsError
        When nothing of that name is installed, or what is installed is not a regularizer.
    """
    if name in _OWN:
        return _OWN[name]()
    found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in found:
        known = ", ".join(sorted([*_OWN, *found]))
        raise SettingsError(
            f"Regularizer {name!r} is not known; wanted one of: {known}; correct --regularizer or "
            "install the package that provides it."
        )
    try:
        made = found[name].load()()
    except (ImportError, AttributeError, TypeError) as error:
        raise SettingsError(
            f"Regularizer {name!r} is registered as {found[name].value!r} and cannot be made "
            f"({error}); wanted a class or function without arguments; correct that package."
        ) from error
    if not isinstance(made, Regularizer):
        raise SettingsError(
            f"The entry point {name!r} does not make a regularizer; wanted an object with a name "
            "and regularize(); correct that package."
        )
    return made
