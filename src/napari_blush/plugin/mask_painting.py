"""The mask of a run, painted: napari's brush is for labels, and a run wants a soft mask."""

import math
from typing import Any

import numpy as np
import torch
from napari.layers import Labels  # type: ignore[import-untyped]
from scipy.ndimage import distance_transform_edt

from napari_blush.numerics.masks import soft_mask_from_volume
from napari_blush.plugin.layer_looks import TAG, in_angstrom
from napari_blush.plugin.layers import LayerBoard, Volume, add_quietly, as_array

PAINTED = "painted mask"
"""Role of the layer that is painted on."""

_INSIDE = 0.5
_EDGE_ANGSTROM = 12.0
_BRUSH_ANGSTROM = 25.0


def begin_painting(viewer: Any, board: LayerBoard) -> None:
    """Show the layer to paint on, in sections, with the brush in the hand.

    Where there is none it is made of the mask of the run, or else around the reference.

    Parameters
    ----------
    viewer : napari viewer or viewer model
    board : LayerBoard

    Raises
    ------
    SettingsError
        When there is no mask, and no particle in the reference.
    """
    layer = painted_layer(board)
    if layer is None:
        layer = _new_layer(board)
        if layer is None:
            return
        add_quietly(viewer, layer)
    layer.visible = True
    viewer.layers.selection = {layer}
    if viewer.dims.ndisplay != 2:
        viewer.dims.ndisplay = 2
    layer.n_edit_dimensions = 3
    layer.mode = "paint"


def take_painted(viewer: Any, board: LayerBoard) -> Volume | None:
    """Return the mask to be used, and show it as the mask of the run; None where there is none.

    What was painted is taken while its layer is visible, with a soft edge; the layer is put away
    until the next time. Otherwise it is the mask layer as it is.

    Parameters
    ----------
    viewer : napari viewer or viewer model
    board : LayerBoard
    """
    painted, mask = painted_layer(board), board.layer("mask")
    if painted is None or not painted.visible:
        return None if mask is None else as_array(mask.data)
    voxel_size = float(painted.scale[-1])
    values = soft_edged(np.asarray(painted.data) > 0, _EDGE_ANGSTROM / voxel_size)
    painted.mode = "pan_zoom"
    painted.visible = False
    board.show("mask", values, voxel_size)
    reference = board.layer("reference")
    if reference is not None:
        viewer.layers.selection = {reference}
    viewer.dims.ndisplay = 3
    return values


def painted_layer(board: LayerBoard) -> Labels | None:
    """Return the layer that is painted on, None where there is none."""
    found = (layer for layer in board.all_of_the_run() if layer.metadata[TAG]["role"] == PAINTED)
    return next(found, None)


def soft_edged(inside: np.typing.NDArray[np.bool_], edge_px: float) -> Volume:
    """Return a mask that falls from 1 to 0 across the boundary of a region.

    Parameters
    ----------
    inside : (n, n, n) array of bool
    edge_px : float
        Width of the raised-cosine edge in voxels; half of it lies inside.
    """
    if inside.all() or not inside.any():
        return inside.astype(np.float32)
    # The boundary runs between voxels, half a voxel from either side.
    outwards = distance_transform_edt(~inside) - distance_transform_edt(inside)
    outwards = outwards - 0.5 * np.sign(outwards)
    part = np.clip(outwards / edge_px, -0.5, 0.5)
    return np.asarray(0.5 - 0.5 * np.sin(math.pi * part), dtype=np.float32)


def _new_layer(board: LayerBoard) -> Labels | None:
    mask, reference = board.layer("mask"), board.layer("reference")
    like = reference if mask is None else mask
    if like is None:
        return None
    voxel_size = float(like.scale[-1])
    values = like.data
    if mask is None:
        density = torch.from_numpy(as_array(values))
        values = soft_mask_from_volume(density, voxel_size).numpy()
    run = like.metadata[TAG]["run"]
    layer = Labels(
        (values > _INSIDE).astype(np.uint8),
        name=f"{run} · mask to paint",
        opacity=0.4,
        metadata={TAG: {"run": run, "role": PAINTED}},
        **in_angstrom(values.shape, voxel_size),
    )
    layer.brush_size = round(_BRUSH_ANGSTROM / voxel_size)
    return layer
