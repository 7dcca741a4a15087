"""A button that writes the report of a run folder, in a thread, and opens it."""

import importlib
from collections.abc import Callable, Generator
from pathlib import Path

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QPushButton, QWidget

from napari_blush.plugin.loading import run_in_background

_PAGE = "report.html"
_MARK = "settings.yaml"


class ReportButton(QPushButton):
    """Shown where there is a run to report on.

    Parameters
    ----------
    say : callable
        Told, as a sentence, where the page is or why there is none.
    parent : QWidget, optional
    """

    def __init__(self, say: Callable[[str], None], parent: QWidget | None = None) -> None:
        super().__init__("Write report", parent)
        self.setToolTip("Curves, slices, views, changes, settings and methods as a page of HTML")
        self._say = say
        self._folder: Path | None = None
        self.open: Callable[[Path], None] = open_page
        self.clicked.connect(lambda: self.write())
        self.hide()

    def set_folder(self, folder: Path | None) -> None:
        """Report on this folder, when there is a run in it."""
        self._folder = folder
        self.setVisible(folder is not None and (folder / _MARK).is_file())

    def write(self) -> None:
        """Write the page into the run folder and open it."""
        if self._folder is None:
            return
        folder, target = self._folder, self._folder / _PAGE

        def steps() -> Generator[None, None, Path]:
            yield
            # In the thread: it brings the tensor library.
            report = importlib.import_module("napari_blush.validation.run_report")
            report.write_run_page(folder, target)
            return target

        self.setEnabled(False)
        run_in_background(steps, self._written, self._say, over=lambda: self.setEnabled(True))

    def _written(self, target: Path) -> None:
        self._say(f"Report: {target}")
        self.open(target)


def open_page(path: Path) -> None:
    """Open a page in the browser."""
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))
