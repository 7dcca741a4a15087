"""Maps of past iterations within a budget of memory; what does not fit is read from the run folder.

No Qt and no napari. ``IterationStore`` keeps maps by role and iteration, ``IterationSeries`` shows
one role as a four-dimensional array whose steps are read when they are looked at.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from napari_blush.errors import MrcFileError
from napari_blush.io.mrc_header import memory_map, read_header
from napari_blush.io.whole_iterations import state_path, whole_iterations

Volume = npt.NDArray[np.float32]

ITERATION_FILES: Mapping[str, str] = {
    "reference": "run_it{:03d}_half1_class001.mrc",
    "half1": "run_it{:03d}_half1_class001_unfil.mrc",
    "half2": "run_it{:03d}_half2_class001_unfil.mrc",
    "denoised1": "run_it{:03d}_half1_class001_denoised.mrc",
    "denoised2": "run_it{:03d}_half2_class001_denoised.mrc",
}
"""Names of the maps of an iteration in a run folder, by role."""


class IterationStore:
    """Maps of the iterations of one run.

    Parameters
    ----------
    budget_bytes : int
        Of memory. The oldest maps are given up first; the newest of each role stays in any case.
    folder : path, optional
        Of the run. A map that was given up is mapped into memory from there; without a folder it
        is gone, and one that the folder does not have yet is not given up.
    """

    def __init__(self, budget_bytes: int, folder: str | Path | None = None) -> None:
        self._budget = budget_bytes
        self._folder = None if folder is None else Path(folder)
        self._held: dict[tuple[int, str], Volume] = {}
        self._known: dict[str, set[int]] = {role: set() for role in ITERATION_FILES}

    @property
    def n_bytes(self) -> int:
        """Memory that the maps take; those on disk take none."""
        return sum(values.nbytes for values in self._held.values())

    @property
    def iterations(self) -> tuple[int, ...]:
        """Numbers of the iterations of which there is a map."""
        return tuple(sorted(set().union(*self._known.values())))

    @property
    def latest(self) -> int | None:
        """Number of the newest iteration, None before there is one."""
        return max(self.iterations, default=None)

    def begin_at(self, first: int) -> None:
        """Forget what is of iteration ``first`` or later, and take in what the folder has before.

        Parameters
        ----------
        first : int
            Of the iterations that are to come.
        """
        for role, numbers in self._known.items():
            self._known[role] = {number for number in numbers if number < first}
        self._held = {key: values for key, values in self._held.items() if key[0] < first}
        for number in whole_iterations(self._folder):
            for role in self._known:
                if number < first and self._is_on_disk(role, number):
                    self._known[role].add(number)

    def keep(self, role: str, iteration: int, values: Volume) -> None:
        """Keep a map; another one of that role and iteration is replaced.

        Parameters
        ----------
        role : str
            A key of ``ITERATION_FILES``.
        iteration : int
        values : (n, n, n) float32
            Not copied: it must not be written to any more.
        """
        self._held[iteration, role] = values
        self._known[role].add(iteration)
        self._give_up_the_oldest()

    def find(self, role: str, iteration: int) -> Volume | None:
        """Return a map, None where there is none; what lies on disk is mapped, not read."""
        if iteration not in self._known[role]:
            return None
        held = self._held.get((iteration, role))
        return self._mapped(role, iteration) if held is None else held

    def newest(self, role: str, up_to: int) -> int | None:
        """Return the last iteration up to a number that has a map of a role, None without."""
        return max((number for number in self._known[role] if number <= up_to), default=None)

    def _give_up_the_oldest(self) -> None:
        newest = {(max(numbers), role) for role, numbers in self._known.items() if numbers}
        excess = self.n_bytes - self._budget
        for key in sorted(self._held):
            if excess <= 0:
                return
            iteration, role = key
            if key in newest or not (self._folder is None or self._is_on_disk(role, iteration)):
                continue
            excess -= self._held.pop(key).nbytes
            if self._folder is None:
                self._known[role].discard(iteration)

    def _path(self, role: str, iteration: int) -> Path:
        folder = self._folder or Path()
        return folder / ITERATION_FILES[role].format(iteration)

    def _is_on_disk(self, role: str, iteration: int) -> bool:
        folder = self._folder
        if folder is None or not state_path(folder, iteration).is_file():
            return False
        return self._path(role, iteration).is_file()

    def _mapped(self, role: str, iteration: int) -> Volume | None:
        try:
            return np.asanyarray(memory_map(read_header(self._path(role, iteration))), np.float32)
        except MrcFileError:
            return None  # somebody has tidied the folder up


class IterationSeries:
    """The maps of one role as an array ``(iterations, n, n, n)`` that grows with its store.

    The index is the number of the iteration; at 0 is what the run began with. An iteration that has
    no map of the role shows the one before it, or zeros. Nothing is copied until it is looked at;
    indexing is numpy's, integers and slices.

    Parameters
    ----------
    store : IterationStore
    role : str
    box_size : int
        Edge of the maps in voxels.
    """

    ndim: ClassVar[int] = 4
    dtype: ClassVar[np.dtype[np.float32]] = np.dtype(np.float32)

    def __init__(self, store: IterationStore, role: str, box_size: int) -> None:
        self._store, self._role, self._box = store, role, box_size

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Iterations from 0 to the last, and the box."""
        return ((self._store.latest or 0) + 1, self._box, self._box, self._box)

    @property
    def size(self) -> int:
        """Number of voxels in all iterations."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """What it would take in memory as a whole."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> npt.NDArray[np.float32]:
        """Return what numpy would, having read the iterations that are asked for alone."""
        key = key if isinstance(key, tuple) else (key,)
        if key and key[0] is Ellipsis:
            key = (slice(None),) * (self.ndim - len(key) + 1) + key[1:]
        step, rest = (key[0], key[1:]) if key else (slice(None), ())
        chosen = np.arange(len(self))[step]
        if chosen.ndim == 0:
            return np.asarray(self._map(int(chosen))[rest])
        if not chosen.size:
            return np.empty((0, *self.shape[1:]), self.dtype)[(slice(None), *rest)]
        return np.stack([self._map(int(index))[rest] for index in chosen])

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[np.generic]:
        """Read all iterations."""
        return np.asarray(self[:], dtype=dtype)

    def _map(self, index: int) -> Volume:
        number = self._store.newest(self._role, index)
        found = None if number is None else self._store.find(self._role, number)
        if found is None or found.shape != self.shape[1:]:
            return np.zeros(self.shape[1:], self.dtype)
        return found
