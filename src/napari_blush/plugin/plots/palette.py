"""Colours of the plots, for a dark and for a light background."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours by what they stand for.

    Parameters
    ----------
    text, background : str
        Of the theme.
    first, second, third, fourth : str
        Curves; ``first`` is the one that counts.
    limit, warning : str
        A limit that can be moved, and one that is unsafe.
    quiet : str
        Levels, zones, and what is out of use.
    """

    text: str
    background: str
    first: str
    second: str
    third: str
    fourth: str
    limit: str
    warning: str
    quiet: str


_ON_DARK = ("#4fa3ff", "#5fbf7f", "#e0a64f", "#d0605e", "#c39af0", "#ff8c1a", "#8f959c")
_ON_LIGHT = ("#1a66c4", "#257a4a", "#9a6312", "#b4332f", "#7a3fb5", "#c24a00", "#77777c")

PRINTED = ("#1e1e21", "#ffffff")
"""Text and background of a figure that leaves the window."""


def palette(text: str, background: str) -> Palette:
    """Return the colours for a theme, given as ``#rrggbb``."""
    red, green, blue = (int(background[start : start + 2], 16) for start in (1, 3, 5))
    is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 128  # luma of Rec. 601
    return Palette(text, background, *(_ON_DARK if is_dark else _ON_LIGHT))
