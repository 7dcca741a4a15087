"""The grid of an image layer in angstrom, whatever units it is drawn in; no tensor library."""

from typing import Any

from napari_blush.errors import MrcFileError

_ANGSTROM = {"angstrom": 1.0, "nanometer": 10.0, "pixel": 1.0}
_UNEQUAL = 1e-3


def grid_of(
    name: str, shape: tuple[int, ...], attributes: dict[str, Any]
) -> tuple[float, tuple[float, float, float]]:
    """Return voxel size and origin (x, y, z) of a cubic map in angstrom.

    Parameters
    ----------
    name : str
        For complaints.
    shape : tuple of int
    attributes : dict
        ``scale``, ``translate`` and ``units`` of the layer; a missing unit is taken for angstrom.

    Raises
    ------
    MrcFileError
        When it is no cube of cubic voxels.
    """
    if len(shape) != 3 or len(set(shape)) != 1:
        raise MrcFileError(
            f"Layer {name!r} has the shape {shape}; wanted a cube; choose a map, or one step of a "
            "series."
        )
    units = [str(unit) for unit in attributes.get("units") or ("pixel",) * 3]
    factors = [_ANGSTROM.get(unit, 0.0) for unit in units]
    scale = [
        float(s) * f for s, f in zip(attributes.get("scale", (1.0,) * 3), factors, strict=True)
    ]
    if max(scale) - min(scale) > _UNEQUAL * max(scale) or min(scale) <= 0:
        raise MrcFileError(
            f"Layer {name!r} has voxels of {tuple(scale)} A; wanted cubes in pixels, angstrom or "
            "nanometres; correct the layer's scale."
        )
    shift = attributes.get("translate", (0.0,) * 3)
    z, y, x = (float(t) * f for t, f in zip(shift, factors, strict=True))
    return scale[0], (x, y, z)
