"""Long work as generators: they yield the fraction that is done, and return what was made.

Whoever runs one shows the fractions, or closes it to stop the work; whoever only wants what it
makes takes ``result_of``.
"""

from collections.abc import Generator
from contextlib import closing
from typing import Any, TypeVar

T = TypeVar("T")


def result_of(steps: Generator[Any, None, T]) -> T:
    """Run a generator to its end; return what it returns."""
    with closing(steps):
        while True:
            try:
                next(steps)
            except StopIteration as finished:
                made: T = finished.value
                return made


def within(steps: Generator[float, None, T], begin: float, end: float) -> Generator[float, None, T]:
    """Yield the fractions of a part of the work as fractions of the whole.

    Parameters
    ----------
    steps : generator of float
        From 0 to 1; closed when this generator is.
    begin, end : float
        What that is of the whole.
    """
    with closing(steps):
        while True:
            try:
                fraction = next(steps)
            except StopIteration as finished:
                made: T = finished.value
                return made
            yield begin + (end - begin) * fraction
