"""A bar that is not drawn in the middle of a slot."""

from collections.abc import Callable

import pytest
from qtpy.QtWidgets import QApplication, QProgressBar

from napari_blush.plugin.widgets.calm_progress_bar import CalmProgressBar


def counting(base: type[QProgressBar]) -> QProgressBar:
    """Return a bar that counts how often it is drawn."""

    class Counting(base):
        painted = 0

        def paintEvent(self, event) -> None:
            self.painted += 1
            super().paintEvent(event)

    return Counting()


@pytest.mark.parametrize(("base", "waits"), [(CalmProgressBar, True), (QProgressBar, False)])
def test_when_it_is_drawn(
    application: QApplication,
    wait_until: Callable[..., None],
    base: type[QProgressBar],
    waits: bool,
) -> None:
    bar = counting(base)
    bar.resize(200, 20)
    bar.show()
    # Qt draws nothing at once as long as the window is not on the screen.
    wait_until(lambda: bar.windowHandle().isExposed() and bar.painted > 0)
    before = bar.painted
    for value in (10, 40, 90):
        bar.setValue(value)
    within = bar.painted - before
    wait_until(lambda: bar.painted > before)
    assert (within == 0) == waits
    assert bar.value() == 90
    bar.close()
