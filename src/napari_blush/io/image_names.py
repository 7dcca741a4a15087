"""From ``000001@stack.mrcs`` to a file and an image in it, checked against the stacks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_blush.errors import StarFileError
from napari_blush.io.image_stack import StackImages
from napari_blush.io.mrc_header import read_header


@dataclass(frozen=True, slots=True)
class ImagePlaces:
    """Where images lie.

    Parameters
    ----------
    files : tuple of Path
        The stacks, in order of first mention.
    file_index, image_index : (n,) int64
        Stack of each particle and image in it, both 0-based.
    box_sizes : (number of files,) int64
        Pixels along an edge of each stack's images.
    """

    files: tuple[Path, ...]
    file_index: npt.NDArray[np.int64]
    image_index: npt.NDArray[np.int64]
    box_sizes: npt.NDArray[np.int64]

    def images(self) -> StackImages:
        """Return the images, to be read when asked for."""
        return StackImages(self.files, self.file_index, self.image_index)


def locate_images(
    star: Path,
    stacks: Sequence[str],
    image_index: npt.NDArray[np.int64],
    image_root: Path | None,
) -> ImagePlaces:
    """Find every particle's stack and check that it holds the image.

    A relative name is tried below ``image_root`` alone when that is given; else below the working
    directory, as RELION does, then below the folder of the metadata file and the folders above it
    (the project folder is one of them). The first that exists is taken.

    Parameters
    ----------
    star : Path
        The metadata file.
    stacks : sequence of str
        Stack of each particle, as named in the file.
    image_index : (n,) int64
        0-based image in its stack.
    image_root : Path, optional

    Raises
    ------
    StarFileError
        When a stack is nowhere, holds fewer images than are named, or images that are not square.
    MrcFileError
        When a stack cannot be read or is cut short.
    """
    numbers = {name: i for i, name in enumerate(dict.fromkeys(stacks))}
    file_index = np.fromiter((numbers[name] for name in stacks), np.int64, len(stacks))
    roots = [image_root] if image_root else [Path.cwd(), *star.absolute().parents]
    files = tuple(_find(star, name, roots) for name in numbers)
    box_sizes = np.empty(len(files), dtype=np.int64)
    highest = np.full(len(files), -1)
    np.maximum.at(highest, file_index, image_index)
    for i, file in enumerate(files):
        n_images, rows, columns = read_header(file).shape
        if rows != columns:
            raise StarFileError(
                f"{star} names images of {file}, which are {columns} x {rows} px; wanted square "
                "particle images; extract them into a square box."
            )
        box_sizes[i] = columns
        if highest[i] >= n_images:
            row = int(np.flatnonzero((file_index == i) & (image_index >= n_images))[0])
            raise StarFileError(
                f"{star} names image {image_index[row] + 1} of {file} for particle {row + 1}, and "
                f"the stack holds {n_images}; wanted a STAR file and stack that belong together."
            )
    return ImagePlaces(files, file_index, image_index, box_sizes)


def split_names(
    star: Path, names: npt.NDArray[np.object_]
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return stack and 0-based image of names such as ``000001@stack.mrcs``.

    A name without ``@`` is a file with one image.

    Raises
    ------
    StarFileError
        When what stands before the ``@`` is not a number from 1 on.
    """
    stacks: list[str] = []
    numbers: list[int] = []
    for row, name in enumerate(names):
        number, at, stack = name.partition("@")
        if not at:
            number, stack = "1", name
        if not (number.isdecimal() and stack) or number.strip("0") == "":
            raise StarFileError(
                f"{star} has _rlnImageName = {name!r} in row {row + 1}; wanted a number from 1 on, "
                "an @ and a stack, as 000001@stack.mrcs; correct that name."
            )
        stacks.append(stack)
        numbers.append(int(number))
    return stacks, np.array(numbers, dtype=np.int64) - 1


def _find(star: Path, name: str, roots: Sequence[Path]) -> Path:
    for root in roots:
        # An absolute name stays as it is under "/".
        if (root / name).is_file():
            return root / name
    if Path(name).is_absolute():
        tried = "that absolute path"
    elif len(roots) == 1:
        tried = f"{roots[0]}"
    else:
        tried = f"the working directory {roots[0]}, {roots[1]} and the folders above it"
    raise StarFileError(
        f"Stack {name}, which {star} names, does not exist; tried {tried}; give the folder that "
        "the image names are relative to."
    )
