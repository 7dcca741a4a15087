"""A run folder as layers: the maps of its last whole iteration, and the final ones if there are."""

from pathlib import Path

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

_FINAL = "run_class001.mrc"
_DOCK = "RefineWidget"


def read_runs(path: str | list[str]) -> list[LayerTuple]:
    """Read run folders, named by themselves or by the settings file in them.

    Raises
    ------
    RunFolderError
        When a folder holds no whole iteration yet.
    """
    paths = [Path(one) for one in ([path] if isinstance(path, str) else path)]
    folders = [one if one.is_dir() else one.parent for one in paths]
    layers = [layer for folder in folders for layer in run_layers(folder)]
    show_volumes(current_viewer())
    offer_the_dock()
    return layers


def offer_the_dock() -> None:
    """Open the dock that takes up the run whose layers are being added, where there is a window."""
    viewer = current_viewer()
    docks = {} if viewer is None else viewer.window.dock_widgets
    if viewer is None or any(type(dock).__name__ == _DOCK for dock in docks.values()):
        return
    # In a later turn: the layers are there then.
    QTimer.singleShot(0, lambda: viewer.window.add_plugin_dock_widget("napari-blush", "Refine"))


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
