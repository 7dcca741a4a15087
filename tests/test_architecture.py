"""The house rules that a tool can check: floors, sizes, names, docstrings, light imports."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "src" / "napari_blush"
SOURCES = sorted(PACKAGE.rglob("*.py"))
LINES_THAT_ASK_FOR_A_SPLIT = 400
LINES_THAT_FAIL = 500
LONG_FOR_A_REASON: dict[str, str] = {}
"""Files of 400 to 500 lines, by path inside the package, each with why it is one file."""
ROOMS_WITHOUT_A_JOB = {"utils", "util", "helpers", "common", "misc", "core", "base"}
SCREEN = ("napari", "qtpy", "magicgui", "superqt", "pyqtgraph", "PyQt6", "PySide6")


def fresh_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter that has imported nothing yet."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the import contracts of the package in ``folder / "src"``."""
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_every_import_goes_down() -> None:
    outcome = lint_imports(REPOSITORY)
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize(
    ("file", "line", "named"),
    [
        ("numerics/planted.py", "import napari_blush.refine", "numerics.planted"),
        ("refine/planted.py", "import napari_blush.validation", "refine.planted"),
        ("cli/planted.py", "import napari", "cli.planted"),
        ("undeclared/__init__.py", "", "napari_blush.undeclared"),
    ],
)
def test_a_planted_breach_is_reported(tmp_path: Path, file: str, line: str, named: str) -> None:
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    ignore = shutil.ignore_patterns("sample_data", "napari.yaml", "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "src" / "napari_blush", ignore=ignore)
    planted = tmp_path / "src" / "napari_blush" / file
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(f'"""A breach."""\n\n{line}\n')
    outcome = lint_imports(tmp_path)
    assert outcome.returncode != 0
    assert named in outcome.stdout


def test_files_are_of_readable_length() -> None:
    for path in SOURCES:
        name = path.relative_to(PACKAGE).as_posix()
        limit = LINES_THAT_FAIL if name in LONG_FOR_A_REASON else LINES_THAT_ASK_FOR_A_SPLIT
        assert len(path.read_text().splitlines()) <= limit, name


def test_no_room_without_a_job() -> None:
    inside = [path.relative_to(PACKAGE) for path in SOURCES]
    assert not [path for path in inside if ROOMS_WITHOUT_A_JOB & {path.stem, *path.parent.parts}]


def test_every_module_says_what_it_is_for() -> None:
    silent = [path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent


def test_the_nouns_do_not_act() -> None:
    acts = {"plot", "show", "save"}
    found = [
        f"{path.name}: {node.name}"
        for path in (PACKAGE / "data_model").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name in acts
    ]
    assert not found


def test_nothing_sets_a_global_seed_or_device() -> None:
    banned = {"manual_seed", "set_default_device", "set_default_dtype", "cuda"}
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value)
                is_global = owner in {"torch", "np.random", "random"}
                moves = node.func.attr == "cuda"
                if node.func.attr in banned | {"seed"} and (is_global or moves):
                    found.append(f"{path.name}:{node.lineno}")
    assert not found


@pytest.mark.parametrize(
    "code",
    [
        "import napari_blush",
        "import npe2; npe2.PluginManifest.from_distribution('napari-blush')",
        "from napari_blush.cli.main import main\ntry: main(['--version'])\nexcept SystemExit: pass",
    ],
    ids=["package", "manifest", "version"],
)
def test_start_up_imports_neither_torch_nor_screen(code: str) -> None:
    heavy = ("torch", *SCREEN)
    outcome = fresh_python(f"{code}\nimport sys\nprint([m for m in {heavy} if m in sys.modules])")
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.splitlines()[-1] == "[]"


def test_all_but_the_plugin_works_without_napari() -> None:
    modules = [
        "napari_blush." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in SOURCES
        if path.relative_to(PACKAGE).parts[0] != "plugin" and not path.stem.startswith("__")
    ]
    block = f"import sys, importlib\nfor m in {SCREEN}: sys.modules[m] = None\n"
    outcome = fresh_python(f"{block}for m in {modules}: importlib.import_module(m)")
    assert outcome.returncode == 0, outcome.stderr
