"""Drives the regularizer of a run, and holds a run that goes on to the one it was begun with."""

from collections.abc import Generator
from contextlib import closing

from napari_blush.errors import RefinementError
from napari_blush.refine.context import RefinementContext
from napari_blush.refine.events import Message, RefinementEvent, RegularizationStep
from napari_blush.refine.state import RefinementState
from napari_blush.regularization.guard import regularized
from napari_blush.regularization.regularizer import (
    RegularizationInput,
    Regularized,
    Regularizer,
    origin,
)


def next_references(
    context: RefinementContext, number: int, given: RegularizationInput
) -> Generator[RefinementEvent, None, Regularized]:
    """Return what the regularizer makes of iteration ``number``; its messages are told."""
    steps = regularized(context.regularizer, given)
    with closing(steps):
        while True:
            try:
                progress = next(steps)
            except StopIteration as finished:
                made: Regularized = finished.value
                break
            yield RegularizationStep(number, progress.what, progress.done)
    for text in made.messages:
        yield Message(text)
    return made


def check_origin(
    state: RefinementState, regularizer: Regularizer, *, may_differ: bool = False
) -> list[Message]:
    """Return what a person must know when a run goes on with another regularizer.

    Parameters
    ----------
    state : RefinementState
    regularizer : Regularizer
    may_differ : bool
        Also with other weights: the run is a branch.

    Raises
    ------
    RefinementError
        When it is the same regularizer with other weights.
    """
    before, now = state.regularized_by, origin(regularizer)
    if before in ("", now):
        return []
    if before.split(" ")[0] == now.split(" ")[0] and not may_differ:
        raise RefinementError(
            f"The references of the run to go on from were made by {before} and would now be made "
            f"by {now}; wanted the same; name the old weights with --denoiser, or start anew."
        )
    return [Message(f"References were made by {before}; from here on by {now}.", warning=True)]
