"""Drives the regularizer of a run, and says how far it has come."""

from collections.abc import Generator
from contextlib import closing

from napari_blush.refine.context import RefinementContext
from napari_blush.refine.events import Message, RefinementEvent, RegularizationStep
from napari_blush.regularization.guard import regularized
from napari_blush.regularization.regularizer import RegularizationInput, Regularized


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
