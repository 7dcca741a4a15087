"""A run folder as layers: the maps of its last whole iteration, and the final ones if there are."""

from pathlib import Path
from typing import Any

from napari import current_viewer  # type: ignore[import-untyped]
from qtpy.QtCore import QTimer

from napari_blush.errors import RunFolderError
from napari_blush.io.whole_iterations import last_whole_iteration
from napari_blush.plugin import LayerTuple
from napari_blush.plugin.hand import show_volumes
from napari_blush.plugin.iteration_store import ITERATION_FILES
from napari_blush.plugin.layer_looks import TAG
from napari_blush.plugin.layer_roles import ROLES
from napari_blush.plugin.reader import map_layer

_PLUGIN = "napari-blush"
_FINAL = "run_class001.mrc"
_DOCK = "RefineWidget"
_NO_LAYERS: tuple[None] = (None,)
"""What napari takes for a file that was read and has no layers."""


def read_runs(path: str | list[str]) -> list[LayerTuple | tuple[None]]:
    """Read run folders, named by themselves or by the settings file in them.

    One that has no whole iteration yet is handed to the dock, which follows it.

    Raises
    ------
    RunFolderError
        When a folder holds no whole iteration yet, and there is no window to follow it in.
    """
    paths = [Path(one) for one in ([path] if isinstance(path, str) else path)]
    folders = [one if one.is_dir() else one.parent for one in paths]
    viewer = current_viewer()
    (first, *others) = folders
    if viewer is not None and not others and last_whole_iteration(first) is None:
        offer_the_dock(viewer, first)
        return [_NO_LAYERS]
    layers: list[LayerTuple | tuple[None]] = []
    for folder in folders:
        layers += run_layers(folder)
    show_volumes(viewer)
    if viewer is not None:
        offer_the_dock(viewer)
    return layers


def offer_the_dock(viewer: Any, folder: Path | None = None) -> None:
    """Open the dock where there is none; it takes up the run whose layers are being added.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    folder : Path, optional
        Of a run without layers, for the dock to take up.
    """
    docks = [one for one in viewer.window.dock_widgets.values() if type(one).__name__ == _DOCK]

    def take_up() -> None:
        dock = docks[0] if docks else viewer.window.add_plugin_dock_widget(_PLUGIN, "Refine")[1]
        if folder is not None:
            dock.take_up(folder)

    # In a later turn: the layers are there then.
    if folder is not None or not docks:
        QTimer.singleShot(0, take_up)


def run_layers(folder: Path) -> list[LayerTuple]:
    """Return the maps of a run folder, the final one visible, else the reference."""
    files = run_files(folder)
    shown = "final" if "final" in files else "reference"
    run = folder.resolve().name
    layers = []
    for role, (file, iteration) in files.items():
        tag = {TAG: {"run": run, "role": role, "iteration": iteration, "folder": str(folder)}}
        looks = {name: value for name, value in ROLES[role].arguments.items() if name != "visible"}
        data, arguments, kind = map_layer(file, f"{run} · {ROLES[role].title}", **looks)
        arguments["metadata"] = {**arguments["metadata"], **tag}
        layers.append((data, {**arguments, "visible": role == shown}, kind))
    return layers


def run_files(folder: Path) -> dict[str, tuple[Path, int]]:
    """Return the map of each role with its iteration, of those that are there.

    Raises
    ------
    RunFolderError
        When nothing is there to be shown.
    """
    last = last_whole_iteration(folder)
    if last is None:
        raise RunFolderError(
            f"Run folder {folder} holds no whole iteration yet; wanted at least one; open it again "
            "when the run has come further."
        )
    files = {role: (folder / name.format(last), last) for role, name in ITERATION_FILES.items()}
    files["final"] = folder / _FINAL, last
    return {role: found for role, found in files.items() if found[0].is_file()}
