"""Maps and particle images as napari layers: in angstrom, right-handed, stacks left on disk.

Napari calls readers on its main thread: nothing here imports the tensor library, which takes
seconds.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from napari import current_viewer  # type: ignore[import-untyped]

from napari_blush.errors import BlushError
from napari_blush.io.image_stack import MrcStack
from napari_blush.io.map_values import read_map_values
from napari_blush.io.mrc_header import read_header
from napari_blush.io.particle_rows import (
    ANGLES,
    DEFOCUS,
    SHIFTS,
    ParticleRows,
    has_poses,
    read_particle_rows,
)
from napari_blush.io.star_optics import group_of_each_particle
from napari_blush.plugin import LayerTuple
from napari_blush.plugin.hand import show_first_map_right_handed
from napari_blush.plugin.input_checks import names_images
from napari_blush.plugin.layer_looks import map_arguments

MAP_SUFFIXES = (".mrc", ".map", ".ccp4")
STACK_SUFFIXES = (".mrcs", ".st")

ReadImages = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]]
Columns = dict[str, npt.NDArray[np.generic]]

_LIMITS_IMAGES = 50
_LIMITS_SIGMA = 3.0
_TEXT_SIZE = 12


class ImagesOnDisk:
    """Particle images as the array-like that napari slices; each is read when it is looked at.

    Parameters
    ----------
    n_images : int
    read : callable
        From 0-based indices ``(b,)`` to images ``(b, n, n)``.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, n_images: int, read: ReadImages) -> None:
        self._n_images, self._read = n_images, read
        self.shape = (n_images, *self._read(np.array([0])).shape[1:])
        self.ndim = len(self.shape)
        self.size = int(np.prod(self.shape))

    def __getitem__(self, key: Any) -> npt.NDArray[np.float32]:
        first, *rest = key if isinstance(key, tuple) else (key,)
        index = np.arange(len(self))[first]
        images = self._read(np.atleast_1d(index))
        chosen: npt.NDArray[np.float32] = images if np.ndim(index) else images[0]
        return chosen[(slice(None), *rest) if np.ndim(index) else tuple(rest)]

    def __len__(self) -> int:
        return self._n_images

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)


def can_read_maps(path: str | list[str]) -> bool:
    """Return whether all of these are cubic maps or image stacks; reads headers alone."""
    return all(_is_map(Path(one)) or _is_stack(Path(one)) for one in _listed(path))


def read_maps(path: str | list[str]) -> list[LayerTuple]:
    """Read maps and image stacks, a layer each; the view is not to show maps in a mirror."""
    show_first_map_right_handed(current_viewer())
    return [
        map_layer(one) if _is_map(one) else stack_layer(one) for one in map(Path, _listed(path))
    ]


def map_layer(path: Path, name: str = "", **changes: Any) -> LayerTuple:
    """Read a map as an image layer that knows its file, voxel size and origin.

    Parameters
    ----------
    path : Path
    name : str, optional
        Default: the file's.
    **changes
        Other arguments of the layer.
    """
    found = read_map_values(path, allow_odd=True)
    arguments = map_arguments(
        found.values, found.voxel_size, name or path.stem, found.origin_angstrom
    )
    return found.values, {**arguments, "metadata": {"path": str(path)}, **changes}, "image"


def stack_layer(path: Path) -> LayerTuple:
    """Return an image stack, read as it is looked at."""
    stack = MrcStack(path)
    return _images_layer(ImagesOnDisk(len(stack), stack.read), stack.pixel_size, path, {})


def can_read_particles(path: str | list[str]) -> bool:
    """Return whether all of these are STAR files of particles."""
    return all(names_images(Path(one)) for one in _listed(path))


def read_particle_stacks(path: str | list[str]) -> list[LayerTuple]:
    """Read the images that STAR files name, a stack each, with CTF and pose of every image."""
    return [layer for one in _listed(path) for layer in particle_layers(Path(one))]


def particle_layers(path: Path, name: str = "") -> list[LayerTuple]:
    """Return the images of a particle file as a stack, and its columns as a layer over it.

    Images have no features in napari, points do: a point marks the middle of each particle, says
    its defocus and pose below it, and has the columns for the features table.

    Parameters
    ----------
    path : Path
    name : str, optional
        Default: the file's.
    """
    rows = read_particle_rows(path)
    images = ImagesOnDisk(len(rows.particles), rows.places.images().read_rows)
    columns = features(rows)
    pixel_size = float(rows.optics.numbers("rlnImagePixelSize")[0])
    stack = _images_layer(images, pixel_size, path, columns, name)
    return [stack, _table_layer(stack[1], images.shape, columns)]


