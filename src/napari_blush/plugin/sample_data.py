"""What File > Open Sample shows of the sample data.

Maps and image stacks are samples of their own: their axes have different units, and napari draws
layers of unlike units in none.
"""

from napari import current_viewer  # type: ignore[import-untyped]

from napari_blush.plugin import LayerTuple
from napari_blush.plugin.hand import show_volumes
from napari_blush.plugin.reader import map_layer, particle_layers
from napari_blush.plugin.sample_sets import CFTR, HALF_MAPS, SampleSet


def maps_of(chosen: SampleSet) -> list[LayerTuple]:
    """Return truth, start map and mask of a set; the truth is in sight."""
    show_volumes(current_viewer())
    return [
        map_layer(chosen.truth, f"{chosen.title}, truth"),
        map_layer(chosen.start_map, f"{chosen.title}, start map", visible=False),
        _mask_of(chosen),
    ]


def particles_of(chosen: SampleSet) -> list[LayerTuple]:
    """Return the simulated images of a set and their columns."""
    return particle_layers(chosen.particles, f"{chosen.title}, particles")


def half_maps() -> list[LayerTuple]:
    """Return the half-maps of a refinement, and the mask that it used."""
    show_volumes(current_viewer())
    first, second = HALF_MAPS
    return [
        map_layer(first, f"{CFTR.title}, half map 1"),
        map_layer(second, f"{CFTR.title}, half map 2", visible=False),
        _mask_of(CFTR),
    ]


def _mask_of(chosen: SampleSet) -> LayerTuple:
    looks = {"visible": False, "colormap": "cyan", "opacity": 0.3}
    return map_layer(chosen.mask, f"{chosen.title}, mask", **looks)
