"""Shows a run in napari and lets a person start, pause, steer and stop it.

What the manifest names, but for the docks, is here, and each loads its module when it is first
used: napari's start pays for none of it, and none imports torch before there is work for it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

LayerTuple = tuple[Any, dict[str, Any], str]
"""What napari makes a layer of: data, keyword arguments, kind."""

Reader = Callable[[str | list[str]], Sequence[LayerTuple | tuple[None]]]

_RUN_MARK = "settings.yaml"


def map_reader(path: str | list[str]) -> Reader | None:
    """Return a reader of maps and image stacks, None for what is neither (a micrograph)."""
    from napari_blush.plugin.reader import can_read_maps, read_maps

    return read_maps if can_read_maps(path) else None


def particle_reader(path: str | list[str]) -> Reader | None:
    """Return a reader of particle STAR files, None for other tables."""
    from napari_blush.plugin.reader import can_read_particles, read_particle_stacks

    return read_particle_stacks if can_read_particles(path) else None


def run_folder_reader(path: str | list[str]) -> Reader | None:
    """Return a reader of run folders, None for other folders."""
    paths = [path] if isinstance(path, str) else path
    folders = [Path(one).parent if Path(one).name == _RUN_MARK else Path(one) for one in paths]
    if not all((folder / _RUN_MARK).is_file() for folder in folders):
        return None
    from napari_blush.plugin.run_reader import read_runs

    return read_runs


def write_mrc(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer as a map with voxel size and origin."""
    from napari_blush.plugin.writer import write_layer

    return write_layer(path, data, attributes)


def sample_maps() -> Sequence[LayerTuple]:
    """Return truth, start map and mask of the particles of CFTR."""
    from napari_blush.plugin import sample_data, sample_sets

    return sample_data.maps_of(sample_sets.CFTR)


def sample_particles() -> Sequence[LayerTuple]:
    """Return the particle images of CFTR."""
    from napari_blush.plugin import sample_data, sample_sets

    return sample_data.particles_of(sample_sets.CFTR)


def sample_half_maps() -> Sequence[LayerTuple]:
    """Return the half-maps that a refinement of CFTR ended with."""
    from napari_blush.plugin import sample_data

    return sample_data.half_maps()


def sample_low_signal_maps() -> Sequence[LayerTuple]:
    """Return truth, start map and mask of the particles of low signal."""
    from napari_blush.plugin import sample_data, sample_sets

    return sample_data.maps_of(sample_sets.LOW_SIGNAL)


def sample_low_signal_particles() -> Sequence[LayerTuple]:
    """Return the particle images of low signal."""
    from napari_blush.plugin import sample_data, sample_sets

    return sample_data.particles_of(sample_sets.LOW_SIGNAL)


def show_local_resolution() -> None:
    """Open the *Validate* dock and color a surface, where there is a pair of half-maps."""
    from napari import current_viewer  # type: ignore[import-untyped]

    viewer = current_viewer()
    if viewer is not None:
        _, dock = viewer.window.add_plugin_dock_widget("napari-blush", "Validate")
        dock.judge_when_loaded("local")
