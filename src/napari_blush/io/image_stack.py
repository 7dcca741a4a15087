"""Image stacks in MRC files, memory-mapped, and images that lie in many of them, as arrays.

No tensor library: a file that is opened in a window is read with this. ``image_source`` gives the
same images as tensors.
"""

import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_blush.errors import MrcFileError
from napari_blush.io.mrc_header import memory_map, read_header, spacings_of


class MrcStack:
    """Images of one file, memory-mapped; nothing is read before it is asked for.

    Parameters
    ----------
    path : path
        A stack or a single image, modes 0, 1, 2, 6 and 12; a header without pixel size will do.

    Attributes
    ----------
    path : Path
    shape : (rows, columns)
        Of every image.
    pixel_size : float or None
        Angstrom along x, None where the header has none.

    Raises
    ------
    MrcFileError
        When the file is missing, not MRC, or shorter than its header promises.
    """

    def __init__(self, path: str | Path) -> None:
        header = read_header(Path(path))
        if header.axes != (1, 2, 3):
            raise MrcFileError(
                f"{path} has axis order {header.axes}; wanted images with columns along x, rows "
                "along y and sections as images (1, 2, 3); write the stack again."
            )
        self.path = header.path
        self.shape = header.shape[1:]
        self.pixel_size = spacings_of(header)[0]
        self._pixels = memory_map(header)

    def __len__(self) -> int:
        return int(self._pixels.shape[0])

    def read(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return the images at 0-based ``indices (b,)`` as float32 ``(b, rows, columns)``."""
        out = np.empty((len(indices), *self.shape), dtype=np.float32)
        self.read_into(out, np.arange(len(indices)), indices)
        return out

    def read_into(
        self,
        out: npt.NDArray[np.float32],
        places: npt.NDArray[np.int64],
        indices: npt.NDArray[np.int64],
    ) -> None:
        """Copy images ``indices`` to ``out[places]``, in float32."""
        if len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= len(self)):
            wrong = int(indices.min()) if int(indices.min()) < 0 else int(indices.max())
            raise MrcFileError(
                f"Image {wrong + 1} of {self.path} was asked for and it holds {len(self)}; "
                "correct the image names."
            )
        for place, index in zip(places, indices, strict=True):
            out[place] = self._pixels[index]


class StackImages:
    """Images that lie in many files.

    Files are opened when first read and the most recent ``max_open`` stay open. Images of one call
    are read in the order in which they lie on disk. Safe to read from several threads; travels to
    other processes without its open files.

    Parameters
    ----------
    files : tuple of Path
    file_index : (n,) int64
        File of each image, 0-based.
    image_index : (n,) int64
        Image within its file, 0-based.
    sign : (n,) float32, optional
        What each image is multiplied by: -1 where protein is dark in the file.
    max_open : int
        Files kept open at most.
    """

    def __init__(
        self,
        files: tuple[Path, ...],
        file_index: npt.NDArray[np.int64],
        image_index: npt.NDArray[np.int64],
        *,
        sign: npt.NDArray[np.float32] | None = None,
        max_open: int = 64,
    ) -> None:
        self.files = files
        self.sign = sign
        self.file_index = file_index
        self.image_index = image_index
        self._max_open = max_open
        self._open: OrderedDict[int, MrcStack] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.file_index)

    def read_rows(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Read images; 0-based ``rows (b,)`` to ``(b, n, n)`` float32.

        Raises
        ------
        MrcFileError
            When the images of this call differ in size, or a file cannot be read.
        """
        if len(rows) == 0:
            return np.empty((0, 0, 0), dtype=np.float32)
        files, images = self.file_index[rows], self.image_index[rows]
        order = np.lexsort((images, files))
        breaks = np.flatnonzero(np.diff(files[order])) + 1
        first = self._stack(int(files[order[0]]))
        out = np.empty((len(rows), *first.shape), dtype=np.float32)
        for places in np.split(order, breaks):
            stack = self._stack(int(files[places[0]]))
            if out.shape[1:] != stack.shape:
                raise MrcFileError(
                    f"Images of {out.shape[1:]} px and, in {stack.path}, of {stack.shape} px were "
                    "asked for at once; wanted one size; read each optics group by itself."
                )
            stack.read_into(out, places, images[places])
        if self.sign is not None:
            out *= self.sign[rows, None, None]
        return out

    def _stack(self, file: int) -> MrcStack:
        with self._lock:
            stack = self._open.pop(file, None) or MrcStack(self.files[file])
            self._open[file] = stack
            while len(self._open) > self._max_open:
                self._open.popitem(last=False)
            return stack

    def __getstate__(self) -> dict[str, object]:
        state = {name: value for name, value in vars(self).items() if name != "_lock"}
        return state | {"_open": OrderedDict()}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()
