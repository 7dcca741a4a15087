"""What the manifest promises: docks that open, files that are read, a start that is quick."""

import subprocess
import sys
from pathlib import Path

import napari
import npe2
import pytest

from napari_blush.io.mrc import read_map

REPOSITORY = Path(__file__).parents[2]
SAMPLE = REPOSITORY / "sample_data"
PLUGIN = "napari-blush"


@pytest.fixture(scope="module")
def manifest() -> npe2.PluginManifest:
    return npe2.PluginManifest.from_file(REPOSITORY / "napari.yaml")


@pytest.fixture
def viewer(application):
    viewer = napari.Viewer(show=False)
    yield viewer
    viewer.close()
    application.processEvents()


def test_everything_that_is_named_is_there(manifest) -> None:
    manifest.validate_imports()
    assert manifest.schema_version == "0.3.0"
    commands = {command.id for command in manifest.contributions.commands}
    used = [
        *(reader.command for reader in manifest.contributions.readers),
        *(writer.command for writer in manifest.contributions.writers),
        *(widget.command for widget in manifest.contributions.widgets),
        *(sample.command for sample in manifest.contributions.sample_data),
        *(item.command for items in manifest.contributions.menus.values() for item in items),
    ]
    assert set(used) == commands


@pytest.mark.parametrize("name", ["Refine", "Denoise", "Validate"])
def test_docks_open_narrow_and_at_once(viewer, wait_until, name) -> None:
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, name)
    assert widget.minimumSizeHint().width() <= 360
    engine = "controller" if name == "Refine" else "_engine"
    wait_until(lambda: getattr(widget, engine) is not None)
    assert widget._viewer.layers == viewer.layers


def test_napari_opens_files_and_samples_through_it(viewer, tmp_path) -> None:
    (truth,) = viewer.open(str(SAMPLE / "truth" / "truth.mrc"), plugin=PLUGIN)
    assert tuple(truth.scale) == (3.0,) * 3
    particles, columns = viewer.open(str(SAMPLE / "particles.star"), plugin=PLUGIN)
    assert particles.data.shape == (500, 64, 64)
    assert len(columns.features) == 500
    assert len(viewer.open_sample(PLUGIN, "maps")) == 3
    assert truth.save(str(tmp_path / "saved.mrc"), plugin=PLUGIN)
    assert read_map(tmp_path / "saved.mrc").voxel_size == pytest.approx(3.0)


def test_napari_and_the_docks_come_without_torch() -> None:
    code = (
        "import sys, napari, napari_blush.plugin\n"
        "import napari_blush.plugin.widgets.refine, napari_blush.plugin.widgets.denoise\n"
        "import napari_blush.plugin.widgets.validate\n"
        "print('torch' in sys.modules)"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.split()[-1] == "False"


def test_no_module_hides_what_the_manifest_names(manifest) -> None:
    names = [command.python_name for command in manifest.contributions.commands]
    functions = {name.split(":")[1] for name in names if name.startswith("napari_blush.plugin:")}
    modules = {path.stem for path in (REPOSITORY / "src/napari_blush/plugin").glob("*.py")}
    # A module that is imported takes the place of a function of its name.
    assert functions
    assert not functions & modules
