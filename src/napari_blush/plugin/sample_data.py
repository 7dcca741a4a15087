"""What File > Open Sample shows of the sample data."""

from importlib.resources import files
from pathlib import Path

from napari_blush.plugin import LayerTuple
from napari_blush.plugin.reader import map_layer, particle_layers

FOLDER = Path(str(files("napari_blush") / "sample_data"))
PARTICLES = FOLDER / "particles.star"
START_MAP = FOLDER / "start_map.mrc"
MASK = FOLDER / "mask.mrc"
TRUTH = FOLDER / "truth" / "truth.mrc"
PARTICLE_DIAMETER = 160.0
"""Angstrom; what ``info.json`` beside the particles says."""


def maps() -> list[LayerTuple]:
    """Return the true density, the start map and the mask."""
    return [
        map_layer(TRUTH, "CFTR, truth"),
        map_layer(START_MAP, "CFTR, start map", visible=False),
        map_layer(MASK, "CFTR, mask", visible=False, colormap="cyan", opacity=0.3),
    ]


def particles() -> list[LayerTuple]:
    """Return the simulated images and their columns."""
    return particle_layers(PARTICLES)
