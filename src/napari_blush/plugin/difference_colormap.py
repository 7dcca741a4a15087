"""Colours of what was changed: one for less, one for more, and nothing where nothing was."""

from napari.utils import Colormap  # type: ignore[import-untyped]

from napari_blush.plugin.preferences import DIFFERENCE_COLORS

_PLACES = (0.0, 0.35, 0.5, 0.65, 1.0)
_OPACITIES = (1.0, 0.12, 0.0, 0.12, 1.0)
"""Clear in the middle: an opaque middle, black or white, is a box around the map in one theme or
the other, and small changes of the solvent would hide what is behind them."""


def difference_colormap(name: str = "blue to orange") -> Colormap:
    """Return the diverging colormap of a name in ``DIFFERENCE_COLORS``."""
    less, more = DIFFERENCE_COLORS[name]
    middle = tuple((one + other) / 2 for one, other in zip(less, more, strict=True))
    colors = [
        [*color, opacity]
        for color, opacity in zip((less, less, middle, more, more), _OPACITIES, strict=True)
    ]
    return Colormap(colors, controls=_PLACES, name=f"blush {name}", display_name=name)
