"""The FSC curves of a run as a layer: paths in a frame beside the map, to be kept and exported.

Every path has a row of features: which curve it is, of which iteration, and the resolution in
angstrom that this iteration reached, or at which its references are cut off. One layer unit is one
angstrom; in the frame, correlation 1 is at the top and the Nyquist frequency at the right.

The frame stands at the middle section of the map. (napari cannot update paths without a depth as
long as it draws in three dimensions.)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Shapes  # type: ignore[import-untyped]

from napari_blush.conventions import FSC_AGAINST_TRUTH, FSC_GOLD_STANDARD
from napari_blush.data_model.results import FscCurves
from napari_blush.plugin.layer_looks import TAG
from napari_blush.plugin.layers import Later, add_quietly, at_once

Path = npt.NDArray[np.float64]

COLORS = {
    "corrected": "#4fa3ff",
    "unmasked": "#5fbf7f",
    "masked": "#e0a64f",
    "phase_randomized": "#d0605e",
}
CUTOFF = "cut-off"
_CUTOFF_COLOR = "#a066e0"
_FRAME_COLOR = "#808080"
_GAP = 0.1
_WIDTH = 0.006
"""Of a line, as a part of the frame's edge."""

_BOLD = ("corrected", 0)
"""Kind and age of the curve that stands out."""

_MOST_EARLIER = 8
"""Corrected curves of so many iterations before the one that is shown."""


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
        self._drawing: tuple[Any, ...] | None = None
        self._iteration = 0
        self._is_coming = False

    def show(
        self,
        history: Mapping[int, FscCurves],
        box_size: int,
        voxel_size: float,
        resolutions: Mapping[int, float] | None = None,
        cutoff_shell: int | None = None,
    ) -> None:
        """Draw all curves of the last iteration and the corrected ones of those before.

        Parameters
        ----------
        history : mapping of int to FscCurves
            At least one.
        box_size : int
            Of the map beside, in voxels.
        voxel_size : float
            Angstrom.
        resolutions : mapping of int to float, optional
            Angstrom, by iteration.
        cutoff_shell : int, optional
            Where the references of the last iteration end.
        """
        self._iteration = max(history)
        self._drawing = drawing(history, box_size, voxel_size, resolutions or {}, cutoff_shell)
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
            ndim=3,
            units=("angstrom",) * 3,
            axis_labels=("z", "y", "x"),
            metadata={TAG: {"run": self._run_name, "role": "fsc", "iteration": 0}},
        )
        self._draw(layer)
        add_quietly(self._viewer, layer)

    def _draw(self, layer: Shapes) -> None:
        if self._drawing is None:
            return
        paths, rows, colors, widths = self._drawing
        if len(layer.data) > len(paths):
            layer.data = []
        layer.data = [(path, "path") for path in paths]
        layer.features = rows
        layer.edge_color = colors
        layer.edge_width = widths
        layer.metadata[TAG]["iteration"] = self._iteration


def drawing(
    history: Mapping[int, FscCurves],
    box_size: int,
    voxel_size: float,
    resolutions: Mapping[int, float],
    cutoff_shell: int | None = None,
) -> tuple[list[Path], dict[str, list[Any]], list[str], list[float]]:
    """Return paths (z, y, x) in angstrom, their features, colours and widths.

    The frame stands to the right of the box, as high and as wide and flush with the outer faces of
    its first and last voxels.
    """
    last = max(history)
    edge = box_size * voxel_size
    shown = sorted(number for number in history if number <= last)[-_MOST_EARLIER - 1 :]
    lines: list[tuple[str, int, Path, str, float]] = [
        ("frame", 0, _unit([0, 0, 1, 1], [1, 0, 0, 1]), _FRAME_COLOR, 1.0)
    ]
    lines += [
        (f"level {level:g}", 0, _unit([0, 1], [level, level]), _FRAME_COLOR, 0.5)
        for level in (FSC_GOLD_STANDARD, FSC_AGAINST_TRUTH)
    ]
    for iteration in shown:
        lists = curves_as_lists(history[iteration])
        age = last - iteration
        for kind in COLORS if age == 0 else ("corrected",):
            values = lists[kind]
            path = _unit(np.linspace(0, 1, len(values)), values)
            color = COLORS[kind] + f"{max(255 - 40 * age, 60):02x}"
            lines.append((kind, iteration, path, color, 1.5 if (kind, age) == _BOLD else 1.0))
    n_shells = len(history[last].corrected) - 1
    if cutoff_shell:
        place = cutoff_shell / n_shells
        lines.append((CUTOFF, last, _unit([place, place], [0, 1]), _CUTOFF_COLOR, 1.0))
    kinds, iterations, units, colors, weights = zip(*lines, strict=True)
    depth, half = box_size // 2 * voxel_size, 0.5 * voxel_size
    corner = np.array([depth, -half, (1 + _GAP) * edge - half])
    rows: dict[str, list[Any]] = {
        "kind": list(kinds),
        "iteration": list(iterations),
        "resolution": [float(resolutions.get(number, np.nan)) for number in iterations],
    }
    if cutoff_shell:
        rows["resolution"][-1] = 2 * n_shells * voxel_size / cutoff_shell
    paths = [corner + edge * unit for unit in units]
    return paths, rows, list(colors), [edge * _WIDTH * weight for weight in weights]


def curves_as_lists(curves: FscCurves) -> dict[str, list[float]]:
    """Return the curves as plain numbers, by name."""
    return {name: getattr(curves, name).tolist() for name in COLORS}


def _unit(x: Sequence[float] | Path, y: Sequence[float] | Path) -> Path:
    """Return points (0, row, column) of a frame of edge 1 whose corner is at zero, y upwards."""
    rows, columns = 1 - np.asarray(y, dtype=float), np.asarray(x, dtype=float)
    return np.stack([np.zeros_like(rows), rows, columns], axis=1)
