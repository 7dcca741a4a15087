"""Image layers as MRC maps, with the voxel size and origin that they have on the screen."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_blush.errors import MrcFileError
from napari_blush.io.mrc import write_map

_NM_IN_ANGSTROM = {"angstrom": 1.0, "nanometer": 10.0, "pixel": 1.0}
_UNEQUAL = 1e-3


def write_layer(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a layer as a float32 map.

    Parameters
    ----------
    path : str
    data : (n, n, n) array
    attributes : dict
        Of the napari layer; ``scale`` and ``translate`` are read in its ``units``.

    Raises
    ------
    MrcFileError
        When the layer is no cube, its voxels are not cubic, or the disk refuses.
    """
    values = np.asarray(data, dtype=np.float32)
    if values.ndim != 3 or len(set(values.shape)) != 1:
        raise MrcFileError(
            f"Layer {attributes.get('name', '')!r} has the shape {values.shape}; wanted a cube; "
            "choose a map, or one step of a series."
        )
    units = [str(unit) for unit in attributes.get("units") or ("pixel",) * 3]
    factors = [_NM_IN_ANGSTROM.get(unit, 0.0) for unit in units]
    scale = [s * f for s, f in zip(attributes.get("scale", (1.0,) * 3), factors, strict=True)]
    if max(scale) - min(scale) > _UNEQUAL * max(scale) or min(scale) <= 0:
        raise MrcFileError(
            f"Layer {attributes.get('name', '')!r} has voxels of {tuple(scale)} A; wanted cubes in "
            "pixels, angstrom or nanometres; correct the layer's scale."
        )
    z, y, x = (t * f for t, f in zip(attributes.get("translate", (0.0,) * 3), factors, strict=True))
    volume = torch.from_numpy(np.ascontiguousarray(values))
    write_map(Path(path), volume, float(scale[0]), (float(x), float(y), float(z)))
    return [path]