def features(rows: ParticleRows) -> Columns:
    """Return CTF, half and, where they are known, pose of each particle as columns.

    Angles and origins are the file's own figures.
    """
    table = rows.particles
    u, v, angle = (table.numbers(label) for label in DEFOCUS)
    columns: Columns = {
        "defocus_u_angstrom": u,
        "defocus_v_angstrom": v,
        "defocus_angle_deg": angle,
        "phase_shift_deg": table.numbers("rlnPhaseShift", 0.0),
        "optics_group": group_of_each_particle(rows.optics, table) + 1,
        "random_subset": table.integers("rlnRandomSubset", 0),
    }
    if has_poses(table):
        columns |= {label: table.numbers(label) for label in ANGLES}
        columns |= {label: table.numbers(label, 0.0) for label in SHIFTS}
    return columns


def _table_layer(images: dict[str, Any], shape: tuple[int, ...], columns: Columns) -> LayerTuple:
    """Return a point for each image, in the middle of its particle, that carries its columns."""
    n, box, _ = shape
    pixel_size = images["scale"][-1]
    middle = np.full((n, 3), float(box // 2))
    middle[:, 0] = np.arange(n)
    said = "defocus {defocus_um:.2f} µm"
    if "rlnAngleRot" in columns:
        # An origin is what moves the image so that the particle comes to lie in the middle.
        middle[:, 1] -= np.asarray(columns["rlnOriginYAngst"], dtype=float) / pixel_size
        middle[:, 2] -= np.asarray(columns["rlnOriginXAngst"], dtype=float) / pixel_size
        said += " · rot {rlnAngleRot:.0f}° tilt {rlnAngleTilt:.0f}° psi {rlnAnglePsi:.0f}°"
    u, v = (np.asarray(columns[f"defocus_{one}_angstrom"], dtype=float) for one in "uv")
    arguments = {
        **{name: images[name] for name in ("scale", "units", "axis_labels")},
        "name": f"{images['name']}, columns",
        "features": {"particle": np.arange(1, n + 1), "defocus_um": (u + v) / 2e4, **columns},
        "text": {
            "string": said,
            "size": _TEXT_SIZE,
            "color": "#ffb454",
            "translation": (0.0, 0.4 * box, 0.0),
        },
        "symbol": "cross",
        "size": max(2.0, box / 24),
        "face_color": "#ffb454",
        "border_width": 0.0,
        "metadata": {"columns_of": images["metadata"]["path"]},
    }
    return middle, arguments, "points"


def _images_layer(
    images: ImagesOnDisk,
    pixel_size: float | None,
    path: Path,
    columns: Columns,
    name: str = "",
) -> LayerTuple:
    some = images[np.linspace(0, len(images) - 1, min(_LIMITS_IMAGES, len(images))).astype(int)]
    middle, spread = float(some.mean()), float(some.std()) or 1.0
    known = pixel_size is not None
    arguments = {
        "name": name or path.stem,
        "contrast_limits": (middle - _LIMITS_SIGMA * spread, middle + _LIMITS_SIGMA * spread),
        "scale": (1.0, pixel_size or 1.0, pixel_size or 1.0),
        "units": ("pixel", *(("angstrom",) * 2 if known else ("pixel",) * 2)),
        "axis_labels": ("particle", "y", "x"),
        "metadata": {"path": str(path), "features": columns},
    }
    return images, arguments, "image"


def _is_map(path: Path) -> bool:
    """Return whether the file holds a cube, by its header."""
    if path.suffix.lower() not in MAP_SUFFIXES:
        return False
    try:
        sections, rows, columns = read_header(path).shape
    except BlushError:
        return False
    return sections == rows == columns > 1


def _is_stack(path: Path) -> bool:
    if path.suffix.lower() not in STACK_SUFFIXES:
        return False
    try:
        return len(MrcStack(path)) > 0
    except BlushError:
        return False


def _listed(path: str | list[str]) -> list[str]:
    return [path] if isinstance(path, str) else path
