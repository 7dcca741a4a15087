"""What can be done with a run that is there: continue it, branch from an iteration, run a twin."""

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QSpinBox, QWidget

_COLUMNS = 3


class RunOffer(QWidget):
    """A line about the run in its folder, and three buttons; seen when there is such a run.

    Signals: ``continue_wanted()``, ``branch_wanted(iteration)``, ``twin_wanted(iteration)`` and
    ``branch_dropped()`` to start anew instead.

    Parameters
    ----------
    parent : QWidget, optional
    """

    continue_wanted = Signal()
    branch_wanted = Signal(int)
    twin_wanted = Signal(int)
    branch_dropped = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.iteration = QSpinBox()
        self.iteration.setPrefix("it. ")
        self.iteration.setToolTip("The iteration that a branch or a twin goes on from")
        self.go_on = QPushButton("Continue")
        self.go_on.setToolTip("Go on with this run from its last whole iteration")
        self.go_on.clicked.connect(lambda _: self.continue_wanted.emit())
        self.branch = QPushButton("Branch from")
        self.branch.setToolTip(
            "Go on from that iteration in a new run folder, with other settings; this run stays as "
            "it is"
        )
        self.branch.clicked.connect(lambda _: self.branch_wanted.emit(self.iteration.value()))
        self.twin = QPushButton("Twin")
        self.twin.clicked.connect(lambda _: self.twin_wanted.emit(self.iteration.value()))
        self.origin = QLabel()
        self.origin.setWordWrap(True)
        self.drop = QPushButton("Start anew")
        self.drop.setToolTip("Begin from the start map instead")
        self.drop.clicked.connect(lambda _: self.branch_dropped.emit())
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self.about, 0, 0, 1, _COLUMNS)
        for column, widget in enumerate((self.go_on, self.branch, self.iteration)):
            grid.addWidget(widget, 1, column)
        grid.addWidget(self.twin, 2, 0, 1, _COLUMNS)
        grid.addWidget(self.origin, 3, 0, 1, _COLUMNS - 1)
        grid.addWidget(self.drop, 3, _COLUMNS - 1)
        self.show_origin("")
        self.hide()

    def show_run(
        self, about: str, iterations: tuple[int, int], other: str, *, can_continue: bool, busy: bool
    ) -> None:
        """Offer what can be done.

        Parameters
        ----------
        about : str
            How the run stands.
        iterations : (int, int)
            The first and the last that can be gone on from.
        other : str
            The regularizer of a twin.
        can_continue : bool
        busy : bool
            Whether a run is going on in this dock; only a twin can be had then.
        """
        first, last = iterations
        was_last = self.isHidden() or self.iteration.value() == self.iteration.maximum()
        self.iteration.setRange(first, last)
        if was_last:
            self.iteration.setValue(last)
        self.about.setText(about)
        self.about.setVisible(bool(about))
        self.go_on.setVisible(can_continue and not busy)
        self.branch.setEnabled(not busy)
        self.twin.setText(f"Twin with {other} beside it")
        self.twin.setToolTip(
            f"A second run from that iteration, with {other} instead, in a dock of its own"
        )
        self.show()

    def show_origin(self, text: str) -> None:
        """Say what the run that is entered goes on from; nothing for one from a start map."""
        self.origin.setText(text)
        self.origin.setVisible(bool(text))
        self.drop.setVisible(bool(text))
