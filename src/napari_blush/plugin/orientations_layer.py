"""From where particles were seen: points on a sphere beside the map, larger where there are more.

How they are counted is ``orientation_counts``'s business.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Points  # type: ignore[import-untyped]
from napari.utils.colormaps import ensure_colormap  # type: ignore[import-untyped]
from psygnal import Signal
from torch import Tensor

from napari_blush.errors import BlushError
from napari_blush.io.run_orientations import orientations_path, read_orientations
from napari_blush.io.whole_iterations import whole_iterations
from napari_blush.numerics.healpix import pixel_angles, pixel_directions
from napari_blush.plugin.layer_looks import TAG
from napari_blush.plugin.layers import Later, add_quietly, at_once
from napari_blush.plugin.orientation_counts import ORDER, Floats, OrientationCounts, counted, nobody

Beside = Callable[[Callable[[], Any], Callable[[Any], None]], None]
"""Does the first beside what is drawn, and gives what it returns to the second."""

_ROLE = "orientations"
_COLORS = "viridis"
_NOBODY = (0.5, 0.5, 0.5, 0.35)
_DISTANCE, _RADIUS = 1.1, 0.4
"""Of the sphere's centre from the map's, and of the sphere, in edges of the box."""


def first_then(action: Callable[[], Any], then: Callable[[Any], None]) -> None:
    """Do one after the other, where nothing is drawn meanwhile."""
    then(action())


class OrientationsLayer:
    """The layer of one run in one viewer.

    What was not counted while the run went on is read from its folder when it is to be shown.

    Parameters
    ----------
    viewer : napari viewer or viewer model
    run_name : str
    symmetry : str
        Point group, whose operators repeat each direction.
    later : callable, optional
        Puts an action off to a later turn of the event loop; the layer is added there.
    folder : path, optional
        Of the run.
    beside : callable, optional
        Reads from the folder without holding up what is drawn.

    Attributes
    ----------
    came : psygnal signal
        The layer was made.
    """

    came = Signal()

    def __init__(
        self,
        viewer: Any,
        run_name: str,
        symmetry: str = "C1",
        later: Later = at_once,
        folder: str | Path | None = None,
        beside: Beside = first_then,
    ) -> None:
        self._viewer, self._run_name, self._later = viewer, run_name, later
        self._symmetry, self._beside = symmetry, beside
        self._folder = None if folder is None else Path(folder)
        self._counts: dict[int, OrientationCounts] = {}
        self._asked: set[int] = set()
        self._n_beginnings = 0
        self._is_open = True
        self._grid = 2, 1.0
        self._iteration = 0
        self._is_coming = False

    def keep(self, iteration: int, rotations: Tensor, p_max: Tensor) -> None:
        """Count the particles of an iteration.

        Parameters
        ----------
        iteration : int
        rotations : (n, 3, 3)
            Image frame to volume frame.
        p_max : (n,)
        """
        directions = rotations[:, :, 2].numpy().astype(np.float64)
        self._counts[iteration] = counted(directions, p_max.numpy(), self._symmetry)

    def begin_at(self, first: int) -> None:
        """Forget what is of iteration ``first`` or later."""
        self._counts = {n: counts for n, counts in self._counts.items() if n < first}
        self._asked.clear()
        self._n_beginnings += 1

    def newest(self, up_to: int) -> int:
        """Return the last iteration up to a number that can be shown, 0 without."""
        known = {*self._counts, *whole_iterations(self._folder)}
        return max((number for number in known if number <= up_to), default=0)

    def close(self) -> None:
        """Draw nothing of what is still being read."""
        self._is_open = False

    def show(self, iteration: int, box_size: int, voxel_size: float) -> None:
        """Draw an iteration, or nobody where its particles were not counted.

        Parameters
        ----------
        iteration : int
        box_size : int
            Of the map beside, in voxels.
        voxel_size : float
            Angstrom.
        """
        self._iteration, self._grid = iteration, (box_size, voxel_size)
        if self._reads(iteration):
            return  # what is shown stays until it is there
        layer = self.layer()
        if layer is not None:
            self._draw(layer)
        elif self._counts and not self._is_coming:
            self._is_coming = True
            self._later(self._add)

    def layer(self) -> Points | None:
        """Return the layer, None before it was made or after it was deleted."""
        for layer in self._viewer.layers:
            tag = layer.metadata.get(TAG, {})
            if (tag.get("run"), tag.get("role")) == (self._run_name, _ROLE):
                return layer
        return None

    def _reads(self, iteration: int) -> bool:
        """Return whether an iteration comes from the folder, and will be shown then."""
        folder = self._folder
        if folder is None or iteration in self._counts:
            return False
        if iteration not in self._asked:
            if not orientations_path(folder, iteration).is_file():
                return False
            self._asked.add(iteration)
            read = partial(_read, folder, iteration, self._symmetry)
            self._beside(read, partial(self._arrived, iteration, self._n_beginnings))
        return iteration not in self._counts

    def _arrived(self, iteration: int, beginning: int, counts: OrientationCounts) -> None:
        if beginning != self._n_beginnings or not self._is_open:
            return
        self._counts.setdefault(iteration, counts)
        if iteration == self._iteration:
            self.show(iteration, *self._grid)

    def _add(self) -> None:
        self._is_coming = False
        layer = Points(
            positions(*self._grid),
            name=f"{self._run_name} · orientations",
            border_width=0,
            shading="spherical",
            units=("angstrom",) * 3,
            axis_labels=("z", "y", "x"),
            metadata={TAG: {"run": self._run_name, "role": _ROLE, "iteration": 0}},
        )
        self._draw(layer)
        add_quietly(self._viewer, layer)
        self.came.emit()

    def _draw(self, layer: Points) -> None:
        counts = self._counts.get(self._iteration) or nobody()
        places = positions(*self._grid)
        if not np.array_equal(layer.data, places):
            layer.data = places
        rot, tilt = (angles.numpy() for angles in pixel_angles(ORDER))
        layer.features = {
            "count": counts.count,
            "p_max": counts.p_max,
            "rot": rot,
            "tilt": tilt,
            "iteration": np.full(len(rot), self._iteration),
        }
        layer.size = sizes(counts.count, self._grid[0] * self._grid[1])
        layer.face_color = colors(counts.p_max)
        layer.metadata[TAG]["iteration"] = self._iteration


def _read(folder: Path, iteration: int, symmetry: str) -> OrientationCounts:
    try:
        return counted(*read_orientations(folder, iteration), symmetry)
    except BlushError:
        return nobody()  # somebody has tidied the folder up


def positions(box_size: int, voxel_size: float) -> Floats:
    """Return where the points lie (z, y, x) in angstrom: a sphere to the left of the map.

    Its centre is on a level with the map's own, voxel ``n // 2``.
    """
    edge, center = box_size * voxel_size, box_size // 2 * voxel_size
    middle = np.array([center, center, center - _DISTANCE * edge])
    return middle + _RADIUS * edge * pixel_directions(ORDER).numpy()[:, ::-1]


def sizes(count: Floats, edge: float) -> Floats:
    """Return diameters in angstrom: areas as the counts, and a dot where there is nobody."""
    spacing = _RADIUS * edge * math.sqrt(4 * math.pi / len(count))
    most = max(float(count.max()), 1.0)
    return np.maximum(1.6 * np.sqrt(count / most), 0.2) * spacing


def colors(p_max: Floats) -> Floats:
    """Return RGBA by mean ``p_max`` from 0 to 1, grey where there is nobody."""
    is_known = np.isfinite(p_max)
    found = np.asarray(ensure_colormap(_COLORS).map(np.where(is_known, p_max, 0.0)), float)
    found[~is_known] = _NOBODY
    return found
