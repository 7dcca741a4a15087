"""The layers that a run can have: their names, and how they look when they are made.

No tensor library: what opens a run folder and what follows a run share it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_blush.plugin.difference_colormap import difference_colormap
from napari_blush.plugin.layer_looks import Look, first_look, symmetric_look

Volume = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Role:
    """A layer of a run: its name, and how it looks when it is made."""

    title: str
    look: Callable[[Volume], Look] = first_look
    arguments: dict[str, Any] = field(default_factory=dict)
    keeps_look: bool = False
    is_section: bool = False


_HIDDEN: dict[str, Any] = {"visible": False}
ROLES = {
    "reference": Role("reference", arguments={"colormap": "gray"}),
    "half1": Role("half map 1", arguments={"colormap": "gray", **_HIDDEN}),
    "half2": Role("half map 2", arguments={"colormap": "gray", **_HIDDEN}),
    "denoised1": Role("denoised 1", arguments={"colormap": "gray", **_HIDDEN}),
    "denoised2": Role("denoised 2", arguments={"colormap": "gray", **_HIDDEN}),
    "change": Role(
        "change (sigma)",
        look=symmetric_look,
        arguments={
            "colormap": difference_colormap(), "blending": "translucent_no_depth",
            "rendering": "translucent", **_HIDDEN,
        },
        keeps_look=True,
        is_section=True,
    ),
    "mask": Role(
        "mask",
        look=lambda values: Look(0.0, 1.0, 0.5),
        arguments={"colormap": "cyan", "blending": "additive", "opacity": 0.3, **_HIDDEN},
        keeps_look=True,
    ),
    "final": Role("final map", arguments={"colormap": "gray"}),
}  # fmt: skip
