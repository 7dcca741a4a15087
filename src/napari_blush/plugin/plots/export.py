"""Plots as files: pictures on white, whatever the theme, and tables of what was drawn."""

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import QBuffer, QIODevice, QRectF, QSize, Qt
from qtpy.QtGui import QImage, QPainter
from qtpy.QtSvg import QSvgGenerator

from napari_blush.errors import ExportError
from napari_blush.io.atomic import write_bytes
from napari_blush.plugin.plots.figure import Figure
from napari_blush.plugin.plots.palette import PRINTED

_SCALE = 3
"""Pixels of a picture per pixel of the screen."""

_SIZE = (420, 280)
"""Pixels of the screen that a picture would take."""


def export_figure(figure: Figure, path: Path) -> None:
    """Write a figure whole or not at all; the suffix says as what.

    Parameters
    ----------
    figure : Figure
        One that is not on the screen: it changes its colours and its size.
    path : Path
        Of ``.png``, ``.svg`` or ``.csv``.

    Raises
    ------
    ExportError
        When the suffix is another one, or the file cannot be written.
    """
    make = _FORMATS.get(path.suffix.lower())
    if make is None:
        raise ExportError(
            f"A plot was to be saved as {path.name}; wanted a name that ends in "
            f"{', '.join(_FORMATS)}; choose one of these."
        )
    write_bytes(path, make(figure), ExportError)


def csv_of(figure: Figure) -> bytes:
    """Return the numbers of a figure as comma-separated text; what is not known is empty."""
    columns, rows = figure.table()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def png_of(figure: Figure) -> bytes:
    """Return a picture, three times as fine as on the screen."""
    width, height = _SIZE
    image = QImage(width * _SCALE, height * _SCALE, QImage.Format.Format_RGB32)
    _paint(figure, image, _SCALE)
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")
    return _bytes_of(buffer)


def svg_of(figure: Figure) -> bytes:
    """Return a drawing whose lines and letters stay what they are."""
    buffer = QBuffer()
    drawing = QSvgGenerator()
    drawing.setOutputDevice(buffer)
    drawing.setSize(QSize(*_SIZE))
    drawing.setViewBox(QRectF(0, 0, *_SIZE))
    drawing.setResolution(figure.logicalDpiX())
    _paint(figure, drawing, 1)
    return _bytes_of(buffer)


_FORMATS: dict[str, Callable[[Figure], bytes]] = {".png": png_of, ".svg": svg_of, ".csv": csv_of}

SUFFIXES = tuple(_FORMATS)
"""Of the files that a figure can be saved as."""


def _paint(figure: Figure, device: Any, scale: int) -> None:
    """Paint a figure in the colours of print."""
    figure.setAttribute(Qt.WidgetAttribute.WA_DontShowOnScreen)
    figure.setFixedSize(*_SIZE)
    # The widths of lines count in pixels of what they are painted on.
    figure.line_scale = scale
    figure.set_colors(*PRINTED)
    figure.show()  # not to be seen: it only finds its layout
    figure.ci.layout.activate()
    painter = QPainter(device)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    width, height = _SIZE
    figure.render(painter, QRectF(0, 0, width * scale, height * scale))
    painter.end()
    figure.close()


def _bytes_of(buffer: QBuffer) -> bytes:
    written: bytes = buffer.data().data()
    return written


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value
