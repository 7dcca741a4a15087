"""What a check ends with: a light, a figure, and a sentence that a person can act on.

Green does not say that a map is right, only that this check found nothing wrong. The thresholds
stand beside the figures that they judge, with the reason for each.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from math import isfinite


class Light(IntEnum):
    """How a check ended; the greater, the worse."""

    GREEN = 0
    YELLOW = 1
    RED = 2

    @property
    def word(self) -> str:
        """The light in lower case."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Check:
    """One figure and what it means.

    Parameters
    ----------
    name : str
        Of the figure, a few words.
    value : str
        The figure with its unit.
    light : Light
    sentence : str
        What was found, and what to do where it is not green.
    """

    name: str
    value: str
    light: Light
    sentence: str


def light_of(value: float, *, yellow: float, red: float) -> Light:
    """Return the light of a figure; the smaller is the better one where ``yellow < red``.

    A figure that is not finite is red: nothing can be concluded from it.
    """
    if not isfinite(value):
        return Light.RED
    sign = 1.0 if yellow <= red else -1.0
    if sign * value >= sign * red:
        return Light.RED
    return Light.YELLOW if sign * value >= sign * yellow else Light.GREEN


def worst_light(checks: Iterable[Check]) -> Light:
    """Return the worst light of some checks, green for none."""
    return max((check.light for check in checks), default=Light.GREEN)


def table_lines(checks: Iterable[Check]) -> list[str]:
    """Return one aligned line per check: light, name, figure, sentence."""
    rows = [(check.light.word, check.name, check.value, check.sentence) for check in checks]
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "  ".join([*(f"{row[i]:<{widths[i]}}" for i in range(3)), row[3]]).rstrip() for row in rows
    ]
