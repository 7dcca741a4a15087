"""What a user gets: the wheel's content, the editable install, the manifest, the versions."""

import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

import npe2
import pytest
import yaml

import napari_blush

REPOSITORY = Path(__file__).parents[1]
SAMPLE_DATA = REPOSITORY / "sample_data"
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the wheel with what is installed; nothing is fetched."""
    folder = tmp_path_factory.mktemp("wheel")
    command = ["-m", "build", "--no-isolation", "--wheel", "--outdir", folder, REPOSITORY]
    outcome = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, timeout=300
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_wheel_holds_each_file_once(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert len(names) == len(set(names))


def test_wheel_holds_the_manifest_and_the_sample_data(wheel: zipfile.ZipFile) -> None:
    samples = {
        f"napari_blush/sample_data/{path.relative_to(SAMPLE_DATA).as_posix()}"
        for path in SAMPLE_DATA.rglob("*")
        if path.is_file()
    }
    assert samples
    assert samples | {"napari_blush/napari.yaml", "napari_blush/py.typed"} <= set(wheel.namelist())


def test_wheel_holds_all_source_and_no_tests(wheel: zipfile.ZipFile) -> None:
    source = REPOSITORY / "src"
    modules = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}
    packed = {name for name in wheel.namelist() if name.endswith(".py")}
    assert packed == modules


def test_wheel_carries_its_license_and_entry_points(wheel: zipfile.ZipFile) -> None:
    info = f"napari_blush-{napari_blush.__version__}.dist-info"
    assert "BSD 3-Clause" in wheel.read(f"{info}/licenses/LICENSE").decode()
    entry_points = wheel.read(f"{info}/entry_points.txt").decode()
    assert "napari-blush = napari_blush.cli.main:main" in entry_points
    assert "napari-blush = napari_blush:napari.yaml" in entry_points


def test_sample_data_stays_small() -> None:
    size = sum(path.stat().st_size for path in SAMPLE_DATA.rglob("*") if path.is_file())
    assert size <= 25 * MEGABYTE


def test_installed_package_finds_its_resources() -> None:
    package = files("napari_blush")
    assert (package / "napari.yaml").is_file()
    assert (package / "sample_data" / "README.md").is_file()


def test_napari_finds_a_valid_manifest() -> None:
    manifest = npe2.PluginManifest.from_distribution("napari-blush")
    assert manifest.name == distribution("napari-blush").name == "napari-blush"
    manifest.validate_imports()
    npe2.PluginManifest.from_file(REPOSITORY / "napari.yaml")


def test_tested_set_covers_every_dependency() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["cpu"]]
    lines = (REPOSITORY / "constraints.txt").read_text().lower().splitlines()
    pinned = {line.split("==")[0] for line in lines if "==" in line}
    assert {name.split(">")[0].strip().lower() for name in wanted} <= pinned


def test_citation_names_this_version() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == napari_blush.__version__
