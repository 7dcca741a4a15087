"""The FSC curves of a run as a layer: paths in a frame beside the map, to be kept and exported.

Every path is a feature row: which curve, of which iteration, at which resolution.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Shapes  # type: ignore[import-untyped]

from napari_blush.conventions import FSC_AGAINST_TRUTH, FSC_GOLD_STANDARD
from napari_blush.data_model.results import FscCurves
from napari_blush.plugin.layer_looks import TAG
from napari_blush.plugin.layers import Later, at_once

Path2d = npt.NDArray[np.float64]

COLORS = {
    "corrected": "#4fa3ff",
    "unmasked": "#5fbf7f",
    "masked": "#e0a64f",
    "phase_randomized": "#d0605e",
}
_FRAME_COLOR = "#808080"
_GAP = 0.1
_WIDTH = 0.006
"""Of a line, as a part of the frame's edge."""


class FscLayer:
    """The layer of one run in one viewer.

    Parameters
    ----------
    viewer : napari viewer or viewer model
    run_name : str
    later : callable, optional
        Puts an action off to a later turn of the event loop; the layer is added there.
    """

    def __init__(self, viewer: Any, run_name: str, later: Later = at_once) -> None:
        self._viewer, self._run_name, self._later = viewer, run_name, later
        self._history: Mapping[int, FscCurves] = {}
        self._edge = 0.0
        self._is_coming = False

    def show(self, history: Mapping[int, FscCurves], edge: float) -> None:
        """Draw all curves of the last iteration and the corrected ones of those before.

        Parameters
        ----------
        history : mapping of int to FscCurves
        edge : float
            Of the box and of the frame beside it, in angstrom.
        """
        self._history, self._edge = history, edge
        layer = self.layer()
        if layer is not None:
            self._draw(layer)
        elif not self._is_coming:
            self._is_coming = True
            self._later(self._add)

    def layer(self) -> Shapes | None:
        """Return the layer, None before it was made or after it was deleted."""
        for layer in self._viewer.layers:
            tag = layer.metadata.get(TAG, {})
            if (tag.get("run"), tag.get("role")) == (self._run_name, "fsc"):
                return layer
        return None

    def _add(self) -> None:
        self._is_coming = False
        layer = Shapes(
            name=f"{self._run_name} · FSC",
            ndim=2,
            units=("angstrom",) * 2,
            axis_labels=("y", "x"),
            metadata={TAG: {"run": self._run_name, "role": "fsc", "iteration": 0}},
        )
        self._draw(layer)
        self._viewer.add_layer(layer)
        layer.locked = True

    def _draw(self, layer: Shapes) -> None:
        paths, rows, colors, widths = drawing(self._history, self._edge)
        if len(layer.data) > len(paths):
            layer.data = []
        layer.data = [(path, "path") for path in paths]
        layer.features = rows
        layer.edge_color = colors
        layer.edge_width = widths
        layer.metadata[TAG]["iteration"] = max(self._history)


def drawing(
    history: Mapping[int, FscCurves], edge: float
) -> tuple[list[Path2d], dict[str, list[Any]], list[str], list[float]]:
    """Return paths (y, x) in angstrom, their features, colours and widths.

    The frame stands to the right of the box, as high and as wide: correlation 1 at its top, the
    Nyquist frequency at its right.
    """
    last = max(history)
    paths = [_scaled([0, 0, 1, 1], [1, 0, 0, 1], edge)]
    rows: dict[str, list[Any]] = {"kind": ["frame"], "iteration": [0]}
    colors, widths = [_FRAME_COLOR], [edge * _WIDTH]
    for level in (FSC_GOLD_STANDARD, FSC_AGAINST_TRUTH):
        _append(paths, rows, (f"level {level:g}", 0), _scaled([0, 1], [level, level], edge))
        colors.append(_FRAME_COLOR)
        widths.append(edge * _WIDTH / 2)
    for iteration, curves in sorted(history.items()):
        lists = curves_as_lists(curves)
        for kind in COLORS if iteration == last else ("corrected",):
            values = lists[kind]
            frequency = np.linspace(0, 1, len(values))
            _append(paths, rows, (kind, iteration), _scaled(frequency, values, edge))
            age = last - iteration
            colors.append(COLORS[kind] + f"{max(255 - 40 * age, 60):02x}")
            widths.append(edge * _WIDTH * (1.5 if age == 0 and kind == "corrected" else 1))
    return paths, rows, colors, widths


def curves_as_lists(curves: FscCurves) -> dict[str, list[float]]:
    """Return the curves as plain numbers, by name."""
    return {name: getattr(curves, name).tolist() for name in COLORS}


def _append(
    paths: list[Path2d], rows: dict[str, list[Any]], row: tuple[str, int], path: Path2d
) -> None:
    paths.append(path)
    rows["kind"].append(row[0])
    rows["iteration"].append(row[1])


def _scaled(x: Sequence[float] | Path2d, y: Sequence[float] | Path2d, edge: float) -> Path2d:
    """Return points of the unit square, y up, in the frame to the right of the box."""
    columns = edge * (1 + _GAP + np.asarray(x, dtype=float))
    lines = edge * (1 - np.asarray(y, dtype=float))
    return np.stack([lines, columns], axis=1)
