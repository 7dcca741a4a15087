"""Image layers as MRC maps, with the voxel size and origin that they have on the screen."""

from pathlib import Path
from typing import Any

import numpy as np

from napari_blush.io.mrc_writing import write_map_values
from napari_blush.plugin.layer_grid import grid_of


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
    voxel_size, origin = grid_of(str(attributes.get("name", "")), values.shape, attributes)
    write_map_values(Path(path), values, voxel_size, origin)
    return [path]
